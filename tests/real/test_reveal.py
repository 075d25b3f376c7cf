"""`secure-xcom reveal` over HTTP: a real process, Vault or OpenBao, an identity provider, PostgreSQL; attackers.

What an attacker holds here: Airflow's tokens, tokens of other people and of other audiences, write access to
Airflow's database and to the store. `tests/real/test_reveal_vault.py` has what a viewer may do at Vault itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import psutil
import pytest
import sqlalchemy
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secure_xcom import exclusive
from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.canonical_json import canonical_json
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.masking.secrets_of_value import Secrets
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.operator_errors import DatabaseFailed
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push
from secure_xcom.ops.service_policies.reveal_names import REVEAL_NAME
from secure_xcom.ops.xcom_table import Database
from secure_xcom.reveal.serving import STOP_SECONDS
from secure_xcom.sinks.access_log import AccessLog
from tests.support import second_reader
from tests.support.doubles import MemorySink
from tests.support.reveal_process import RevealProcess, reveal_process
from tests.support.reveal_world import ANA, MIA, RevealWorld, open_reveal_world
from tests.support.servers.certificates import PrivateCa
from tests.support.servers.postgres_server import PostgresServer, postgres_server
from tests.support.servers.vault_realm import clean_environment, own_flavours
from tests.support.servers.vault_server import free_port
from tests.support.world import own_task
from tests.support.xcom_table import XComTable

AT = Coordinate("finance_daily", "manual__2026-11-01T00:00:00+00:00", "extract", -1, "return_value")
VALUE = {"iban": "DE02-canary", "amounts": [1, 2, 3]}
# What it needs, and no more: docs/how-to/reveal-a-value.md.
TABLES = {
    Schema.COORDINATES: ("xcom",),
    Schema.ATTEMPTS: ("xcom_v1", "xcom_v2", "legacy_task_data_owner", "task_instance", "dynamic_region"),
}


@dataclass
class Scene:
    """The service and its world."""

    world: RevealWorld
    service: RevealProcess
    table: XComTable
    pipeline: Pipeline
    log: Path

    def put(self, value: object, at: Coordinate = AT) -> dict[str, Any]:
        """Push a value as its task does, and write its row as Airflow does."""
        pushed = self.pipeline.push([Push(at, value)], producer=own_task(at))[0]
        reference: dict[str, Any] = json.loads(json.dumps(pushed))
        self.table.put(at, reference)
        return reference

    def token(self, person: str = ANA) -> str:
        """A new identity token of a person."""
        given = self.world.identity_token(self.world.login(person))
        assert given.ok, given.text
        token: str = given.json()["data"]["token"]
        return token

    def ask(self, token: str, at: Coordinate = AT, **headers: str) -> tuple[int, str, dict[str, Any]]:
        """The status, the class of the error or nothing, and the answer of a request."""
        answer = self.service.ask(token, body(at), **{"origin": self.world.origin, **headers})
        record = answer.json()
        return answer.status_code, record.get("error", ""), record

    def events(self) -> list[dict[str, Any]]:
        """The events of reveals."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [record for line in lines if (record := json.loads(line))["action"] == "reveal"]

    @contextmanager
    def token_role(self, **changes: Any) -> Iterator[None]:
        """Change the token role for a while, as somebody with rights on it and its key could."""
        key, role = (f"identity/oidc/{kind}/{REVEAL_NAME}" for kind in ("key", "role"))
        clients = self.world.vault.do("GET", key)["data"]["allowed_client_ids"]
        before = self.world.vault.do("GET", role)["data"]
        self.world.vault.do("POST", key, {"allowed_client_ids": ["*"]})
        self.world.vault.do("POST", role, {**before, **changes})
        try:
            yield
        finally:
            self.world.vault.do("POST", role, before)
            self.world.vault.do("POST", key, {"allowed_client_ids": clients})


def body(at: Coordinate, **changes: Any) -> dict[str, Any]:
    """The body of a request."""
    ids = {name: getattr(at, name) for name in ("dag_id", "run_id", "task_id", "map_index", "key")}
    return {"coordinate": ids, "attempt": None, "reason": "incident 4711", **changes}


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server for this file."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module", params=own_flavours())
def scene(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """The service on a database user that may only read, with people who can log in."""
    folder = tmp_path_factory.mktemp("reveal")
    port = str(free_port())
    ca = PrivateCa(folder)
    tls = ca.issue("reveal", server=True)
    with (
        pytest.MonkeyPatch.context() as patch,
        open_reveal_world(folder, request.param, origin=f"https://127.0.0.1:{port}") as world,
    ):
        clean_environment(patch)
        patch.setenv("AIRFLOW_CONN_VAULT_DEFAULT", world.connection("finance-workers"))
        for compartment in ("finance", "marketing"):
            (folder / "sealed" / compartment).mkdir(mode=0o700, parents=True)
        table = XComTable(postgres.new_database(), Schema.COORDINATES)
        log = folder / "access-log" / "reveal.jsonl"
        environment = {
            "SECURE_XCOM_DB": _reader(table),
            "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(world.file),
            "AIRFLOW__SECURE_XCOM__AUDIT_SINKS": log.as_uri(),
        }
        options = ["--port", port, "--tls-certificate", *tls.files[:1], "--tls-key", *tls.files[1:]]
        with reveal_process(folder, environment, *options, ca=ca.cert) as service:
            names = SensitiveNames({"password"})
            codecs = Codecs(lambda value: value, lambda structure: structure)
            pipeline = Pipeline(
                Settings(),
                world.policy,
                AccessLog([MemorySink()], version="test"),
                names,
                codecs,
                register=_unmasked,
            )
            yield Scene(world, service, table, pipeline, log)
        table.close()


def _unmasked(_secrets: Secrets) -> None:
    """Mask nothing: no task's log is looked at here."""


def _reader(table: XComTable) -> str:
    """Make a database user that may read what docs/how-to/reveal-a-value.md says, and return its URL."""
    name = f"reveal_{os.urandom(4).hex()}"
    table.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'read-only'")
    for each in TABLES[table.schema]:
        table.execute(f"GRANT SELECT ON {each} TO {name}")
    url = sqlalchemy.make_url(table.url).set(username=name, password="read-only")  # a test's own server
    return url.render_as_string(hide_password=False)


def opened(scene: Scene, answer: dict[str, Any], vault_token: str) -> bytes:
    """Open an answer as the page does: unwrap at Vault with the person's token, then open the payload."""
    (wrap,) = answer["wraps"]
    asked = {"ciphertext": wrap["wrapped"], "context": wrap["context"]}
    unwrapped = scene.world.vault.api("POST", f"{wrap['mount']}/decrypt/{wrap['key']}", asked, token=vault_token)
    assert unwrapped.ok, unwrapped.text
    key = base64.b64decode(unwrapped.json()["data"]["plaintext"])
    return second_reader.unseal(key, canonical_json(answer["head"]), base64.b64decode(answer["payload"]))


@pytest.mark.parametrize("schema", list(Schema))
def test_the_rights_of_the_page_are_enough(postgres: PostgresServer, schema: Schema) -> None:
    """A user with SELECT on the tables of reveal-a-value.md reads a row in each schema, and writes none."""
    table = XComTable(postgres.new_database(), schema)
    table.put(AT, {"some": "value"})
    database = Database(_reader(table))
    row = database.shown(AT)
    assert row is not None
    assert row.value == {"some": "value"}
    attempt = str(*table.attempts.values()) if schema is Schema.ATTEMPTS else None
    assert row.attempt == attempt
    assert database.shown(AT, attempt=attempt) == row
    with pytest.raises(DatabaseFailed):
        database.delete(row)
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "reveal-a-value.md").read_text()
    assert all(f"`{name}`" in page for name in TABLES[schema])
    database.close()
    table.close()


def test_a_viewer_sees_the_value(scene: Scene) -> None:
    """Ana logs in, gets sealed bytes, and opens them with her own rights at Vault; the log had it before."""
    scene.put(VALUE)
    vault_token = scene.world.login(ANA)
    identity = scene.world.identity_token(vault_token).json()["data"]["token"]
    began = time.monotonic()
    status, _, answer = scene.ask(identity)
    seconds = time.monotonic() - began
    assert status == 200
    assert json.loads(opened(scene, answer, vault_token)) == VALUE
    event = scene.events()[-1]
    assert (event["id"], event["outcome"], event["operator"]) == (answer["event"], "ok", ANA)
    assert (event["reason"], event["rule"]) == ("incident 4711", "viewers[0]")
    assert seconds < 20
    # The service had nothing that opens it, so no plaintext is in what it wrote.
    assert "canary" not in scene.service.log.read_text() + scene.log.read_text()


def test_others_are_refused(scene: Scene) -> None:
    """A person of another group, a viewer of another DAG, and somebody without a group get nothing."""
    scene.put(VALUE)
    scene.put(VALUE, other := Coordinate("finance_yearly", AT.run_id, AT.task_id, -1, AT.key))
    scene.world.person("eve@example.com")
    assert scene.ask(scene.token(MIA))[:2] == (403, "AccessRefused")
    assert scene.ask(scene.token(ANA), other)[:2] == (403, "AccessRefused")
    eve = scene.world.try_login("eve@example.com")
    if eve.ok:
        given = scene.world.identity_token(eve.json()["auth"]["client_token"])
        assert not given.ok or scene.ask(given.json()["data"]["token"])[:2] == (403, "AccessRefused")


# --- tokens -------------------------------------------------------------------------------------------------


def _part(record: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(record).encode()).rstrip(b"=").decode()


def _with_header(token: str, key: bytes = b"", **header: Any) -> str:
    """The same claims under another header, signed with a secret or not at all."""
    signed = f"{_part(header)}.{token.split('.')[1]}"
    signature = hmac.new(key, signed.encode(), hashlib.sha256).digest() if key else b""
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_forged_tokens_are_refused(scene: Scene) -> None:
    """Ana's own claims, unsigned, signed with Vault's public key as a secret, by another key, or changed."""
    scene.put(VALUE)
    token = scene.token()
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    published = scene.world.vault.api("GET", "identity/oidc/.well-known/keys", token="").json()["keys"]
    (public,) = [jwt.PyJWK(key).key for key in published if key["kid"] == header["kid"]]
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mine = rsa.generate_private_key(65537, 2048)
    forged = [
        _with_header(token, alg="none", kid=header["kid"]),
        _with_header(token, pem, alg="HS256", kid=header["kid"]),
        _with_header(token, pem, alg="HS256", kid="other"),
        jwt.encode(claims, mine, algorithm="RS256", headers={"kid": header["kid"]}),
        jwt.encode(claims, mine, algorithm="RS256", headers={"kid": "other"}),
        jwt.encode({**claims, "groups": ["root"]}, mine, algorithm="RS256"),
        ".".join([token.split(".")[0], _part({**claims, "person": "root"}), token.split(".")[2]]),
        token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"),
        "",
        "x" * 50_000,
    ]
    for each in forged:
        answer = scene.service.ask(each, body(AT), origin=scene.world.origin)
        # The server itself refuses a header of 50,000 characters.
        assert answer.status_code in (400, 401, 431), answer.text
        assert "payload" not in answer.text
    assert scene.ask(token)[0] == 200


def test_tokens_of_others_are_refused(scene: Scene) -> None:
    """Airflow's own token, a token of Vault itself, and one for another audience prove nobody."""
    scene.put(VALUE)
    now = int(time.time())
    claims = {"sub": "admin", "aud": "apache-airflow", "iat": now, "nbf": now, "exp": now + 86400}
    airflows = jwt.encode(claims, os.urandom(64), algorithm="HS512")
    assert scene.ask(airflows)[:2] == (401, "IdentityRefused")
    vault_token = scene.world.login(ANA)
    assert scene.ask(vault_token)[:2] == (401, "IdentityRefused")
    with scene.token_role(client_id="another-client"):
        assert scene.ask(scene.token())[:2] == (401, "IdentityRefused")
    assert scene.ask(scene.token())[0] == 200


def test_a_token_is_refused_after_its_time(scene: Scene) -> None:
    """A token that was good a moment ago is not, once its time is over; one that lasts for hours never is."""
    scene.put(VALUE)
    with scene.token_role(ttl="3s"):
        scene.world.person("ida@example.com", "finance-oncall")
        token = scene.token("ida@example.com")
    assert scene.ask(token)[0] == 200
    time.sleep(3.5)
    assert scene.ask(token)[:2] == (401, "IdentityRefused")
    with scene.token_role(ttl="20h"):
        assert scene.ask(scene.token("ida@example.com"))[:2] == (401, "IdentityRefused")


def test_a_rotated_key_is_found(scene: Scene) -> None:
    """After Vault has rotated its key, the tokens of the new key are believed without a restart."""
    scene.put(VALUE)
    scene.world.vault.do("POST", f"identity/oidc/key/{REVEAL_NAME}/rotate", {"verification_ttl": "10m"})
    scene.world.vault.do("POST", f"identity/oidc/key/{REVEAL_NAME}/rotate", {"verification_ttl": "10m"})
    scene.world.person("rob@example.com", "finance-oncall")
    token = scene.token("rob@example.com")
    answers = []
    for _ in range(8):
        answers.append(scene.ask(token)[0])
        if answers[-1] == 200:
            break
        time.sleep(2)
    assert answers[-1] == 200


# --- requests -----------------------------------------------------------------------------------------------


def test_requests_of_other_pages_are_refused(scene: Scene) -> None:
    """A good token in a request with Airflow's origin, a foreign one or none, or as a form, gets nothing."""
    scene.put(VALUE)
    scene.world.person("pia@example.com", "finance-oncall")
    token = scene.token("pia@example.com")
    for origin in (scene.world.airflow_origin, "https://evil.example.com", "null", scene.world.origin + "/"):
        assert scene.ask(token, origin=origin)[:2] == (403, "RevealOriginRefused"), origin
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert scene.ask(token, Content_Type=content_type)[:2] == (400, "RevealRequestInvalid"), content_type
    preflight = scene.service.session.options(
        f"{scene.service.url}/v1/reveal",
        headers={"Origin": "https://evil.example.com", "Access-Control-Request-Method": "POST"},
        timeout=20,
    )
    assert preflight.status_code == 405
    assert not [name for name in preflight.headers if name.lower().startswith("access-control-")]


def test_large_bodies_are_refused(scene: Scene) -> None:
    """A body over 16 KiB is not read, whether it says its length or not."""
    origin = scene.world.origin
    large = b'{"reason": "' + b"x" * (1 << 20) + b'"}'
    assert scene.service.ask("t", large, origin=origin).status_code == 400
    headers = {"Origin": origin, "Content-Type": "application/json"}
    pieces = (b"x" * 1000 for _ in range(1000))
    answer = scene.service.session.post(f"{scene.service.url}/v1/reveal", data=pieces, headers=headers, timeout=20)
    assert answer.status_code == 400


def test_the_eleventh_reveal_in_a_minute(scene: Scene) -> None:
    """One person gets ten in a minute, and another one is not held up by that."""
    scene.put(VALUE)
    scene.world.person("zoe@example.com", "finance-oncall")
    token = scene.token("zoe@example.com")
    assert [scene.ask(token)[0] for _ in range(12)] == [200] * 10 + [429] * 2
    of_zoe = [event["outcome"] for event in scene.events() if event["operator"] == "zoe@example.com"]
    assert of_zoe == ["ok"] * 10 + ["refused"]


# --- rows, objects and keys ---------------------------------------------------------------------------------


@pytest.fixture
def bob(scene: Scene) -> str:
    """A viewer of a test's own, who has asked for nothing yet."""
    name = f"bob-{os.urandom(4).hex()}@example.com"
    scene.world.person(name, "finance-oncall")
    return scene.token(name)


def test_edited_rows_are_refused(scene: Scene, bob: str) -> None:
    """Who writes to the database moves a reference, or names another object, key or compartment, in vain."""
    large = os.urandom(200_000).hex()
    reference = scene.put(large)
    other = _of_marketing(reference)
    attacks: list[tuple[dict[str, Any], int, str]] = [
        (other, 409, "CoordinateMismatch"),
        (_head(reference, key="other"), 409, "CoordinateMismatch"),
        (_head(reference, compartment="marketing"), 403, "CompartmentUnknown"),
        (_head(reference, object=other["head"]["object"]), 409, "ContextRefused"),
        (_head(reference, object="file:///etc/passwd"), 409, "ContextRefused"),
        (_head(reference, expires="2026-01-01T00:00:00Z"), 410, "ReferenceExpired"),
        (_head(reference, exclusive="store"), 403, "ClaimRefused"),
        ({**reference, "keys": other["keys"]}, 409, "ContextRefused"),
        ({**reference, "seal": {**reference["seal"], "size": 20 << 20}}, 413, "ValueTooLarge"),
    ]
    for record, status, error in attacks:
        scene.table.put(AT, record)
        assert scene.ask(bob)[:2] == (status, error)
    assert {event["outcome"] for event in scene.events()[-len(attacks) :]} <= {"refused", "failed"}


def _of_marketing(reference: dict[str, Any]) -> dict[str, Any]:
    """A reference of the other compartment."""
    name = (
        reference["head"]["object"].replace("/finance/", "/marketing/").replace("finance_daily", "marketing_daily")
    )
    head = {**reference["head"], "dag_id": "marketing_daily", "compartment": "marketing", "object": name}
    uri = reference["keys"][0]["uri"].replace("finance", "marketing")
    return {**reference, "head": head, "keys": [{**reference["keys"][0], "uri": uri}]}


def _head(reference: dict[str, Any], **changes: str) -> dict[str, Any]:
    return {**reference, "head": {**reference["head"], **changes}}


def test_an_edited_head_does_not_open(scene: Scene, bob: str) -> None:
    """A head that is changed where the service cannot know it opens nothing in the browser."""
    reference = scene.put(VALUE)
    scene.table.put(AT, _head(reference, created="2026-10-01T00:00:00Z"))
    status, _, answer = scene.ask(bob)
    assert status == 200
    with pytest.raises(second_reader.Refused, match="commitment"):
        opened(scene, answer, scene.world.login(ANA))


def test_exchanged_objects_are_refused(scene: Scene, bob: str) -> None:
    """Who writes to the store exchanges, cuts or deletes the object: the class says which."""
    reference = scene.put(os.urandom(200_000).hex())
    path = Path(reference["head"]["object"].removeprefix("file://"))
    payload = path.read_bytes()
    for bad, error in ((b"x" * len(payload), "PayloadSwapped"), (payload[:-1], "PayloadTruncated")):
        path.chmod(0o600)
        path.write_bytes(bad)
        assert scene.ask(bob)[:2] == (409, error)
    path.unlink()
    assert scene.ask(bob)[:2] == (404, "ObjectMissing")


def test_a_shredded_or_exclusive_xcom(scene: Scene, bob: str) -> None:
    """What only one task instance may read is shown to nobody, before and after it was shredded."""
    at = Coordinate(AT.dag_id, AT.run_id, AT.task_id, -1, "once")
    reference = scene.put(exclusive(VALUE), at)
    assert scene.ask(bob, at)[:2] == (403, "ClaimRefused")
    left = {name: value for name, value in reference.items() if name != "preview"}
    scene.table.put(at, {**left, "keys": [], "shredded": "2026-11-01T00:00:00Z"})
    assert scene.ask(bob, at)[:2] == (410, "ReferenceShredded")


def test_large_values_in_bounded_memory(scene: Scene, bob: str) -> None:
    """Of many requests for values of 8 MiB at once some wait, and the process grows by a few of them."""
    scene.put(os.urandom((8 << 20) - 100_000))
    scene.world.person("una@example.com", "finance-oncall")
    tokens = [bob, scene.token("una@example.com")] * 8
    process = psutil.Process(scene.service.process.pid)
    assert scene.ask(bob)[0] == 200
    before = peak = process.memory_info().rss
    answers: list[tuple[int, int]] = []

    def download(token: str) -> None:
        headers = {
            "Authorization": f"Bearer {token}",
            "Origin": scene.world.origin,
            "Content-Type": "application/json",
        }
        url = f"{scene.service.url}/v1/reveal"
        with scene.service.session.post(url, json=body(AT), headers=headers, timeout=120, stream=True) as answer:
            answers.append((answer.status_code, sum(map(len, answer.iter_content(1 << 16)))))

    threads = [threading.Thread(target=download, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.02)
    assert {status for status, _ in answers} <= {200, 503}
    assert min(size for status, size in answers if status == 200) > 11_000_000
    # Four payloads, each for a moment twice, what the network has not taken yet, and what malloc keeps. Sixteen at
    # once would take 300 MiB.
    assert peak - before < 160 << 20, (before >> 20, peak >> 20)


# --- what fails ---------------------------------------------------------------------------------------------


def test_a_changed_policy_is_in_force_at_once(scene: Scene, bob: str) -> None:
    """Who is no viewer any more is refused with the next request, before Vault knows of it."""
    scene.put(VALUE)
    assert scene.ask(bob)[0] == 200
    before = scene.world.text
    try:
        scene.world.write(before.replace("group: finance-oncall", "group: finance-managers"))
        assert scene.ask(bob)[:2] == (403, "AccessRefused")
        scene.world.file.write_text("version: 1\n")
        assert scene.ask(bob)[:2] == (503, "PolicyInvalid")
        assert scene.service.session.get(f"{scene.service.url}/healthz", timeout=20).status_code == 503
    finally:
        scene.world.write(before)
    assert scene.ask(bob)[0] == 200


def test_without_a_sink_there_are_no_bytes(scene: Scene, bob: str) -> None:
    """An access log that cannot be written ends in an error, and the service goes on once it can be."""
    scene.put(VALUE)
    away = scene.log.parent.with_name("away")
    scene.log.parent.rename(away)
    scene.log.parent.write_text("no folder")
    try:
        status, error, answer = scene.ask(bob)
        assert (status, error) == (503, "AuditError")
        assert "payload" not in answer
    finally:
        scene.log.parent.unlink()
        away.rename(scene.log.parent)
    assert scene.ask(bob)[0] == 200


def test_without_the_database(scene: Scene, bob: str, postgres: PostgresServer) -> None:
    """A database that is away is our error, and the service goes on once it is back."""
    scene.put(VALUE)
    postgres.stop()
    try:
        assert scene.ask(bob)[:2] == (503, "DatabaseFailed")
        assert scene.service.session.get(f"{scene.service.url}/healthz", timeout=20).ok
    finally:
        postgres.start()
        scene.table.engine.dispose()
    assert scene.ask(bob)[0] == 200


def test_it_stops_in_order(scene: Scene) -> None:
    """On SIGTERM a page that waits for a login is answered, and the log's chain is ended."""
    answers: list[int] = []
    place = f"{scene.service.url}/v1/logins/{'s' * 20}"
    waiting = threading.Thread(
        target=lambda: answers.append(scene.service.session.get(place, timeout=60).status_code)
    )
    waiting.start()
    time.sleep(0.5)
    began = time.monotonic()
    assert scene.service.stop() == 0
    waiting.join(10)
    assert answers == [204]
    # A client that keeps a TLS connection and does not read is waited for, and no longer than that.
    assert time.monotonic() - began < STOP_SECONDS + 15
    last = json.loads(scene.log.read_text().splitlines()[-1])
    assert last["action"] == "chain_end"
    assert "Traceback" not in scene.service.log.read_text()
