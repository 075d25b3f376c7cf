"""One compartment's folder inside another's, for every store: refused when the file is loaded, named by lint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from secure_xcom.claims.claimant import claims_folder
from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.folders import Folder, LocalFolders, folders_of, sink_inside
from secure_xcom.core.access_policy.nested_folders import nested
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.ops.checks.doctor_host import examine_files
from secure_xcom.ops.keyring import create_keyring
from secure_xcom.ops.service_policies.lint.access_policy import lint
from secure_xcom.sinks.apart_from_payloads import check_apart
from secure_xcom.stores import store
from secure_xcom.stores.bucket_uri import BucketUri
from secure_xcom.stores.files import FileStore
from secure_xcom.stores.vault_kv_uri import split_uri

# The store of finance; the one of sales; what sales' lies in.
NESTED = {
    "s3": ("s3://xcom/sealed", "s3://xcom/sealed/finance", "s3://xcom/sealed/finance"),
    "s3, deeper": ("s3://xcom/sealed", "s3://xcom/sealed/finance/a/b", "s3://xcom/sealed/finance"),
    "s3, the whole bucket": ("s3://xcom", "s3://xcom/finance", "s3://xcom/finance"),
    "s3, a slash at the end": ("s3://xcom/sealed/", "s3://xcom/sealed/finance/", "s3://xcom/sealed/finance"),
    "s3, options": (
        "s3://xcom/sealed?region=eu-central-1",
        "s3://xcom/sealed/finance?addressing=path&retries=8",
        "s3://xcom/sealed/finance",
    ),
    "s3, two connections": ("s3://a@xcom/sealed", "s3://b@xcom/sealed/finance", "s3://xcom/sealed/finance"),
    "s3, one endpoint unknown": (
        "s3://a@xcom/sealed?endpoint=https://s3.example.com",
        "s3://b@xcom/sealed/finance",
        "s3://xcom/sealed/finance",
    ),
    "s3, one endpoint in two spellings": (
        "s3://xcom/sealed?endpoint=https://S3.example.com",
        "s3://xcom/sealed/finance?endpoint=https://s3.example.com:443/",
        "s3://xcom/sealed/finance",
    ),
    "s3, this machine in two spellings": (
        "s3://xcom/sealed?endpoint=http://localhost:9000",
        "s3://xcom/sealed/finance?endpoint=http://127.0.0.1:9000",
        "s3://xcom/sealed/finance",
    ),
    "s3, upper case": ("s3://XCOM/sealed", "s3://xcom/sealed/finance", "s3://xcom/sealed/finance"),
    "s3, percent escapes": ("s3://xcom/sealed", "s3://xcom/sealed/fin%61nce", "s3://xcom/sealed/finance"),
    "s3, an escaped slash": ("s3://xcom/sealed", "s3://xcom/sealed%2Ffinance", "s3://xcom/sealed/finance"),
    "s3, claims": ("s3://xcom/sealed", "s3://xcom/sealed/~claims/finance", "s3://xcom/sealed/~claims/finance"),
    "s3, claims, escaped": ("s3://xcom", "s3://xcom/%7Eclaims/finance", "s3://xcom/~claims/finance"),
    "gs": ("gs://a@xcom/sealed", "gs://b@xcom/sealed/finance", "gs://xcom/sealed/finance"),
    "gs, claims": ("gs://xcom", "gs://xcom/~claims/finance/x", "gs://xcom/~claims/finance"),
    "abfs": ("abfs://z@xcom/sealed", "abfs://z@xcom/sealed/finance", "abfs://xcom/sealed/finance"),
    "abfs, one account unknown": (
        "abfs://z@xcom/sealed",
        "abfs://xcom/sealed/finance?account=team",
        "abfs://xcom/sealed/finance",
    ),
    "abfs, claims": ("abfs://xcom", "abfs://xcom/~claims/finance", "abfs://xcom/~claims/finance"),
    "vault-kv": (
        "vault-kv://v/secret/xcom",
        "vault-kv://v/secret/xcom/finance",
        "vault-kv://secret/xcom/finance",
    ),
    "vault-kv, `data` spelled out": (
        "vault-kv://v/secret/data/xcom",
        "vault-kv://w/secret/xcom/finance/x",
        "vault-kv://secret/xcom/finance",
    ),
    "vault-kv, a mount with slashes": (
        "vault-kv://v/team/secret/data/xcom",
        "vault-kv://v/team/secret/data/xcom/finance",
        "vault-kv://team/secret/xcom/finance",
    ),
    "vault-kv, claims": (
        "vault-kv://v/secret/xcom",
        "vault-kv://v/secret/xcom/~claims/finance",
        "vault-kv://secret/xcom/~claims/finance",
    ),
    "memory": ("memory://tests", "memory://tests/finance", "memory://tests/finance"),
    "file": ("file:///srv/xcom", "file:///srv/xcom/finance", "/srv/xcom/finance"),
    "file, slashes": ("file:///srv//xcom/", "file:////srv/xcom/finance/", "/srv/xcom/finance"),
    "file, percent escapes": ("file:///srv/xcom", "file:///srv/x%63om/fin%61nce", "/srv/xcom/finance"),
    "file, an escaped slash": ("file:///srv/xcom", "file:///srv%2Fxcom/finance", "/srv/xcom/finance"),
    "file, dots": ("file:///srv/xcom", "file:///srv/./other/../xcom/finance", "/srv/xcom/finance"),
    "file, claims": ("file:///srv/xcom", "file:///srv/xcom/~claims/finance", "/srv/xcom/~claims/finance"),
}
APART = {
    "one store": ("s3://xcom/sealed", "s3://xcom/sealed"),
    "one store through two connections": ("s3://a@xcom/sealed", "s3://b@xcom/sealed"),
    "one store and its parent": ("s3://xcom/sealed", "s3://xcom"),
    "a name that only begins so": ("s3://xcom/sealed", "s3://xcom/sealed/finance-old"),
    "beside": ("s3://xcom/sealed", "s3://xcom/other/finance"),
    "another bucket": ("s3://xcom/sealed", "s3://xcom2/sealed/finance"),
    "another cloud": ("s3://xcom/sealed", "gs://xcom/sealed/finance"),
    "two endpoints": (
        "s3://xcom/sealed?endpoint=https://one.example.com",
        "s3://xcom/sealed/finance?endpoint=https://two.example.com",
    ),
    "two ports": (
        "s3://xcom/sealed?endpoint=http://127.0.0.1:9000",
        "s3://xcom/sealed/finance?endpoint=http://127.0.0.1:9001",
    ),
    "two accounts": ("abfs://xcom/sealed?account=one", "abfs://xcom/sealed/finance?account=two"),
    "another mount": ("vault-kv://v/secret/xcom", "vault-kv://v/team/data/xcom/finance"),
    "another mount of many parts": ("vault-kv://v/team/xcom/a", "vault-kv://v/team/xcom/data/a/finance"),
    "one folder": ("file:///srv/xcom", "file:///srv/xcom"),
    "a folder beside": ("file:///srv/xcom", "file:///srv/xcom-finance"),
    "the folder of all claims": ("s3://xcom/sealed", "s3://xcom/sealed/~claims"),
}


def policy(finance: str, sales: str, field: str = "store_uri: {}", *, turned: bool = False) -> bytes:
    """Two compartments; the URI of sales stands in a field of its own."""
    key = '    dags: ["{0}_*"]\n    key_uris: ["vault://v/transit/keys/{0}"]\n'
    first = f'  - name: finance\n{key.format("finance")}    store_uri: "{finance}"\n'
    second = f"  - name: sales\n{key.format('sales')}"
    second += f"    {field.format(quote_yaml(sales))}\n"
    if not field.startswith("store_uri"):
        second += "    store_uri: s3://elsewhere/sealed\n"
    return f"version: 1\ncompartments:\n{second + first if turned else first + second}".encode()


def quote_yaml(text: str) -> str:
    """A text as a YAML string."""
    return f'"{text}"'


@pytest.mark.parametrize("case", NESTED)
@pytest.mark.parametrize("turned", [False, True])
def test_a_folder_in_a_folder_loads_nowhere(case: str, turned: bool) -> None:
    """Whichever compartment stands first, the file is refused, with both names, the folder and the line."""
    finance, sales, folder = NESTED[case]
    raw = policy(finance, sales, turned=turned)
    with pytest.raises(PolicyInvalid) as refused:
        AccessPolicy.parse(raw, where="access_policy.yaml")
    said = str(refused.value)
    assert "this store of 'sales' is inside the folder of 'finance'" in said
    assert f"({folder})" in said
    remarks = [one for one in lint(raw, where="access_policy.yaml") if one.rule == "nested-store"]
    assert [(one.status, one.path[-1]) for one in remarks] == [("error", "store_uri")]
    assert raw.decode().splitlines()[(remarks[0].line or 0) - 1].strip().startswith("store_uri")


@pytest.mark.parametrize("case", APART)
@pytest.mark.parametrize("turned", [False, True])
def test_what_lies_apart_loads(case: str, turned: bool) -> None:
    """Equal stores above all: each compartment has a folder of its own below them."""
    raw = policy(*APART[case], turned=turned)
    assert len(AccessPolicy.parse(raw, where="access_policy.yaml").compartments) == 2
    assert not [one for one in lint(raw, where="access_policy.yaml") if one.rule == "nested-store"]


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("former_store_uris: [{}]", ("former_store_uris", 0)),
        ("routes: [{{sensitive: true, store_uri: {}}}]", ("routes", 0, "store_uri")),
    ],
)
def test_every_store_of_a_compartment_counts(field: str, path: tuple[str | int, ...]) -> None:
    """A former store is still read and listed, and a route's is written to."""
    raw = policy("s3://xcom/sealed", "s3://xcom/sealed/finance", field)
    with pytest.raises(PolicyInvalid, match="is inside the folder of 'finance'"):
        AccessPolicy.parse(raw, where="access_policy.yaml")
    assert [one.path for one in lint(raw, where="f") if one.rule == "nested-store"] == [("compartments", 1, *path)]


def test_a_compartment_may_nest_its_own_stores() -> None:
    """They are of one boundary."""
    raw = policy("s3://xcom/sealed", "s3://xcom/sealed/sales", "routes: [{{sensitive: true, store_uri: {}}}]")
    AccessPolicy.parse(raw.replace(b"s3://elsewhere/sealed", b"s3://xcom/sealed"), where="f")


def test_no_error_shows_what_stands_before_an_at() -> None:
    """It may be a password that does not belong there."""
    raw = policy("s3://hunter2@xcom/sealed", "s3://hunter2@xcom/sealed/finance")
    with pytest.raises(PolicyInvalid) as refused:
        AccessPolicy.parse(raw, where="f")
    assert "hunter2" not in str(refused.value)


def test_a_symbolic_link_hides_no_folder(tmp_path: Path) -> None:
    """The store's folder is a link into the other's, or the compartment's folder in it is one."""
    root, elsewhere = tmp_path / "xcom", tmp_path / "elsewhere"
    (root / "finance").mkdir(parents=True)
    elsewhere.symlink_to(root / "finance")
    with pytest.raises(PolicyInvalid, match="is inside the folder of 'finance'"):
        AccessPolicy.parse(policy(root.as_uri(), elsewhere.as_uri()), where="f")
    elsewhere.unlink()
    elsewhere.mkdir()
    AccessPolicy.parse(policy(root.as_uri(), elsewhere.as_uri()), where="f")
    (root / "sales").symlink_to(root / "finance")
    with pytest.raises(PolicyInvalid, match="is inside the folder of"):
        AccessPolicy.parse(policy(root.as_uri(), root.as_uri()), where="f")


def test_a_folder_is_known_by_its_inode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bind mount or a file system without case gives a folder a second path, which no link tells of."""
    (tmp_path / "xcom" / "finance").mkdir(parents=True)
    (tmp_path / "mounted").mkdir()
    real = os.stat
    second = str(tmp_path / "mounted")

    def stat(path: str, *args: object, **kwargs: object) -> os.stat_result:
        there = str(path).replace(second, str(tmp_path / "xcom"))
        return real(there, *args, **kwargs)  # type: ignore[arg-type]

    # Mounting is root's: what the kernel says of a mount is said in its place.
    monkeypatch.setattr(os, "stat", stat)
    mounted = (tmp_path / "mounted" / "finance" / "below").as_uri()
    with pytest.raises(PolicyInvalid, match="is inside the folder of 'finance'"):
        AccessPolicy.parse(policy((tmp_path / "xcom").as_uri(), mounted), where="f")


@pytest.mark.parametrize(
    "uri",
    [
        *(f"{scheme}://c@xcom/sealed/x-1.y_z~%25" for scheme in ("s3", "gs", "abfs")),
        "s3://xcom",
        "s3://xcom/a?region=eu-central-1",
        "file:///srv/a%20b/./c//d",
        "vault-kv://v/secret/xcom/a.b",
        "vault-kv://v/team/secret/data/xcom",
        "vault-kv://v/secret/data/xcom",
        "memory://tests",
    ],
)
def test_folders_are_where_the_stores_put_objects(uri: str) -> None:
    """What is read here leniently is what each store reads strictly, but for the escapes of buckets and KV."""
    scheme, mount = uri.partition("://")[0], ""
    if scheme == "file":
        root = FileStore(uri).uri.removeprefix("file://").replace("%20", " ")
        where = f"{root}/finance"
    elif scheme == "vault-kv":
        _, mount, prefix = split_uri(uri)
        where = f"vault-kv://{mount}/{prefix}/finance"
    else:
        place = BucketUri.parse(uri, scheme)
        where = "/".join(filter(None, [f"{scheme}://{place.bucket}", place.prefix, "finance"]))
    claims = where.removesuffix("finance") + claims_folder("finance").removesuffix("/")
    for folder in (where, claims):
        inner = quote(folder, safe="/:~%") if scheme == "file" else folder
        inner = f"file://{inner}" if scheme == "file" else inner
        if scheme == "vault-kv":
            inner = f"vault-kv://v/{mount}/data/{folder.removeprefix(f'vault-kv://{mount}/')}"
        pair = [
            Compartment(name=n, dags=("*",), key_uris=("vault://v/t/keys/k",), store_uri=u)
            for u, n in ((uri, "finance"), (inner, "sales"))
        ]
        assert [(one.compartment, one.outer) for one in nested(pair)] == [(1, 0)]
        assert next(iter(nested(pair))).shown == folder.replace("%25", "%")


def test_what_sales_pushes_would_lie_in_what_finance_may_list(tmp_path: Path) -> None:
    """The attack, on a real store: by listing its own folder an identity of finance has the payloads of sales."""
    root = tmp_path / "xcom"
    inner = root / "finance" / "sales-store"
    inner.mkdir(parents=True)
    store(inner.as_uri()).put("sales/sales_daily/run/task/-1/payload", [b"sealed"])
    stolen = list(store(root.as_uri()).list("finance"))
    assert [one.path for one in stolen] == ["finance/sales-store/sales/sales_daily/run/task/-1/payload"]
    with pytest.raises(PolicyInvalid, match="is inside the folder of 'finance'"):
        AccessPolicy.parse(policy(root.as_uri(), inner.as_uri()), where="f")


SINKS = [
    ("s3://xcom/sealed", "s3://log@xcom/sealed/finance"),
    ("s3://xcom/sealed", "s3://xcom/sealed/finance/log?optional=true"),
    ("s3://xcom/sealed", "s3://xcom/sealed/~claims/finance"),
    ("gs://xcom", "gs://xcom/finance/log"),
    ("abfs://xcom/a", "abfs://xcom/a/finance"),
    ("memory://tests", "memory://tests/finance"),
    ("file:///srv/xcom", "file:///srv/xcom/finance/access-log.jsonl"),
    ("file:///srv/xcom", "file:///srv/xcom/finance/log/?optional=true"),
    # The other way about: the folder of events has the compartment's in it.
    ("s3://xcom/log/events", "s3://xcom/log"),
    ("s3://xcom/log/events/a", "s3://xcom/log"),
]


@pytest.mark.parametrize(("finance", "sink"), SINKS)
def test_no_sink_lies_among_payloads(finance: str, sink: str) -> None:
    """Where both are known it is refused; doctor finds it, too."""
    loaded = AccessPolicy.parse(policy(finance, finance), where="f")
    with pytest.raises(SettingInvalid, match="access log's sink") as refused:
        check_apart(loaded, ["log://secure_xcom", sink])
    assert "compartment 'finance'" in str(refused.value)
    remarks = lint(
        policy(finance, finance), where="f", environment={"AIRFLOW__SECURE_XCOM__AUDIT_SINKS": f"log://x, {sink}"}
    )
    assert [one.status for one in remarks if one.rule == "access-log-in-store"] == ["error"]
    assert [one.status for one in examine_files(loaded, (sink,)) if one.rule == "access-log-in-store"] == ["error"]


@pytest.mark.parametrize(
    ("finance", "sink"),
    [
        ("s3://xcom/sealed", "s3://xcom/access-log"),
        ("s3://xcom/sealed", "s3://xcom/sealed"),
        ("s3://xcom", "s3://log/finance"),
        ("file:///srv/xcom", "file:///srv/xcom/access-log.jsonl"),
        ("file:///srv/xcom", "file:///srv/finance/access-log.jsonl"),
        ("s3://xcom", "db+postgresql://user@host/finance"),
        ("s3://xcom", "syslog+tls://host"),
        ("s3://xcom", "log://secure_xcom"),
    ],
)
def test_other_sinks_are_fine(finance: str, sink: str) -> None:
    """The sink and the store may share a bucket, side by side."""
    check_apart(AccessPolicy.parse(policy(finance, finance), where="f"), [sink])


PUSH = """
from secure_xcom import SecureXComBackend
SecureXComBackend.serialize_value({"a": 1}, key="k", task_id="t", dag_id="orders", run_id="r", map_index=-1)
"""


def test_a_push_refuses_an_access_log_among_payloads(tmp_path: Path) -> None:
    """A task's process reads both settings and stops before it writes to either."""
    create_keyring(str(tmp_path / "keys" / "keyring.json"))
    sealed = tmp_path / "sealed"
    sealed.mkdir()
    settings = {
        "KEY_URIS": f"local://{tmp_path}/keys/keyring.json",
        "STORE_URI": sealed.as_uri(),
        "AUDIT_SINKS": f"{sealed.as_uri()}/default/access-log.jsonl",
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    chosen = {f"AIRFLOW__SECURE_XCOM__{name}": value for name, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "-c", PUSH],
        env={**clean, "AIRFLOW_HOME": str(tmp_path / "home"), **chosen},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert "SettingInvalid" in done.stderr
    assert "overlap" in done.stderr
    assert list(sealed.iterdir()) == []


def test_an_access_log_in_a_second_store_is_found() -> None:
    """Stores of another kind are passed over, whichever comes first."""
    store_uri = b'"s3://xcom/sealed"'
    raw = policy("s3://xcom/sealed", "s3://elsewhere/sealed").replace(
        store_uri, store_uri + b"\n    former_store_uris: ['file:///srv/xcom']"
    )
    compartments = AccessPolicy.parse(raw, where="f").compartments
    found = sink_inside(compartments, "file:///srv/xcom/finance/log.jsonl")
    assert found is not None
    assert found[1] == "/srv/xcom/finance"
    assert sink_inside(compartments, "file:///srv/xcom-log/log.jsonl") is None


def test_a_tilde_ends_a_name() -> None:
    """Only slashes are no part of a folder's name."""
    [(path, _), *_] = folders_of("file:///srv/xcom~/", "finance", LocalFolders())
    assert path == "/srv/xcom~/finance"


def test_a_local_folder_is_known_by_each_folder_above_it(tmp_path: Path) -> None:
    """By its name, by the inode of each folder that exists, its own included, and by those of a link's target."""

    def ids(path: Path) -> list[Folder]:
        above = [*reversed(path.parents)][1:]
        stats = [(folder.stat(), folder) for folder in (*above, path) if folder.exists()]
        return [
            Folder(("file", f"{stat.st_dev}:{stat.st_ino}"), path.parts[len(folder.parts) :])
            for stat, folder in stats
        ]

    real = tmp_path.resolve() / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    for path in (real, real / "missing" / "more"):
        assert list(LocalFolders().folders(str(path))) == [Folder(("file", "/"), path.parts[1:]), *ids(path)]
    linked = list(LocalFolders().folders(str(tmp_path / "link" / "a")))
    for folder in (Folder(("file", "/"), (real / "a").parts[1:]), *ids(real / "a")):
        assert folder in linked
