"""Rights beyond a role, found on a real Vault and a real S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from secure_xcom.core.findings import Finding
from secure_xcom.ops.checks.doctor_rights import Role, examine_rights
from tests.support.servers.s3_server import REGION, S3Server, allow, s3_server
from tests.support.servers.vault_realm import Realm, connect
from tests.support.upkeep_world import Upkeep


def vault_findings(
    realm: Realm, folder: Path, monkeypatch: pytest.MonkeyPatch, role: Role, *grants: str, identities: str = ""
) -> list[Finding]:
    """What is found of an identity with these grants.

    :param identities: further lines of the access policy.
    """
    key = realm.new_key()
    token = realm.may(*(grant.replace("KEY", key).replace("MOUNT", realm.transit) for grant in grants))
    upkeep = Upkeep(folder / key)
    uri = realm.uri(connect(monkeypatch, realm.server, password=token), key)
    upkeep.write_policy(identities, keys=uri)
    found = list(examine_rights(upkeep.policy, role))
    upkeep.close()
    return found


def test_vault(realm: Realm, tmp_path: Path, fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caretaker that may rewrap is well; one that may decrypt, or a worker that makes keys, is named."""
    rewraps = 'path "MOUNT/rewrap/KEY" { capabilities = ["update"] }'
    encrypts = 'path "MOUNT/encrypt/KEY" { capabilities = ["update"] }'
    decrypts = 'path "MOUNT/decrypt/KEY" { capabilities = ["update"] }'
    assert vault_findings(realm, tmp_path, monkeypatch, "maintenance", rewraps) == []
    assert vault_findings(realm, tmp_path, monkeypatch, "worker", encrypts, decrypts) == []
    (found,) = vault_findings(realm, tmp_path, monkeypatch, "maintenance", rewraps, decrypts)
    assert "has update on" in found.text
    assert "/decrypt/" in found.text
    assert found.remedy.startswith("this is the login of maintenance: compare its policy with")
    for found in vault_findings(realm, tmp_path, monkeypatch, "maintenance", encrypts, decrypts):
        assert found.remedy == "this is the login of a worker: run doctor with --role worker"
    makes = 'path "MOUNT/encrypt/KEY" { capabilities = ["create", "update"] }'
    (found,) = vault_findings(realm, tmp_path, monkeypatch, "worker", makes)
    assert "has create on" in found.text
    rules = 'path "MOUNT/keys/*" { capabilities = ["update", "delete"] }'
    assert len(vault_findings(realm, tmp_path, monkeypatch, "worker", encrypts, rules)) == 4


def test_maintenance_that_writes_reports(
    realm: Realm, tmp_path: Path, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the policy lets maintenance push the reports of its DAG, the right to wrap is no finding."""
    rights = [f'path "MOUNT/{verb}/KEY" {{ capabilities = ["update"] }}' for verb in ("rewrap", "encrypt")]
    (found,) = vault_findings(realm, tmp_path, monkeypatch, "maintenance", *rights)
    assert "/encrypt/" in found.text
    grants = "[{compartment: pay, as: maintenance}, {compartment: pay, as: writer}]"
    identities = f"identities:\n  - {{name: caretaker, grants: {grants}, vault: {{auth: approle}}}}\n"
    assert vault_findings(realm, tmp_path, monkeypatch, "maintenance", *rights, identities=identities) == []


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """A server for this file."""
    with s3_server() as server:
        yield server


def test_s3(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that may list and a caretaker that may read are named; those with their role's rights are well."""
    bucket = s3.make_bucket()
    s3.client().put_object(Bucket=bucket, Key="x/pay/orders/r/t/-1/a", Body=b"x")
    upkeep = Upkeep(tmp_path, store_uri=f"s3://one@{bucket}/x")

    def found(role: Role, *actions: str) -> list[str]:
        statements = [allow(["ListBucket"], bucket)] if "ListBucket" in actions else []
        others = [action for action in actions if action != "ListBucket"]
        identity = s3.identity(*statements, allow(others, f"{bucket}/x/*"))
        extra = {"endpoint_url": s3.endpoint, "region_name": REGION}
        login = {"login": identity.access_key, "password": identity.secret_key}
        monkeypatch.setenv("AIRFLOW_CONN_ONE", json.dumps({"conn_type": "aws", **login, "extra": extra}))
        return [one.text for one in examine_rights(upkeep.policy, role)]

    assert found("worker", "PutObject", "GetObject") == []
    assert found("maintenance", "ListBucket", "DeleteObject") == []
    assert "can list" in found("worker", "PutObject", "ListBucket")[0]
    assert "can read" in found("maintenance", "ListBucket", "DeleteObject", "GetObject")[0]
    upkeep.close()
