"""S3 against SeaweedFS: the contract, identities that its IAM enforces, versions, and faults."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import ObjectExists, ObjectMissing, StoreError
from secure_xcom.core.operator_errors import AwsRefused
from secure_xcom.core.store_errors import StoreDenied, StoreUnavailable
from secure_xcom.ops.checks.probe import probe_coordinate, probe_store
from secure_xcom.ops.service_policies.apply import aws_s3
from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from secure_xcom.stores import Store, store
from tests.support.clients_agree import assert_no_variable_matters
from tests.support.s3_contract import LARGE, S3Contract, connect, opened
from tests.support.servers.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.servers.s3_server import REGION, Identity, S3Server, allow, s3_server
from tests.support.store_contract import StoreContract

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """One server for this file."""
    with s3_server() as found:
        yield found


@pytest.fixture(scope="module")
def bucket(server: S3Server) -> str:
    """One bucket for this file; tests keep to prefixes of their own."""
    return server.make_bucket()


@pytest.fixture
def prefix() -> str:
    """A prefix of its own for each test."""
    return f"test/{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def versioned(server: S3Server) -> str:
    """A bucket that keeps what is deleted or overwritten."""
    name = server.make_bucket()
    server.client().put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


class TestS3(S3Contract):
    """The errors and identities of every S3 server."""


class TestContract(StoreContract):
    @pytest.fixture
    def store(self, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Store:
        """Below a prefix, with the credentials of a connection."""
        return store(f"s3://{connect(monkeypatch, server.endpoint, server.root)}@{bucket}/pre/fix")


def test_a_worker_that_may_not_delete_is_found_well(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`secure-xcom check` takes an identity with a compiled worker's rights, and says that it leaves an object."""
    (own,) = AccessPolicy.single(["memory-key://one"], f"s3://default@{bucket}/worker").compartments
    identity = server.identity(allow(["GetObject", "PutObject"], f"{bucket}/worker/{own.name}/*"))
    place = store(f"s3://{connect(monkeypatch, server.endpoint, identity)}@{bucket}/worker")
    findings = probe_store(place, own, probe_coordinate())
    assert [found.status for found in findings] == ["ok", "ok"]
    assert "this identity may not delete" in findings[0].text


class TestContractOfVersionedBucket(StoreContract):
    @pytest.fixture
    def store(self, server: S3Server, versioned: str, monkeypatch: pytest.MonkeyPatch) -> Store:
        """Without a prefix, with AWS's default credential chain."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.root.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.root.secret_key)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
        return store(f"s3://{versioned}")


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultyProxy]:
    """A proxy in front of the server, without faults at first."""
    with faulty_proxy(server.endpoint) as found:
        yield found


# --- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls_server() -> Iterator[S3Server]:
    """A server that speaks TLS only."""
    with s3_server(tls=True) as found:
        yield found


@pytest.fixture(scope="module")
def tls_bucket(tls_server: S3Server) -> str:
    """One bucket of it; tests keep to prefixes of their own."""
    return tls_server.make_bucket()


class TestContractOverTls(StoreContract):
    @pytest.fixture
    def store(self, tls_server: S3Server, tls_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Store:
        """Below a prefix, with a connection that names the server's CA."""
        conn_id = connect(monkeypatch, tls_server.endpoint, tls_server.root, verify=str(tls_server.authority))
        return store(f"s3://{conn_id}@{tls_bucket}/pre/fix")


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is in Linux's /proc")
@pytest.mark.parametrize("calculation", ["when_supported", "when_required"])
def test_a_large_put_over_tls_keeps_each_part_once(
    calculation: str, tls_server: S3Server, tls_bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the parts on their way and the next one, TLS and checksums take no memory by the part."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", calculation)
    conn_id = connect(monkeypatch, tls_server.endpoint, tls_server.root, verify=str(tls_server.authority))
    script = (
        "import sys; from pathlib import Path; from secure_xcom.stores import store\n"
        "peak = lambda: int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
        "mine = store(sys.argv[1]); mine.put('first', [bytes(9 << 20)])\n"
        "Path('/proc/self/clear_refs').write_text('5'); before = peak()\n"
        "piece = bytes(range(256)) * 4096; mine.put('large', (piece for _ in range(128)))\n"
        "print(peak() - before)"
    )
    uri = f"s3://{conn_id}@{tls_bucket}/{prefix}"
    done = subprocess.run([sys.executable, "-c", script, uri], capture_output=True, text=True, check=True)
    # Five parts are 40 MiB; copies of four more would be 72.
    assert int(done.stdout) < 56 << 10
    assert sum(map(len, store(uri).get("large"))) == 128 << 20
    assert next(iter(store(uri).get("large")))[:512] == bytes(range(256)) * 2


# --- the environment ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["connection", "options"])
def test_no_variable_comes_behind_what_is_configured(
    login: str, server: S3Server, bucket: str, prefix: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever variable of obstore a worker has, small and large payloads go to the same place, signed the same.

    Options are compared in the URI, with keys from the environment, and in a connection, with keys of its own.
    """
    without: frozenset[str] = frozenset()
    if login == "connection":
        uri = f"s3://{connect(monkeypatch, proxy.endpoint, server.root)}@{bucket}/{prefix}"
    else:
        without = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.root.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.root.secret_key)
        uri = f"s3://{bucket}/{prefix}?endpoint={proxy.endpoint}&region={REGION}&addressing=path"
    with faulty_proxy(server.endpoint) as elsewhere:
        assert_no_variable_matters("AWS_", uri, proxy, elsewhere, monkeypatch, without=without)


def test_a_bucket_policy_that_the_server_does_not_support(
    server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`policy apply` names the statements that the server may not know, and does not blame the credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.root.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.root.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    file = tmp_path / "policy.yaml"
    file.write_text(
        "version: 1\ncompartments:\n"
        f'  - {{name: a, dags: ["a_*"], key_uris: ["aws-kms://k/alias/a"], store_uri: "s3://k@{bucket}/xcom"}}\n'
        "identities:\n"
        '  - {name: w, workers_of: [a], aws: {principal: "arn:aws:iam::123456789012:role/w"}}\n'
    )
    changes = aws_s3.plan(AwsAccount(), compile_policy(AccessPolicy.load(str(file))))
    (policy,) = [change for change in changes if change.text.endswith(": policy")]
    with pytest.raises(AwsRefused, match=r"does not support a statement.*s3:if-none-match") as caught:
        policy.do()
    assert "credentials are correct" in str(caught.value)


# --- identities -----------------------------------------------------------------------------------------------


def test_session_of_a_role(server: S3Server, bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session token in the connection is used, and the session's own policy holds, for large payloads too."""
    session = server.assume_role(server.root, 900, allow(["PutObject", "GetObject"], f"{bucket}/{prefix}/a/*"))
    mine = opened(monkeypatch, server, session, f"{bucket}/{prefix}")
    mine.put("a/small", [b"sealed"])
    mine.put("a/large", LARGE)
    assert list(mine.get_many(["a/small", "a/large"])) == [b"sealed", b"".join(LARGE)]
    with pytest.raises(StoreDenied):
        mine.put("b/x", [b"x"])


def test_role_of_the_connection(
    server: S3Server, bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With role_arn AwsBaseHook assumes the role, and its session opens the bucket."""
    mine = opened(
        monkeypatch,
        server,
        server.root,
        f"{bucket}/{prefix}",
        role_arn="arn:aws:iam::000000000000:role/Tester",
        service_config={"sts": {"endpoint_url": server.endpoint}},
    )
    mine.put("a", [b"sealed"])
    assert list(mine.get("a")) == [b"sealed"]


class Sts(BaseHTTPRequestHandler):
    """A double of STS: it gives out `session`, for two seconds at a time, and AccessDenied while there is none."""

    session: ClassVar[Identity | None] = None

    def do_POST(self) -> None:
        """AssumeRole."""
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = 403, "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
        if self.session:
            ends = datetime.now(timezone.utc) + timedelta(seconds=2)
            status, body = (
                200,
                (
                    "<AssumeRoleResponse><AssumeRoleResult><Credentials>"
                    f"<AccessKeyId>{self.session.access_key}</AccessKeyId>"
                    f"<SecretAccessKey>{self.session.secret_key}</SecretAccessKey>"
                    f"<SessionToken>{self.session.token}</SessionToken>"
                    f"<Expiration>{ends:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
                    "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
                ),
            )
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        """Nothing to say."""


def test_who_stops_reading_waits_for_nobody(
    server: S3Server, bucket: str, prefix: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull that ends at its first object, as a task does that is stopped, does not wait for slow answers."""
    mine = opened(monkeypatch, proxy, server.root, f"{bucket}/{prefix}")
    for name in ("first", "slow-1", "slow-2"):
        mine.put(name, [b"sealed"])
    proxy.faults += [Fault("wait", "GET", path="slow", seconds=5)] * 2
    reading = mine.get_many(["first", "slow-1", "slow-2"])
    assert next(reading) == b"sealed"
    begun = time.monotonic()
    del reading
    assert time.monotonic() - begun < 2


def test_deleting_in_a_store_that_is_away(
    server: S3Server, bucket: str, prefix: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a store that does not answer, the paths of a batch are not asked for one by one."""
    conn_id = connect(monkeypatch, proxy.endpoint, server.root)
    mine = store(f"s3://{conn_id}@{bucket}/{prefix}?retries=0")
    proxy.faults += [Fault("drop")] * 500
    answers = mine.delete_many([f"a/{number}" for number in range(100)])
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 100
    assert len(proxy.seen) <= 4
    proxy.faults.clear()
    assert mine.delete_many([f"a/{number}" for number in range(100)]) == [None] * 100


class Endless(BaseHTTPRequestHandler):
    """A bucket in which each object is of a TiB, sent for as long as somebody reads on."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Any object."""
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 40))
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 10:00:00 GMT")
        self.send_header("ETag", '"endless"')
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 20))

    def log_message(self, *args: object) -> None:
        """Nothing to say."""


def test_an_object_that_a_stranger_made_endless(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request for each, and no more of an object is held than its reference says, be it small or large."""
    endless = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=endless.serve_forever, daemon=True).start()
    try:
        at = f"http://127.0.0.1:{endless.server_address[1]}"
        mine = store(f"s3://{connect(monkeypatch, at, server.root)}@bucket")
        sizes = [100, 5 << 20, 0, 4 << 20]
        answer = [len(found) for found in mine.get_many(list("abcd"), sizes) if isinstance(found, bytes)]
        assert answer == [size + 1 for size in sizes]
        assert sorted(Endless.asked) == [f"/bucket/{name}" for name in "abcd"]
        assert [len(found) for found in mine.get_many(["e"], [7]) if isinstance(found, bytes)] == [8]
    finally:
        endless.shutdown()
        endless.server_close()


def test_session_is_renewed_in_mid_run(
    server: S3Server, bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that ends while a task runs is replaced by the role's next one; when there is none, it is said."""
    Sts.session = server.assume_role(server.root, 900, allow(["PutObject"], f"{bucket}/{prefix}/*"))
    sts = ThreadingHTTPServer(("127.0.0.1", 0), Sts)
    threading.Thread(target=sts.serve_forever, daemon=True).start()
    try:
        mine = opened(
            monkeypatch,
            server,
            server.root,
            f"{bucket}/{prefix}",
            role_arn="arn:aws:iam::000000000000:role/Tester",
            service_config={"sts": {"endpoint_url": f"http://127.0.0.1:{sts.server_port}"}},
        )
        mine.put("a", [b"sealed"])
        # The next session may not put here: that it is refused shows that it is the one in use.
        Sts.session = server.assume_role(server.root, 900, allow(["PutObject"], f"{bucket}/elsewhere/*"))
        time.sleep(2.5)
        with pytest.raises(StoreDenied, match="denies the request"):
            mine.put("b", [b"sealed"])
        Sts.session = None
        time.sleep(2.5)
        for payload in ([b"sealed"], LARGE):
            with pytest.raises(StoreDenied, match=r"cannot be loaded or renewed \(AccessDenied\)"):
                mine.put("c", payload)
    finally:
        sts.shutdown()
        sts.server_close()


# --- the store's own promises ---------------------------------------------------------------------------------


def test_object_locked_bucket(server: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an object-locked bucket puts of both sizes work, and a locked version outlives its delete."""
    locked = server.make_bucket(ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    raw = server.client()
    raw.put_object_lock_configuration(
        Bucket=locked, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    mine = opened(monkeypatch, server, server.root, f"{locked}/{prefix}")
    mine.put("small", [b"sealed"])
    mine.put("large", LARGE)
    assert mine.delete_many(["small"]) == [None]
    version = raw.list_object_versions(Bucket=locked, Prefix=f"{prefix}/small")["Versions"][0]["VersionId"]
    body = raw.get_object(Bucket=locked, Key=f"{prefix}/small", VersionId=version)["Body"].read()
    assert body == b"sealed"


def test_options_reach_the_server(
    server: S3Server, bucket: str, prefix: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage class and server-side encryption are asked for with every put, small and large."""
    conn_id = connect(monkeypatch, proxy.endpoint, server.root)
    mine = store(f"s3://{conn_id}@{bucket}/{prefix}?storage_class=STANDARD_IA&sse=AES256&retries=0")
    assert "?" not in mine.uri
    mine.put("small", [b"sealed"])
    mine.put("large", LARGE)
    raw = server.client()
    for name in ("small", "large"):
        found = raw.head_object(Bucket=bucket, Key=f"{prefix}/{name}")
        assert found.get("StorageClass") == "STANDARD_IA"
        assert found.get("ServerSideEncryption") == "AES256"


# --- faults ---------------------------------------------------------------------------------------------------


def test_nobody_listens(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint where nobody listens is an unavailable store, soon."""
    conn_id = connect(monkeypatch, "http://127.0.0.1:9", server.root)
    mine = store(f"s3://{conn_id}@{bucket}?retries=1&retry_seconds=2&connect_timeout=1")
    for call in (lambda: mine.put("a", [b"x"]), lambda: mine.get("a"), lambda: mine.put("a", LARGE)):
        with pytest.raises(StoreUnavailable, match=r"nothing listens at the endpoint.*at http://127\.0\.0\.1:9"):
            call()


def test_slow_down_is_waited_out(
    server: S3Server, bucket: str, prefix: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two 503 SlowDown answers in a row are retried, for small and large puts, gets, listings and deletes."""
    mine = opened(monkeypatch, proxy, server.root, f"{bucket}/{prefix}")

    def slow() -> None:
        proxy.faults += [Fault("answer", status=503, body=SLOW_DOWN)] * 2

    slow()
    mine.put("small", [b"sealed"])
    slow()
    mine.put("large", LARGE)
    slow()
    assert list(mine.get("small")) == [b"sealed"]
    slow()
    assert len(list(mine.list())) == 2
    slow()
    assert mine.delete_many(["small"]) == [None]
    assert proxy.faults == []


def test_slow_down_for_ever(
    server: S3Server, bucket: str, prefix: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that goes on asking to slow down is StoreUnavailable after the retries set, with what to do."""
    conn_id = connect(monkeypatch, proxy.endpoint, server.root)
    mine = store(f"s3://{conn_id}@{bucket}/{prefix}?retries=2")
    proxy.faults += [Fault("answer", status=503, body=SLOW_DOWN)] * 100
    with pytest.raises(StoreUnavailable, match=r"slow down \(SlowDown\).*retry_seconds"):
        mine.put("a", [b"x"])
    assert len(proxy.seen) == 3
    with pytest.raises(StoreUnavailable, match="slow down"):
        mine.get("a")
    with pytest.raises(StoreUnavailable, match="slow down"):
        mine.put("a", LARGE)


@pytest.mark.parametrize("payload", [[b"sealed"], LARGE], ids=["small", "large"])
def test_lost_answer_of_a_put(
    server: S3Server,
    bucket: str,
    prefix: str,
    payload: list[bytes],
    proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A put that the server did and whose answer was lost finds its own object and succeeds."""
    mine = opened(monkeypatch, proxy, server.root, f"{bucket}/{prefix}")
    method = "PUT" if len(payload) == 1 else "POST"
    if method == "POST":
        # The first POST makes the upload, the second completes it.
        proxy.before_pass = lambda seen: (
            proxy.faults.append(Fault("lose", "POST")) if seen == "POST" and len(proxy.seen) == 1 else None
        )
    else:
        proxy.faults.append(Fault("lose", "PUT"))
    mine.put("a", payload)
    assert proxy.faults == []
    assert b"".join(mine.get("a")) == b"".join(payload)
    with pytest.raises(ObjectExists):
        mine.put("a", [b"another"])


def test_lost_answer_of_a_writer(
    server: S3Server, bucket: str, prefix: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that may not read cannot know its own object again, and is told that there is one."""
    writer = server.identity(allow(["PutObject"], f"{bucket}/{prefix}/*"))
    mine = opened(monkeypatch, proxy, writer, f"{bucket}/{prefix}")
    proxy.faults.append(Fault("lose", "PUT"))
    with pytest.raises(ObjectExists):
        mine.put("a", [b"sealed"])


def test_connection_ends_in_mid_upload(
    server: S3Server, bucket: str, prefix: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that does not arrive is sent again; when none ever does, nothing is left of the upload."""
    mine = opened(monkeypatch, proxy, server.root, f"{bucket}/{prefix}")
    proxy.faults.append(Fault("drop", "PUT"))
    mine.put("large", LARGE)
    assert b"".join(mine.get("large")) == b"".join(LARGE)
    conn_id = connect(monkeypatch, proxy.endpoint, server.root)
    patient = store(f"s3://{conn_id}@{bucket}/{prefix}?retries=1")
    proxy.faults += [Fault("drop", "PUT")] * 100
    with pytest.raises(StoreUnavailable):
        patient.put("never", LARGE)
    proxy.faults.clear()
    assert server.client().list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", []) == []
    assert [found.path for found in mine.list()] == ["large"]


@pytest.mark.parametrize("size", [1 << 20, 20 << 20], ids=["small", "large"])
def test_connection_ends_in_mid_download(
    server: S3Server, bucket: str, prefix: str, size: int, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that was cut off goes on and comes whole; one that is cut again and again is an error."""
    mine = opened(monkeypatch, proxy, server.root, f"{bucket}/{prefix}")
    payload = bytes(range(256)) * (size // 256)
    mine.put("a", [payload])
    proxy.faults.append(Fault("cut", "GET", after=size // 3))
    assert b"".join(mine.get("a")) == payload
    proxy.faults += [Fault("cut", "GET", after=size // 5), Fault("cut", "GET", after=1000)]
    assert list(mine.get_many(["a", "a"])) == [payload, payload]
    assert proxy.faults == []
    conn_id = connect(monkeypatch, proxy.endpoint, server.root)
    proxy.faults += [Fault("cut", "GET", after=10)] * 100
    with pytest.raises(StoreUnavailable):
        b"".join(store(f"s3://{conn_id}@{bucket}/{prefix}?retries=2").get("a"))


@pytest.mark.parametrize(
    ("status", "code", "expected", "said"),
    [
        (403, "AccessDenied", StoreDenied, "policy compile"),
        (400, "ExpiredToken", StoreDenied, "role_arn"),
        (403, "ExpiredToken", StoreDenied, "session has expired"),
        (403, "RequestTimeTooSkewed", StoreUnavailable, "clock"),
        (301, "PermanentRedirect", StoreUnavailable, "region_name"),
        (400, "AuthorizationHeaderMalformed", StoreUnavailable, "region_name"),
        (400, "KMS.DisabledException", StoreUnavailable, "server-side encryption"),
        (403, "InvalidObjectState", StoreUnavailable, "archive"),
        (400, "EntityTooLarge", StoreUnavailable, "EntityTooLarge, HTTP 400"),
        (418, "", StoreUnavailable, "HTTP 418"),
    ],
)
def test_answers(
    server: S3Server,
    bucket: str,
    prefix: str,
    status: int,
    code: str,
    expected: type[StoreError],
    said: str,
    proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each answer of S3 becomes its own error with what to do, for small gets and puts and for large puts."""
    mine = opened(monkeypatch, proxy, server.root, f"{bucket}/{prefix}")
    body = f"<Error><Code>{code}</Code><Message>key AKIASECRET</Message></Error>".encode() if code else b""
    for call in (
        lambda: mine.put("a", [b"x"]),
        lambda: mine.get("a"),
        lambda: list(mine.list()),
        lambda: mine.put("a", LARGE),
    ):
        proxy.faults = [Fault("answer", status=status, body=body)] * 10
        with pytest.raises(expected, match=said) as caught:
            call()
        assert "AKIASECRET" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_late_copy(
    server: S3Server, bucket: str, prefix: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that comes before a replica has the object gets ObjectMissing, which a task's retry outlives."""
    opened(monkeypatch, server, server.root, f"{bucket}/{prefix}").put("a", [b"sealed"])
    replica = opened(monkeypatch, proxy, server.root, f"{bucket}/{prefix}")
    missing = b"<Error><Code>NoSuchKey</Code></Error>"
    proxy.faults.append(Fault("answer", "GET", status=404, body=missing))
    with pytest.raises(ObjectMissing):
        replica.get("a")
    assert list(replica.get("a")) == [b"sealed"]


# --- processes ------------------------------------------------------------------------------------------------


def test_fork_before_and_after_use(server: S3Server, bucket: str, prefix: str) -> None:
    """A child forked before the first use works; one forked after it gets an error in place of an endless wait."""
    script = """
import os, signal, sys
from secure_xcom.stores import store
from secure_xcom.core.store_errors import StoreUnavailable
uri, prefix = sys.argv[1:]
mine = store(uri)

def child(path):
    if pid := os.fork():
        return os.waitpid(pid, 0)[1]
    signal.alarm(20)
    try:
        mine.put(path, [b"x"])
        print(path, list(mine.get(path)), flush=True)
    except StoreUnavailable as error:
        print(error.what, flush=True)
    os._exit(0)

assert child(prefix + "/early") == 0
mine.put(prefix + "/parent", [b"x"])
assert child(prefix + "/late") == 0
print(list(mine.get(prefix + "/parent")))
"""
    environment = {
        "AWS_ACCESS_KEY_ID": server.root.access_key,
        "AWS_SECRET_ACCESS_KEY": server.root.secret_key,
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": ":".join(sys.path),
    }
    command = [sys.executable, "-c", script, f"s3://{bucket}?endpoint={server.endpoint}", prefix]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    early, late, parent = done.stdout.splitlines()
    assert early == f"{prefix}/early [b'x']"
    assert "forked" in late
    assert parent == "[b'x']"


@pytest.mark.skipif(
    sys.platform != "linux", reason="the peak of a process without its parent's is in Linux's /proc"
)
def test_memory_stays_bounded(server: S3Server, bucket: str, prefix: str) -> None:
    """256 MiB go through a put and a get in pieces with less than 160 MiB, the libraries included."""
    script = """
import sys
from pathlib import Path
from secure_xcom.stores import store
mine = store(sys.argv[1])
mine.put("large", (bytes(1 << 20) for _ in range(256)))
assert sum(map(len, mine.get("large"))) == 256 << 20
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
    environment = {
        "AWS_ACCESS_KEY_ID": server.root.access_key,
        "AWS_SECRET_ACCESS_KEY": server.root.secret_key,
        "PYTHONPATH": ":".join(sys.path),
    }
    command = [sys.executable, "-c", script, f"s3://{bucket}/{prefix}?endpoint={server.endpoint}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 160 << 10
