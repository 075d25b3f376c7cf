"""`secure-xcom open` on a real Vault and OpenBao, with the policies that `policy compile` writes.

Payloads lie in Vault's KV store as well, so that both walls are Vault's here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from secure_xcom.cli import app
from secure_xcom.connections.vault.client import forget_clients
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.pipeline.push_and_pull import Push
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from tests.support.servers.vault_realm import Realm, connect
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate

pytestmark = pytest.mark.usefixtures("fresh")
POLICY = """\
version: 1
compartments:
  - name: finance
    dags: [fin_daily]
    key_uris: ["KEY/fin"]
    store_uri: STORE
  - name: sales
    dags: [sales_a]
    key_uris: ["KEY/sal"]
    store_uri: STORE
identities:
  - {name: finance-worker, workers_of: [finance], vault: {auth: other}}
  - {name: sales-worker, workers_of: [sales], vault: {auth: other}}
  - {name: pusher, grants: [{compartment: finance, as: writer}], vault: {auth: other}}
  - {name: caretaker, grants: [{compartment: finance, as: maintenance}], vault: {auth: other}}
  - {name: on-call, grants: [{compartment: finance, as: operator}], vault: {auth: other}}
"""
VALUE = {"iban": "canary", "amount": 7}


@dataclass
class Site:
    """A deployment on one Vault, with a value of finance, and the tokens of its identities."""

    upkeep: Upkeep
    conn_id: str
    tokens: dict[str, str]
    at: Coordinate

    def open(self, monkeypatch: pytest.MonkeyPatch, identity: str) -> Result:
        """The command, with the token of an identity as the connection's password."""
        name = f"AIRFLOW_CONN_{self.conn_id.upper()}"
        connection = {**json.loads(os.environ[name]), "password": self.tokens[identity]}
        monkeypatch.setenv(name, json.dumps(connection))
        forget_clients()
        config = self.upkeep.folder / "airflow.cfg"
        words = ("open", str(self.at), "--reason", "incident 12", "--show", "--json", "--config", str(config))
        return CliRunner().invoke(app, list(words))

    def last_event(self) -> dict[str, Any]:
        """The newest opening in the access log."""
        lines = (self.upkeep.folder / "log.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return dict([event for event in found if event["action"] == "open"][-1])


@pytest.fixture
def site(realm: Realm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """What finance's worker pushed, sealed and wrapped by its own rights."""
    conn_id = connect(monkeypatch, realm.server, password="none yet")
    upkeep = Upkeep(tmp_path / "one")
    keys = {"fin": realm.new_key(), "sal": realm.new_key()}
    text = POLICY.replace("STORE", realm.store_uri(conn_id))
    for short, name in keys.items():
        text = text.replace(f"KEY/{short}", realm.uri(conn_id, name))
    upkeep.policy_file.write_text(text)
    upkeep.policy = AccessPolicy.load(str(upkeep.policy_file))
    files = compile_policy(upkeep.policy).files
    tokens = {
        identity.name: realm.may(files[f"vault/policies/secure-xcom-{identity.name}.hcl"])
        for identity in upkeep.policy.identities
    }
    (upkeep.folder / "airflow.cfg").write_text(
        f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\naudit_sinks = file://{upkeep.folder}/log.jsonl\n"
    )
    monkeypatch.setenv("SECURE_XCOM_DB", upkeep.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    at = coordinate(dag_id="fin_daily")
    made = Site(upkeep, conn_id, {**tokens, "a stranger": "s.unknown"}, at)
    name = f"AIRFLOW_CONN_{conn_id.upper()}"
    monkeypatch.setenv(name, json.dumps({**json.loads(os.environ[name]), "password": tokens["finance-worker"]}))
    forget_clients()
    producer = TaskTry(at.dag_id, at.run_id, at.task_id, -1, 1)
    upkeep.table.put(at, upkeep.pipeline().push([Push(at, VALUE)], producer=producer)[0])
    yield made
    upkeep.close()


def test_an_operator_with_rights_of_their_own_opens(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled policy of `as: operator` is enough to open, and the log has who, why and by which key."""
    done = site.open(monkeypatch, "on-call")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["value"] == VALUE
    event = site.last_event()
    assert (event["outcome"], event["reason"]) == ("ok", "incident 12")
    assert event["opened_by"].startswith(f"vault://{site.conn_id}/")


@pytest.mark.parametrize("identity", ["sales-worker", "pusher", "caretaker", "a stranger"])
def test_others_are_refused_by_vault(site: Site, monkeypatch: pytest.MonkeyPatch, identity: str) -> None:
    """Another compartment's worker, a pusher, maintenance and a stranger get a named error and an event."""
    done = site.open(monkeypatch, identity)
    assert done.exit_code == 2, done.output
    assert json.loads(done.stdout)["error"] in ("KeyServiceDenied", "KeyServiceLoginRefused")
    assert "canary" not in done.output
    event = site.last_event()
    assert (event["outcome"], "opened_by" in event) == ("refused", False)
