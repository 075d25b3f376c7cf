"""docs/evidence/approval: the matrix is that of the compiled policies, and the erasure recipe erases."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from datetime import datetime, timedelta, timezone
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from tests.support import documented
from tests.support.documented import ROOT
from tests.support.stopped_clock import stopped
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate

FOLDER = ROOT / "docs" / "evidence" / "approval"
PAGES = sorted(FOLDER.glob("*.md"))
RECORD = (
    "Every push, pull, purge, open and reveal made through secure_xcom, refused ones included, is an event in the "
    "access log, or nothing is given out. What bypasses secure_xcom appears, if at all, only in "
    "the key service's own log."
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_a_page_is_read_in_one_sitting(page: Path) -> None:
    """At most 2,500 words each."""
    assert len(page.read_text().split()) <= 2500


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/concepts/threat-model.md",
        "docs/reference/access-log.md",
        "docs/evidence/approval/README.md",
    ],
)
def test_pages_agree_on_what_is_recorded(page: str) -> None:
    """One sentence says what leaves a record and what does not."""
    assert RECORD in " ".join((ROOT / page).read_text().split())


def test_no_page_promises_more_than_is_recorded() -> None:
    """No page says without a condition that every read or access is recorded."""
    promise = re.compile(r"\b(every|each|all) (read|access|pull)s? (leaves?|is recorded|has) ", re.IGNORECASE)
    said = {documented.name_of(page): promise.findall(page.read_text()) for page in documented.PAGES}
    assert {page: found for page, found in said.items() if found} == {}


# --- who may ask what --------------------------------------------------------------------------------------

POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["vault://v/transit/keys/finance", "aws-kms://a/alias/finance"]
    store_uri: s3://a@bucket/xcom
    readers: [{compartment: sales}]
    viewers: [{group: auditors}]
  - name: sales
    dags: ["sales_*"]
    key_uris: ["vault://v/transit/keys/sales"]
    store_uri: s3://a@bucket/xcom
reveal:
  origin: https://reveal.example.com
  airflow_origin: https://airflow.example.com
  vault: {address: "https://vault.example.com:8200"}
identities:
"""
COLUMNS = ("wrap", "unwrap", "rewrap", "put payload", "get payload", "delete payload")
# Column -> what Vault's policy has, what KMS's has, and what the bucket's has.
VAULT = {
    "wrap": "transit/encrypt/finance",
    "unwrap": "transit/decrypt/finance",
    "rewrap": "transit/rewrap/finance",
}
KMS = {"wrap": "kms:Encrypt", "unwrap": "kms:Decrypt", "rewrap": "kms:ReEncryptFrom"}
S3 = {"put payload": "s3:PutObject", "get payload": "s3:GetObject", "delete payload": "s3:DeleteObject"}


def matrix() -> dict[str, dict[str, bool]]:
    """The page's table: role -> column -> whether it may."""
    text = (FOLDER / "keys-and-boundaries.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| " + r" \| ".join(["(yes|no)"] * len(COLUMNS)) + r" \|$", text, re.MULTILINE)
    return {role: dict(zip(COLUMNS, (word == "yes" for word in words), strict=True)) for role, *words in rows}


def allowed(identity: str) -> dict[str, bool]:
    """What the policies that are compiled for one identity let it do in `finance`."""
    text = POLICY + (
        f"  - name: who\n    {identity}\n    vault: {{auth: approle}}\n"
        '    aws: {principal: "arn:aws:iam::111122223333:role/who"}\n'
    )
    files = compile_policy(AccessPolicy.parse(text.encode(), where="policy.yaml")).files
    hcl = files.get("vault/policies/secure-xcom-who.hcl", "")
    document = json.loads(files.get("aws/identities/who.json", '{"Statement": []}'))
    granted = {
        action
        for statement in document["Statement"]
        for action in statement["Action"]
        if "finance" in json.dumps([statement["Resource"], statement.get("Condition")])
    }
    for column, path in VAULT.items():
        assert (f'path "{path}"' in hcl) == (KMS[column] in granted), f"Vault and KMS differ: {column}"
    return {
        **{column: f'path "{path}"' in hcl for column, path in VAULT.items()},
        **{column: action in granted for column, action in S3.items()},
    }


IDENTITIES = {
    "`workers_of` the compartment": "workers_of: [finance]",
    "workers of a compartment among its `readers`": "workers_of: [sales]",
    **{
        f"`{role}`": f"grants: [{{compartment: finance, as: {role}}}]"
        for role in ("writer", "reader", "both", "maintenance", "operator", "fetcher", "revealer")
    },
}


@pytest.mark.parametrize("role", IDENTITIES)
def test_the_matrix_is_that_of_the_compiled_policies(role: str) -> None:
    """A role may ask at Vault, KMS and the bucket for what the page says, and for nothing else."""
    assert allowed(IDENTITIES[role]) == matrix()[role]


def test_viewers_may_unwrap_and_nothing_else() -> None:
    """Their policy at Vault has one path of transit, and no other service knows them."""
    files = compile_policy(AccessPolicy.parse(f"{POLICY} []".encode(), where="policy.yaml")).files
    hcl = files["vault/policies/secure-xcom-viewers-auditors.hcl"]
    assert re.findall(r'path "(transit/[^"]+)"', hcl) == ["transit/decrypt/finance"]
    assert [path for path, text in files.items() if "auditors" in text and path != "README.md"] == [
        "vault/policies/secure-xcom-viewers-auditors.hcl",
        "vault/reveal.json",
    ]
    assert [column for column, may in matrix()["`viewers`"].items() if may] == ["unwrap"]


def test_the_matrix_has_every_role() -> None:
    """Each role of the access policy has a row, and no other row is there."""
    assert set(matrix()) == {*IDENTITIES, "`viewers`"}


# --- cryptography ------------------------------------------------------------------------------------------


def test_the_page_names_the_openssl_that_the_wheel_carries() -> None:
    """What the page says of a release of cryptography is what that release says of itself."""
    text = (FOLDER / "cryptography.md").read_text()
    named = re.search(r"OpenSSL (\d[\d.]*) in (\d[\d.]*\d), as read from the library", text)
    assert named
    if metadata.version("cryptography") != named[2]:
        pytest.skip("the page is about another release of cryptography")
    from cryptography.hazmat.backends.openssl import backend

    assert backend.openssl_version_text().split()[1] == named[1]


# --- erasure -----------------------------------------------------------------------------------------------

CANARY = "canary of a person"


def commands() -> list[list[str]]:
    """The recipe's commands, in order."""
    page = FOLDER / "metadata-and-erasure.md"
    text = page.read_text().split("## Erase on request")[1]
    return [shlex.split(line)[1:] for line in re.findall(r"^ +(secure-xcom .*)$", text, re.MULTILINE)]


def found_in(folder: Path, needle: bytes) -> list[str]:
    """The files below a folder that hold a text."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes())


def test_the_recipe_erases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the page's steps no row, no wrap and no payload of the run is left, and the next run is untouched."""
    upkeep = Upkeep(tmp_path / "one")
    config = upkeep.folder / "airflow.cfg"
    config.write_text(
        f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\naudit_sinks = file://{upkeep.folder}/log.jsonl\n"
    )
    monkeypatch.setenv("SECURE_XCOM_DB", upkeep.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    at = coordinate(run_id="manual__2026-01-01T00:00:00+00:00")
    kept = coordinate(run_id="manual__2026-01-02T00:00:00+00:00")
    upkeep.push({"name": CANARY}, at)
    upkeep.push({"name": "somebody else"}, kept)
    wrapped = upkeep.table.value(at)["keys"][0]["wrapped"].encode()
    assert found_in(upkeep.folder, wrapped) == ["airflow.db"]
    (upkeep.folder / "log.jsonl").write_bytes(b"".join(line.data + b"\n" for line in upkeep.sink.lines))
    search, *after = commands()
    assert search[:2] == ["audit", "search"]
    assert len(after) == 4

    def run(words: list[str]) -> str:
        done = CliRunner().invoke(app, [*words, "--config", str(config)], env={"COLUMNS": "200"})
        assert done.exit_code in (0, 1), done.output
        return done.stdout

    assert str(at.run_id) in run([*search, "--json"])
    # Airflow deletes the rows of a run so: past every backend.
    upkeep.table.delete(at)
    later = datetime.now(timezone.utc) + timedelta(hours=3)
    with stopped(later):
        for words in after[:3]:
            run(words)
    assert [path for path in upkeep.objects() if "2026-01-01" in path] == []
    assert len(upkeep.objects()) == 1
    assert upkeep.pull(kept) == {"name": "somebody else"}
    run(after[3])
    upkeep.close()
    with sqlite3.connect(upkeep.folder / "airflow.db") as database:
        database.execute("VACUUM")
    assert found_in(upkeep.folder, wrapped) == []
    assert found_in(upkeep.folder, CANARY.encode()) == []
