"""A whole Airflow on S3 with Vault in one compartment, and on S3 with KMS in the other, with an identity each."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError

from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.service_policies.vault_grants import transit_grant
from tests.support.audit_reading import read_chains
from tests.support.audit_table import AuditTable
from tests.support.servers.aws_connections import ACCESS_KEY, REGION, SECRET_KEY
from tests.support.servers.kms_server import kms_endpoint
from tests.support.servers.postgres_server import postgres_server
from tests.support.servers.s3_server import Identity, S3Server, allow, s3_server
from tests.support.servers.vault_auth import Auth
from tests.support.servers.vault_found import found_server
from tests.support.servers.vault_realm import new_realm, own_flavours

DAGS = Path(__file__).parent / "dags_buckets"
FLAVOUR = own_flavours()[0]


@dataclass
class House:
    """What both runs left behind."""

    airflow: LocalAirflow
    server: S3Server
    bucket: str
    identities: dict[str, Identity]
    canary: str
    states: dict[str, str]
    rows: list[bytes]

    def events(self, action: str, dag_id: str) -> list[dict[str, Any]]:
        """The access log's events of a kind about a DAG's XComs."""
        lines = (self.airflow.database.parent / "access-log.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        return [event for event in events if event["action"] == action and event["producer"]["dag_id"] == dag_id]

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Every object below a prefix, as the bucket's owner reads it."""
        client = self.server.client()
        keys = [item["Key"] for item in client.list_objects_v2(Bucket=self.bucket, Prefix=prefix)["Contents"]]
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An access policy of two compartments, Airflow's connections for each, and one run of each DAG."""
    folder = tmp_path_factory.mktemp("buckets")
    with ExitStack() as stack:
        vault = stack.enter_context(found_server(FLAVOUR, folder))
        realm = stack.enter_context(new_realm(vault))
        server = stack.enter_context(s3_server())
        kms = stack.enter_context(kms_endpoint())
        bucket = server.make_bucket()
        identities = {
            name: server.identity(
                allow(["GetObject", "PutObject", "DeleteObject"], f"{bucket}/xcom/{name}/*"),
            )
            for name in ("with-vault", "with-kms")
        }
        key = realm.new_key()
        role = Auth(realm).approle(
            realm.policy(transit_grant("writer", realm.transit, key) + transit_grant("reader", realm.transit, key))
        )
        key_id = boto3.client(
            "kms",
            endpoint_url=kms,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        ).create_key()["KeyMetadata"]["Arn"]
        home = folder / "airflow"
        home.mkdir()
        policy = home / "access_policy.yaml"
        policy.write_text(
            yaml.safe_dump(
                {
                    "version": 1,
                    "compartments": [
                        {
                            "name": "with-vault",
                            "dags": ["on_vault"],
                            "key_uris": [realm.uri("vault_xcom", key)],
                            "store_uri": f"s3://s3_vault@{bucket}/xcom",
                        },
                        {
                            "name": "with-kms",
                            "dags": ["on_kms"],
                            "key_uris": [f"aws-kms://kms_xcom/{key_id}"],
                            "store_uri": f"s3://s3_kms@{bucket}/xcom",
                        },
                    ],
                }
            )
        )
        canary = f"canary-{secrets.token_hex(12)}"
        postgres = stack.enter_context(postgres_server())
        table = AuditTable(postgres)
        auditor = server.identity(allow(["PutObject"], f"{bucket}/audit/*"))
        connections = {
            "s3_audit": _aws(server.endpoint, auditor),
            "db_audit": {
                "conn_type": "postgres",
                "host": table.worker.host,
                "port": table.worker.port,
                "login": table.worker.username,
                "password": table.worker.password,
                "schema": table.worker.database,
            },
            "s3_vault": _aws(server.endpoint, identities["with-vault"]),
            "s3_kms": _aws(server.endpoint, identities["with-kms"]),
            "kms_xcom": _aws(kms, Identity(ACCESS_KEY, SECRET_KEY)),
            "vault_xcom": role.connection(vault),
        }
        airflow = stack.enter_context(
            LocalAirflow(
                home,
                {
                    "core.xcom_backend": "secure_xcom.SecureXComBackend",
                    "secure_xcom.access_policy": str(policy),
                    "secure_xcom.audit_sinks": (
                        f"file://{home}/access-log.jsonl, s3://s3_audit@{bucket}/audit, db://db_audit, "
                        "log://secure_xcom.access?optional=true"
                    ),
                    "scheduler.scheduler_idle_sleep_time": "0.2",
                    "core.parallelism": "3",
                },
                DAGS,
                environment={
                    "SECURE_XCOM_E2E_CANARY": canary,
                    "AWS_EC2_METADATA_DISABLED": "true",
                    **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()},
                },
            )
        )
        airflow.migrate()
        airflow.start()
        runs = {dag: airflow.trigger(dag) for dag in ("on_vault", "on_kms")}
        states = {dag: airflow.wait(dag, run, timeout=240) for dag, run in runs.items()}
        # Stopped, so that no file comes or goes while every byte is searched.
        airflow.stop()
        yield House(airflow, server, bucket, identities, canary, states, table.lines())


def _aws(endpoint: str, identity: Identity) -> dict[str, Any]:
    return {
        "conn_type": "aws",
        "login": identity.access_key,
        "password": identity.secret_key,
        "extra": {"endpoint_url": endpoint, "region_name": REGION},
    }


WAYS = [("on_vault", "with-vault", "vault://vault_xcom/"), ("on_kms", "with-kms", "aws-kms://kms_xcom/")]


@pytest.mark.parametrize(("dag", "compartment", "key"), WAYS)
def test_the_run_succeeds(house: House, dag: str, compartment: str, key: str) -> None:
    """Every task got what was pushed; the access log names the compartment and the key that opened it."""
    assert house.states[dag] == "success"
    pulls = house.events("pull", dag)
    assert len(pulls) >= 6
    assert {event["outcome"] for event in pulls} == {"ok"}
    assert {event["compartment"] for event in pulls} == {compartment}
    assert all(event["opened_by"].startswith(key) for event in pulls)


def test_every_sink_has_every_event(house: House) -> None:
    """File, bucket and database hold the same chains, all of them closed; the task logs have the lines as well."""
    path = house.airflow.database.parent / "access-log.jsonl"
    chains = read_chains(path.read_bytes())
    assert {events[-1]["action"] for events in chains.values()} == {"chain_end"}
    objects = house.objects("audit/")
    assert read_chains(b"".join(objects[name] for name in sorted(objects))) == chains
    assert read_chains(b"".join(line + b"\n" for line in house.rows)) == chains
    # A task that only pushes its return value is one object; nothing was left over to be put again.
    first = next(events for events in chains.values() if len(events) == 2 and events[0]["action"] == "push")
    assert [name for name in objects if first[0]["chain"] in name] == [
        f"audit/events/{first[0]['time'][:10]}/{first[0]['chain']}/000000000.jsonl"
    ]
    logs = b"".join(found.read_bytes() for found in house.airflow.database.parent.rglob("attempt=*.log"))
    missing = [event["id"] for events in chains.values() for event in events if event["id"].encode() not in logs]
    assert not [one for one in missing if one not in {events[-1]["id"] for events in chains.values()}]


@pytest.mark.parametrize(("dag", "compartment", "key"), WAYS)
def test_the_bucket_holds_ciphertext(house: House, dag: str, compartment: str, key: str) -> None:
    """One object per XCom, below the compartment's and the DAG's prefix, in which nothing can be read."""
    found = house.objects(f"xcom/{compartment}/{dag}/")
    # A dict that is annotated as one is pushed by its keys as well, which makes two more.
    assert len(found) == len(house.events("push", dag)) == 9
    assert not any(house.canary.encode() in payload for payload in found.values())


def test_nothing_lies_in_the_database_or_the_logs(house: House) -> None:
    """The canary is in no row and in no log of any component."""
    for path in house.airflow.database.parent.rglob("*"):
        if path.is_file():
            assert house.canary.encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize(("mine", "other"), [("with-vault", "with-kms"), ("with-kms", "with-vault")])
def test_the_bucket_keeps_identities_apart(house: House, mine: str, other: str) -> None:
    """The server refuses each compartment's own keys the other's objects, whatever our code would do."""
    client = house.server.client(house.identities[mine])
    key = next(iter(house.objects(f"xcom/{other}/")))
    for ask in (client.get_object, client.delete_object):
        with pytest.raises(ClientError, match="AccessDenied"):
            ask(Bucket=house.bucket, Key=key)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_object(Bucket=house.bucket, Key=f"xcom/{other}/forged", Body=b"x")
