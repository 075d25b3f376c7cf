"""Our access log held against the audit log of a real Vault, and sealed with a key of its transit engine."""

from __future__ import annotations

import base64
import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import hvac
import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.vault.client import forget_clients
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.pipeline.open_payload import key_uses
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.core.reference import parse
from secure_xcom.keys import key_service
from secure_xcom.keys.vault_context import transit_context
from secure_xcom.ops.jobs.break_glass import break_glass
from secure_xcom.ops.jobs.migrate_rows import seal_existing, unseal_all
from secure_xcom.ops.jobs.opener import Opener
from secure_xcom.ops.jobs.stock_objects import NoObjects
from secure_xcom.ops.service_policies.vault_grants import transit_grant
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.sinks.recording import Draft, recording
from tests.support import second_log_reader as second
from tests.support.servers.vault_realm import Realm, connect
from tests.support.world import World, coordinate
from tests.support.xcom_table import XComTable

pytestmark = pytest.mark.usefixtures("fresh")
CONSUMER = TaskTry("orders", "manual__2026-01-01T00:00:00+00:00", "load", -1, 1)


class Deployment:
    """A compartment with a transit key of its own, processes with cold caches, a file sink, an operator."""

    def __init__(self, realm: Realm, log: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.realm = realm
        self.log = log
        self.folder = folder
        self.key = realm.new_key(exportable=True)
        grants = [transit_grant(role, realm.transit, self.key) for role in ("writer", "reader")]
        self.token = realm.may(*grants)
        self.conn_id = connect(monkeypatch, realm.server, password=self.token)
        self.key_uri = realm.uri(self.conn_id, self.key)
        self.file = folder / "access-log.jsonl"
        self.world = World()
        self.world.policy = AccessPolicy.single([self.key_uri], self.world.store.uri)
        monkeypatch.setenv("VAULT_ADDR", realm.server.address)
        monkeypatch.setenv("VAULT_TOKEN", realm.server.token)
        self.start = datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None)

    def process(self) -> tuple[Pipeline, AccessLog]:
        """A task's process: its pipeline and its access log."""
        forget_clients()
        log = AccessLog.open([self.file.as_uri()], version="test")
        made = self.world.process(key_service)
        made.access_log = log
        return made, log

    def push(self, *at: Coordinate) -> list[Any]:
        """References that one process pushed."""
        pipeline, log = self.process()
        references = pipeline.push([Push(one, {"a": 1}) for one in at])
        log.close()
        return list(json.loads(json.dumps(references)))

    def pull(self, *references: Any, times: int = 1) -> None:
        """One process pulls them all, so many times."""
        pipeline, log = self.process()
        for _ in range(times):
            pipeline.pull([Row(one) for one in references], consumer=CONSUMER)
        log.close()

    def reconcile(self, *options: str) -> tuple[int, dict[str, Any]]:
        """The command, for the time since this deployment began."""
        until = (datetime.now(timezone.utc) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%S")
        words = ["audit", "reconcile", "--vault-log", str(self.log), "--sink", self.file.as_uri(), "--json"]
        times = ["--since", self.start.strftime("%Y-%m-%dT%H:%M:%S"), "--until", until]
        config = self.folder / "airflow.cfg"
        config.write_text("")
        forget_clients()
        result = CliRunner().invoke(app, [*words, *times, "--config", str(config), *options])
        assert result.exit_code in (0, 1), result.output
        return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def deployment(audited: tuple[Realm, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Deployment:
    """A deployment of its own for each test."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW__SECURE_XCOM")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow-home"))
    return Deployment(*audited, monkeypatch, tmp_path)


def three() -> list[Coordinate]:
    """XComs of three tasks, so three encryption contexts."""
    return [coordinate(task_id=name) for name in ("one", "two", "three")]


def test_an_honest_deployment_has_no_gap(deployment: Deployment) -> None:
    """Pushes, batched pulls, cached pulls, several XComs of one task and a refused pull all fit Vault's log."""
    references = deployment.push(*three(), coordinate(task_id="one", key="second"))
    deployment.pull(*references, times=2)
    deployment.pull(references[0])
    broken = json.loads(json.dumps(references[1]))
    broken["keys"][0]["wrapped"] = references[0]["keys"][0]["wrapped"]
    with pytest.raises(SecureXComError):
        deployment.pull(broken)
    code, told = deployment.reconcile()
    assert (code, told["gaps"]) == (0, [])
    # Two XComs of the first task were pushed with one data key, so the batch unwrapped three for four events.
    assert (told["uses"], told["pairs"], told["shared"], told["cached"]) == (5, 5, 1, 4)


def test_a_scoped_deployment_has_no_gap(deployment: Deployment) -> None:
    """A worker that proves its key, once per process, asks for each wrap once, and the proof is no finding."""
    deployment.world.policy = AccessPolicy.single(
        [f"{deployment.key_uri}?grant=scoped"], deployment.world.store.uri
    )
    references = deployment.push(*three())
    for some in (references, references[:1]):
        deployment.pull(*some)
    code, told = deployment.reconcile()
    assert (code, [gap["kind"] for gap in told["gaps"]]) == (0, ["probe", "probe"])
    assert (told["uses"], told["pairs"]) == (6, 4)


def test_what_an_operator_opens_has_its_event(deployment: Deployment) -> None:
    """A break-glass read, and each value that migrate-back and migrate open, fit Vault's log like a pull."""
    ats = [coordinate(task_id="one"), coordinate(task_id="two")]
    table = XComTable(f"sqlite:///{deployment.folder}/airflow.db")
    table.put_many(zip(ats, deployment.push(*ats), strict=True))
    policy, database = deployment.world.policy, table.database()
    assert policy is not None
    _, log = deployment.process()
    opener = Opener(
        lambda value: value, services=key_service, stores=lambda _: deployment.world.store, max_bytes=1 << 20
    )
    opened = break_glass(policy, database, log, opener, ats[0], operator="me", reason="incident 12")
    assert opened.data == b'{"a":1}'
    state = deployment.folder / "state.sqlite"
    report = unseal_all(policy, database, log, opener, state, apply=True, operator="me", reason="we leave")
    assert report.converted == 2
    pipeline, log = deployment.process()
    sealed = seal_existing(policy, database, pipeline, opener, state, NoObjects(), apply=True, operator="me")
    assert sealed.converted == 2
    log.close()
    database.close()
    table.close()
    code, told = deployment.reconcile()
    assert (code, told["gaps"], told["uses"]) == (0, [], 5)


def test_a_stolen_token_is_reported(deployment: Deployment) -> None:
    """A raw decrypt with hvac and a worker's own token is a use that no event tells of; whose and from where."""
    reference = deployment.push(coordinate(task_id="one"))[0]
    deployment.pull(reference)
    assert deployment.reconcile()[0] == 0
    thief = hvac.Client(url=deployment.realm.server.address, token=deployment.token)
    head = reference["head"]
    names = ("compartment", "dag_id", "task_id", "run_id", "map_index")
    context = base64.b64encode(transit_context({name: head[name] for name in names})).decode()
    thief.secrets.transit.decrypt_data(
        deployment.key, reference["keys"][0]["wrapped"], context=context, mount_point=deployment.realm.transit
    )
    code, told = deployment.reconcile()
    (gap,) = told["gaps"]
    assert (code, gap["kind"], gap["finding"], gap["address"]) == (1, "outside", True, "127.0.0.1")
    assert "orders/manual__2026-01-01T00:00:00+00:00/one" in gap["text"]
    assert gap["place"].startswith(str(deployment.log))
    # The same in a batch of two, and one that Vault refuses.
    entry = {"ciphertext": reference["keys"][0]["wrapped"], "context": context}
    thief.secrets.transit.decrypt_data(
        deployment.key, batch_input=[entry, entry], mount_point=deployment.realm.transit
    )
    with pytest.raises(hvac.exceptions.InvalidRequest):
        thief.secrets.transit.decrypt_data(
            deployment.key, "vault:v1:AAAA" + "A" * 60, context=context, mount_point=deployment.realm.transit
        )
    code, told = deployment.reconcile()
    assert code == 1
    assert sorted(gap["kind"] for gap in told["gaps"]) == ["outside"] * 3


def test_a_refused_unwrap_in_another_context_is_an_attempt(deployment: Deployment) -> None:
    """Who tries a wrap with a context of their own is named, though Vault gave nothing."""
    reference = deployment.push(coordinate(task_id="one"))[0]
    thief = hvac.Client(url=deployment.realm.server.address, token=deployment.token)
    with pytest.raises(hvac.exceptions.InvalidRequest):
        thief.secrets.transit.decrypt_data(
            deployment.key,
            reference["keys"][0]["wrapped"],
            context=base64.b64encode(b"guess").decode(),
            mount_point=deployment.realm.transit,
        )
    code, told = deployment.reconcile()
    assert (code, [gap["kind"] for gap in told["gaps"]]) == (1, ["attempt"])


def test_a_refused_unwrap_beside_an_honest_pull_is_an_attempt(deployment: Deployment) -> None:
    """Another identity that Vault refuses the very context that a worker unwraps a moment later is told."""
    reference = deployment.push(coordinate(task_id="one"))[0]
    curious = deployment.realm.may(transit_grant("writer", deployment.realm.transit, deployment.key))
    thief = hvac.Client(url=deployment.realm.server.address, token=curious)
    names = ("compartment", "dag_id", "task_id", "run_id", "map_index")
    context = base64.b64encode(transit_context({name: reference["head"][name] for name in names})).decode()
    with pytest.raises(hvac.exceptions.Forbidden):
        thief.secrets.transit.decrypt_data(
            deployment.key, reference["keys"][0]["wrapped"], context=context, mount_point=deployment.realm.transit
        )
    deployment.pull(reference)
    code, told = deployment.reconcile()
    assert (code, [gap["kind"] for gap in told["gaps"]]) == (1, ["attempt"])
    assert "/one" in told["gaps"][0]["text"]


def test_an_exported_key_is_reported(deployment: Deployment) -> None:
    """Who has the wrapping key itself needs no unwrap any more: the export is told."""
    deployment.push(coordinate(task_id="one"))
    path = f"{deployment.realm.transit}/export/encryption-key/{deployment.key}"
    deployment.realm.server.do("GET", path)
    code, told = deployment.reconcile()
    assert (code, [gap["kind"] for gap in told["gaps"]]) == (1, ["exported"])


def test_a_forged_event_and_a_missing_record_are_reported(deployment: Deployment, tmp_path: Path) -> None:
    """An event whose unwrap Vault's log does not have is named with its file and line."""
    reference = deployment.push(coordinate(task_id="one"))[0]
    deployment.pull(reference)
    lines = [json.loads(line) for line in deployment.log.read_text().splitlines()]
    decrypts = f"/decrypt/{deployment.key}"
    kept = [line for line in lines if decrypts not in line["request"]["path"]]
    deployment.log = tmp_path / "shortened.log"
    deployment.log.write_text("".join(json.dumps(line) + "\n" for line in kept))
    code, told = deployment.reconcile()
    (gap,) = told["gaps"]
    assert (code, gap["kind"]) == (1, "no_record")
    pulled = next(
        number for number, line in enumerate(deployment.file.read_text().splitlines(), 1) if '"pull"' in line
    )
    assert gap["place"] == f"{deployment.file}:{pulled}"


class People:
    """People who log in at Vault themselves, and whose group has the policy of viewers."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        do = deployment.realm.server.do
        self.mount = f"people-{deployment.key}"
        do("POST", f"sys/auth/{self.mount}", {"type": "userpass"})
        accessor = do("GET", "sys/auth")["data"][f"{self.mount}/"]["accessor"]
        self.policy = f"secure-xcom-viewers-{deployment.key}"
        decrypt = f"{deployment.realm.transit}/decrypt/{deployment.key}"
        text = f'path "{decrypt}" {{ capabilities = ["update"] }}'
        do("PUT", f"sys/policies/acl/{self.policy}", {"policy": text})
        members = []
        for person in ("ana", "mia"):
            do("POST", f"auth/{self.mount}/users/{person}", {"password": "not-a-real-one"})
            made = do("POST", "identity/entity", {"name": f"{person}-{deployment.key}"})["data"]["id"]
            alias = {"name": person, "canonical_id": made, "mount_accessor": accessor}
            do("POST", "identity/entity-alias", alias)
            members.append(made)
        group = {"name": self.policy, "policies": [self.policy], "member_entity_ids": members}
        do("POST", "identity/group", group)
        self.access_policy = deployment.folder / "access_policy.yaml"
        self.access_policy.write_text(
            "version: 1\n"
            "compartments:\n"
            f"  - {{name: default, dags: ['*'], key_uris: ['{deployment.key_uri}'],\n"
            "     store_uri: 's3://aws_default@bucket/xcom', viewers: [{group: oncall}]}\n"
            "reveal:\n"
            "  origin: http://127.0.0.1:1\n"
            "  airflow_origin: http://127.0.0.1:2\n"
            f"  vault: {{address: '{deployment.realm.server.address}', mount: {self.mount}}}\n"
        )

    def given(self, reference: Any, person: str) -> None:
        """The service gives a person sealed bytes, and records it."""
        _, log = self.deployment.process()
        draft = Draft(operator=person, reason="4711", compartment="default")
        with recording(log, "reveal", [draft], task=None, policy="5f" * 32):
            parsed = parse(reference)
            draft.refers(parsed, key_uses(parsed))
        log.close()

    def unwrap(self, reference: Any, person: str) -> None:
        """A person unwraps with a token of their own, as the browser does."""
        deployment, names = self.deployment, ("compartment", "dag_id", "task_id", "run_id", "map_index")
        client = hvac.Client(url=deployment.realm.server.address)
        client.auth.userpass.login(person, "not-a-real-one", mount_point=self.mount)
        context = transit_context({name: reference["head"][name] for name in names})
        client.secrets.transit.decrypt_data(
            deployment.key,
            reference["keys"][0]["wrapped"],
            context=base64.b64encode(context).decode(),
            mount_point=deployment.realm.transit,
        )


def test_what_people_reveal_has_their_own_events(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer's unwrap fits a reveal of that person, and no pull; a reveal without an unwrap is a note."""
    people = People(deployment)
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__ACCESS_POLICY", str(people.access_policy))
    one, two = deployment.push(coordinate(task_id="one"), coordinate(task_id="two"))
    deployment.pull(one)
    people.given(one, "ana")
    people.unwrap(one, "ana")
    people.given(two, "mia")
    code, told = deployment.reconcile()
    assert (code, [gap["kind"] for gap in told["gaps"]]) == (0, ["not_asked"])
    assert (told["uses"], told["pairs"]) == (2, 2)
    # Past the service: once more by the same person, by another one, and beside a task's own pull.
    people.unwrap(one, "ana")
    people.unwrap(one, "mia")
    people.unwrap(two, "ana")
    deployment.pull(two)
    code, told = deployment.reconcile()
    found = [(gap["kind"], gap["who"].split()[0]) for gap in told["gaps"] if gap["finding"]]
    viewers = [f"{people.mount}-{person}" for person in ("ana", "mia", "ana")]
    assert (code, found) == (1, [("viewer", name) for name in viewers])
    assert "/two" in told["gaps"][-1]["text"]


def test_checkpoints_are_signed_by_transit(deployment: Deployment) -> None:
    """A anchored log with a transit key verifies by the second reader, and a worker's token cannot sign."""
    deployment.push(*three())
    server = deployment.realm.server
    server.do("POST", f"{deployment.realm.transit}/keys/sealing-{deployment.key}", {"type": "ed25519"})
    (deployment.folder / "sealed").mkdir()
    (deployment.folder / "airflow.cfg").write_text("")
    forget_clients()

    def run(command: str, conn_id: str = "default") -> Any:
        key = f"vault://{conn_id}/{deployment.realm.transit}/keys/sealing-{deployment.key}"
        words = ["audit", command, "--key", key, "--json", "--config", str(deployment.folder / "airflow.cfg")]
        where = ["--sink", deployment.file.as_uri(), "--log", (deployment.folder / "sealed").as_uri()]
        result = CliRunner().invoke(app, [*words, *([] if command == "key" else where)])
        return result.exit_code, json.loads(result.stdout)

    code, shown = run("key")
    assert code == 0
    code, sealed = run("anchor")
    assert (code, sealed["entries"]) == (0, 4)
    note = (deployment.folder / "sealed/checkpoint").read_bytes()
    head = second.head(note, shown["verifier"])
    found = second.entries(deployment.folder / "sealed", head.size)
    assert second.tree([second.leaf(entry) for entry in found]) == head.root
    assert run("verify")[0] == 0
    code, told = run("anchor", deployment.conn_id)
    assert (code, told["error"]) == (2, "SealedLogError")
