"""``secure-xcom claims``: the table of claims, and shredding on Airflow's own rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.claims.claimant import Claimant
from secure_xcom.claims.exclusive import exclusive
from secure_xcom.cli.commands import app
from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry
from secure_xcom.core.errors import ReferenceShredded
from secure_xcom.core.pipeline.push_and_pull import Row
from tests.support.claim_contract import a_day_later
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate


@pytest.fixture
def upkeep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upkeep]:
    """A deployment whose database knows the states of tasks."""
    made = Upkeep(tmp_path / "deployment")
    monkeypatch.setenv("SECURE_XCOM_DB", made.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    yield made
    made.close()


def run(upkeep: Upkeep, *words: str, more: str = "") -> Any:
    """The command, with the deployment's settings."""
    config = upkeep.folder / "airflow.cfg"
    sinks = f"audit_sinks = file://{upkeep.folder}/log.jsonl\n"
    config.write_text(f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\n{sinks}{more}")
    return CliRunner().invoke(app, ["claims", *words, "--config", str(config)])


def read(upkeep: Upkeep, at: Coordinate, task_id: str, state: str | None) -> Any:
    """A pull by a task that then comes to this state."""
    task = TaskTry(at.dag_id, at.run_id, task_id, -1, 1)
    claimant = Claimant(at.dag_id, at.run_id, task_id, -1)
    asked = Asked(at.dag_id, at.task_id, at.key, at.run_id, at.map_index)
    values = upkeep.pipeline().pull([Row(upkeep.table.value(at), asked)], consumer=task, claimant=claimant)
    if state:
        upkeep.table.set_state(replace(at, task_id=task_id), state)
    return values[0]


def test_shredding_what_has_been_read(upkeep: Upkeep) -> None:
    """Dry by default, with exit code 1; with --apply what a successful task read is gone, and the rest stays."""
    done, failed, unread = (upkeep.push(exclusive("opensesame"), replace(coordinate(), key=key)) for key in "abc")
    read(upkeep, done, "reader", "success")
    read(upkeep, failed, "other", "failed")
    dry = run(upkeep, "shred")
    assert dry.exit_code == 1
    assert "run it with --apply" in dry.stdout
    assert len(upkeep.objects()) == 5
    deleted = run(upkeep, "shred", "--apply", "--json")
    report = json.loads(deleted.stdout)
    assert (deleted.exit_code, report["due"], report["done"], report["left"]) == (0, 1, 1, 0)
    assert len(upkeep.objects()) == 4
    events = [json.loads(line) for line in (upkeep.folder / "log.jsonl").read_text().splitlines()]
    assert [(event["action"], event.get("operator") is not None) for event in events] == [
        ("purge", True),
        ("chain_end", False),
    ]
    assert events[0]["producer"]["key"] == "a"
    with pytest.raises(ReferenceShredded):
        read(upkeep, done, "reader", None)
    assert read(upkeep, failed, "other", None) == read(upkeep, unread, "third", None) == "opensesame"
    again = run(upkeep, "shred", "--apply")
    assert (again.exit_code, "0 exclusive XComs" in again.stdout) == (0, True)
    with a_day_later():
        assert run(upkeep, "shred", "--apply").exit_code == 0
    # The third reader has made a claim meanwhile, and that of the shredded XCom is gone.
    assert len(upkeep.objects()) == 4


def test_claims_on_what_is_gone_go_too(upkeep: Upkeep) -> None:
    """Of an XCom that was cleared before its reader succeeded a claim is left: counted, then removed."""
    at = upkeep.push(exclusive("opensesame"))
    read(upkeep, at, "reader", "failed")
    payload = next(path for path in upkeep.objects() if "~claims" not in path)
    upkeep.store().delete_many([payload])
    upkeep.table.delete(at)
    assert run(upkeep, "shred", "--apply").exit_code == 0
    with a_day_later():
        dry = run(upkeep, "shred")
        assert (dry.exit_code, "1 claims are over a day old" in dry.stdout) == (1, True)
        deleted = run(upkeep, "shred", "--apply", "--json")
    assert (deleted.exit_code, json.loads(deleted.stdout)["outlived"], upkeep.objects()) == (0, 1, [])


def test_without_the_access_log_nothing_is_shredded(upkeep: Upkeep) -> None:
    """Where the access log takes nothing, keys and payloads stay."""
    at = upkeep.push(exclusive("opensesame"))
    read(upkeep, at, "reader", "success")
    (upkeep.folder / "log.jsonl").mkdir()
    assert run(upkeep, "shred", "--apply").exit_code == 2
    assert (len(upkeep.objects()), upkeep.table.value(at)["keys"] != []) == (2, True)


def test_what_is_held_stays(upkeep: Upkeep) -> None:
    """A legal hold keeps what was read by a task that has succeeded."""
    at = upkeep.push(exclusive("opensesame"))
    read(upkeep, at, "reader", "success")
    upkeep.write_policy(more="legal_holds: [{name: case}]\n")
    assert run(upkeep, "shred", "--apply").exit_code == 0
    assert len(upkeep.objects()) == 2


def test_the_table_is_made_once(upkeep: Upkeep) -> None:
    """The command makes the table and says so; again there is nothing to do; without the setting it says why."""
    more = f"claims_uri = db+sqlite:///{upkeep.folder}/claims.db\n"
    first, second = run(upkeep, "migrate", more=more), run(upkeep, "migrate", "--json", more=more)
    assert (first.exit_code, "migrated to 0001" in first.stdout) == (0, True)
    assert json.loads(second.stdout)["before"] == json.loads(second.stdout)["after"] == "0001"
    refused = run(upkeep, "migrate")
    assert refused.exit_code == 2
    assert "claims_uri" in refused.output


def test_a_database_that_cannot_be_reached_is_named_without_its_password(upkeep: Upkeep) -> None:
    """The command ends with 2, and no password is printed."""
    more = "claims_uri = db+sqlite:////nowhere/at/all/geheim.db?timeout=1\n"
    refused = run(upkeep, "migrate", more=more)
    assert refused.exit_code == 2
    assert "claims_uri" in refused.output
