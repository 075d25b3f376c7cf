"""Rewrap on a real Vault, on a KMS, and from the one to the other."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.connections.vault.client import forget_clients
from secure_xcom.core.pipeline.push_and_pull import Push
from secure_xcom.core.service_errors import KeyServiceDenied, KeyServiceSealed
from secure_xcom.keys import key_service
from secure_xcom.ops.jobs.rewrap_plan import Plan
from secure_xcom.ops.xcom_table import PAGE_ROWS
from tests.support.servers import aws_connections
from tests.support.servers.kms_server import kms_endpoint
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_own import own_server
from tests.support.servers.vault_realm import Realm, connect, flavours, new_realm
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate, own_task


@pytest.fixture(scope="module")
def kms() -> Iterator[str]:
    """A KMS for this file."""
    with kms_endpoint() as endpoint:
        yield endpoint


def new_kms_key(endpoint: str) -> str:
    """The alias of a new key."""
    import boto3

    kms = boto3.client(
        "kms",
        endpoint_url=endpoint,
        region_name=aws_connections.REGION,
        aws_access_key_id=aws_connections.ACCESS_KEY,
        aws_secret_access_key=aws_connections.SECRET_KEY,
    )
    name = f"alias/xcom-{uuid.uuid4().hex[:12]}"
    kms.create_alias(AliasName=name, TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    return name


def test_a_thousand_wraps_by_an_identity_that_can_open_none(
    realm: Realm, tmp_path: Path, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transit's own rewrap brings 1,000 references to the new version; then the old version can be forbidden.

    The identity of the job holds `rewrap` alone, and may neither wrap nor unwrap.
    """
    upkeep = Upkeep(tmp_path)
    key = realm.new_key()
    worker = realm.worker(monkeypatch, key)
    upkeep.write_policy(keys=worker.uri)
    pushes = [Push(coordinate(map_index=n), n) for n in range(1000)]
    upkeep.table.put_many(
        zip(
            [push.coordinate for push in pushes],
            upkeep.pipeline().push(pushes, producer=own_task(pushes[0].coordinate)),
            strict=True,
        )
    )
    realm.rotate(key)
    token = realm.may(f'path "{realm.transit}/rewrap/{key}" {{ capabilities = ["update"] }}')
    name = f"AIRFLOW_CONN_{worker.conn_id.upper()}"
    connection = json.loads(os.environ[name])
    monkeypatch.setenv(name, json.dumps({**connection, "password": token}))
    forget_clients()
    with pytest.raises(KeyServiceDenied):
        upkeep.pull(pushes[0].coordinate)
    report = upkeep.rewrap()
    assert (report.rewrapped, report.failed, report.oldest) == (1000, 0, {worker.uri: 2})
    assert upkeep.rewrap().due == 0
    told = "\n".join(report.lines())
    assert f"vault write {realm.transit}/keys/{key}/config min_decryption_version=2" in told
    realm.server.do("POST", f"{realm.transit}/keys/{key}/config", {"min_decryption_version": 2})
    monkeypatch.setenv(name, json.dumps(connection))
    forget_clients()
    assert [upkeep.pull(pushes[n].coordinate) for n in (0, 500, 999)] == [0, 500, 999]
    upkeep.close()


def test_from_vault_to_kms_and_between_kms_keys(
    realm: Realm, kms: str, tmp_path: Path, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References move from Vault to KMS, and from one KMS key to another by KMS's own ReEncrypt; all open."""
    aws_connections.clean_environment(monkeypatch, tmp_path)
    upkeep = Upkeep(tmp_path / "one")
    vault = realm.worker(monkeypatch, realm.new_key()).uri
    upkeep.write_policy(keys=vault)
    ats = [upkeep.push(n, coordinate(map_index=n)) for n in range(5)]
    conn_id = aws_connections.connect(monkeypatch, kms)
    first, second = (f"aws-kms://{conn_id}/{new_kms_key(kms)}" for _ in range(2))
    upkeep.write_policy(keys=f"'{vault}?wrap=never', '{first}'")
    assert upkeep.rewrap(Plan(add=first)).rewrapped == 5
    assert upkeep.rewrap(Plan(remove=vault)).rewrapped == 5
    upkeep.write_policy(keys=first)
    assert [upkeep.pull(at) for at in ats] == list(range(5))

    class NeverUnwraps:
        def __init__(self, uri: str) -> None:
            self.inner = key_service(uri)
            self.uri = uri

        def __getattr__(self, name: str) -> Any:
            assert name not in ("wrap", "unwrap_many"), "a data key came out of KMS"
            return getattr(self.inner, name)

    upkeep.write_policy(keys=f"'{first}?wrap=never', '{second}'")
    assert upkeep.rewrap(Plan(add=second)).rewrapped == 5
    assert upkeep.rewrap(Plan(remove=first)).rewrapped == 5
    upkeep.write_policy(keys=second)
    assert [upkeep.pull(at) for at in ats] == list(range(5))
    assert upkeep.rewrap(services=NeverUnwraps).rewrapped == 5
    assert [upkeep.pull(at) for at in ats] == list(range(5))
    upkeep.close()


def test_a_vault_that_is_sealed_in_the_middle(
    tmp_path: Path, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealed after the first page, Vault ends the job with its own error; unsealed, the next run does the rest."""
    flavour = flavours()[0]
    (tmp_path / "vault").mkdir()
    with (
        own_server(binary_of(flavour), tmp_path / "vault", flavour) as (server, _, _, _),
        new_realm(server) as realm,
    ):
        upkeep = Upkeep(tmp_path / "one")
        key = realm.new_key()
        worker = realm.worker(monkeypatch, key)
        upkeep.write_policy(keys=worker.uri)
        pushes = [Push(coordinate(map_index=n), n) for n in range(PAGE_ROWS + 50)]
        pushed = upkeep.pipeline().push(pushes, producer=own_task(pushes[0].coordinate))
        upkeep.table.put_many(zip([push.coordinate for push in pushes], pushed, strict=True))
        realm.rotate(key)

        def progress(_doing: str, done: int, _of: int | None) -> None:
            if done == PAGE_ROWS:
                server.do("POST", "sys/seal")

        with pytest.raises(KeyServiceSealed):
            upkeep.rewrap(progress=progress)
        server.unseal()
        report = upkeep.rewrap()
        assert (report.rewrapped, report.failed, report.oldest) == (50, 0, {worker.uri: 2})
        assert upkeep.pull(pushes[-1].coordinate) == PAGE_ROWS + 49
        upkeep.close()


def test_a_vault_that_takes_the_token_no_more_ends_it(
    realm: Realm, tmp_path: Path, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a login that was revoked in the middle the job ends with an error, and goes on with a new one."""
    upkeep = Upkeep(tmp_path)
    key = realm.new_key()
    worker = realm.worker(monkeypatch, key)
    upkeep.write_policy(keys=worker.uri)
    at = upkeep.push("x")
    realm.rotate(key)
    name = f"AIRFLOW_CONN_{worker.conn_id.upper()}"
    before = os.environ[name]
    dead = connect(monkeypatch, realm.server, password="s.revoked")
    monkeypatch.setenv(name, os.environ[f"AIRFLOW_CONN_{dead.upper()}"])
    forget_clients()
    with pytest.raises(KeyServiceDenied):
        upkeep.rewrap()
    monkeypatch.setenv(name, before)
    forget_clients()
    assert upkeep.rewrap().rewrapped == 1
    assert upkeep.pull(at) == "x"
    upkeep.close()
