"""`secure-xcom policy verify` on a real Vault: the matrix, and what it notices when a policy was changed there."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.vault.client import VaultClient
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from secure_xcom.ops.service_policies.verify.vault import verify
from tests.real.test_policies_vault import IDENTITIES, TEXT
from tests.support.servers.vault_realm import Realm, as_operator, flavours
from tests.support.weaken_hcl import narrowed, weakened


@pytest.fixture
def policies(realm: Realm, fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The compiled HCL of a policy whose file is in the test's folder."""
    names = {"transit": realm.transit, "kv": realm.kv, "approle": "approle"}
    text = TEXT.format(**names, fin=realm.new_key(), sal=realm.new_key())
    (tmp_path / "policy.yaml").write_text(text)
    as_operator(monkeypatch, realm.server)
    files = compile_policy(AccessPolicy.parse(text.encode(), where="policy.yaml")).files
    return {name: files[f"vault/policies/secure-xcom-{name}.hcl"] for name in IDENTITIES}


def run(folder: Path, realm: Realm, monkeypatch: pytest.MonkeyPatch, texts: dict[str, str]) -> tuple[int, Any]:
    """The exit code and the record, with a token for each identity."""
    for name in IDENTITIES:
        variable = f"SECURE_XCOM_VERIFY_{name.upper().replace('-', '_')}"
        monkeypatch.delenv(variable, raising=False)
        if name in texts:
            monkeypatch.setenv(variable, realm.may(texts[name]))
    result = CliRunner().invoke(app, ["policy", "verify", str(folder / "policy.yaml"), "--json"])
    return result.exit_code, json.loads(result.stdout or result.stderr)


def test_what_was_compiled_is_as_expected(
    realm: Realm, policies: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every identity is allowed something and denied something, and nothing is a surprise."""
    code, record = run(tmp_path, realm, monkeypatch, policies)
    rows = record["matrix"]
    assert [row for row in rows if row["surprise"]] == []
    assert code == 0
    for name in IDENTITIES:
        assert {row["allowed"] for row in rows if row["identity"] == name} == {True, False}
    assert len(rows) > 50


def test_a_wider_and_a_narrower_policy_are_surprises(
    realm: Realm, policies: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A limit that was taken away and a right that is missing both end with 1 and are named."""
    wide = next(text for what, text in weakened(policies["sales-worker"]) if "no parameter limits" in what)
    code, record = run(tmp_path, realm, monkeypatch, {**policies, "sales-worker": wide})
    found = [row for row in record["matrix"] if row["surprise"]]
    assert (code, {row["identity"] for row in found}, {row["allowed"] for row in found}) == (
        1,
        {"sales-worker"},
        {True},
    )
    code, record = run(
        tmp_path, realm, monkeypatch, {**policies, "auditor": 'path "x" { capabilities = ["read"] }'}
    )
    found = [row for row in record["matrix"] if row["surprise"]]
    assert (code, {row["identity"] for row in found}, {row["allowed"] for row in found}) == (
        1,
        {"auditor"},
        {False},
    )


def test_an_identity_that_was_not_tried_is_named(
    realm: Realm, policies: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without its token nothing is known of it, so the run does not end with 0."""
    code, record = run(tmp_path, realm, monkeypatch, {"pusher": policies["pusher"]})
    assert (code, set(record["left_out"])) == (1, set(IDENTITIES) - {"pusher"})
    assert {row["identity"] for row in record["matrix"]} == {"pusher"}


@pytest.mark.timeout(600)
def test_every_weakened_line_is_a_surprise(realm: Realm, policies: dict[str, str], tmp_path: Path) -> None:
    """Each capability, path, parameter and context of each block, changed one at a time, is noticed."""
    policy = AccessPolicy.load(str(tmp_path / "policy.yaml"))
    wire = VaultClient("default").wire
    counts, missed = Counter[str](), []
    # The servers of the family read policies alike: everything on the first one, every ninth on the other.
    whole = realm.server.flavour in (flavours()[0], "named")
    every = 1 if whole else 9
    for identity, text in policies.items():
        name = realm.policy(text)
        tokens = {identity: realm.server.new_token(name)}
        for kind, ways in (("weakened", weakened), ("narrowed", narrowed)):
            for what, changed in islice(ways(text), 0, None, every):
                realm.server.do("PUT", f"sys/policies/acl/{name}", {"policy": changed})
                counts[kind] += 1
                if not any(row.surprise for row in verify(wire, policy, tokens)):
                    missed.append(f"{identity}: {what}")
    print(f"{counts['weakened']} weakened and {counts['narrowed']} narrowed lines, not noticed: {missed}")
    assert missed == []
    # The page tells these numbers.
    page = (Path(__file__).parents[2] / "docs" / "evidence" / "access-policy.md").read_text()
    told = f"{counts['weakened']} lines weakened and {counts['narrowed']} narrowed"
    assert (told in page) if whole else counts["weakened"] > 30, told
