"""References and payloads that somebody tampered with, through Airflow's own rows: how a pulling task ends.

All attacks with `dag.test()`, once with payloads in the store and once with payloads in the references; some of
them, and the asynchronous pulls, with a real scheduler.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from secure_xcom import errors
from tests.e2e.cases.attacks import ATTACKS, LIVE, Attack
from tests.e2e.conftest import SEED
from tests.e2e.deployment import OURS, Deployment, Notes
from tests.e2e.live import RUN, Lived

CASES = Path(__file__).parent / "cases"
# Where the payloads lie, and the setting that puts them there.
MODES = {"objects": "0", "inline": "60000"}


class Attacked(NamedTuple):
    """What attacks and pulls left behind."""

    notes: Notes
    states: dict[str, str]
    refused: set[tuple[str, str]]
    output: str
    names: list[str]


@pytest.fixture(scope="module")
def attacked(deployments: Path, migrated: Path) -> Callable[[str], Attacked]:
    """Runs the DAG with all attacks that `dag.test()` can do, in one of the modes."""

    @cache
    def run(mode: str) -> Attacked:
        settings = {
            "secure_xcom.inline_max_bytes": MODES[mode],
            # So that the payload has its chunks and not one short compressed one.
            "secure_xcom.compression": "none",
            "secure_xcom.mask_values": "named",
        }
        folder = deployments / mode
        with Deployment(OURS, folder, SEED, dags=CASES, settings=settings, database=migrated) as deployment:
            first, second = (f"2024-01-0{day}T00:00:00+00:00" for day in (1, 2))
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "tests.e2e.in_process", str(CASES / "tampered.py")),
                    f"tampered_other@{second}",
                    f"tampered@{first}@attack|pull_.*",
                    f"tampered@{second}",
                ],
                env=deployment.airflow.environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
            assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
            states = deployment.airflow.sql(
                "SELECT task_id, state FROM task_instance WHERE dag_id = 'tampered' AND run_id LIKE ?",
                [f"%{second}"],
            )
            names = [
                name
                for name, attack in ATTACKS.items()
                if attack.in_process and (attack.inline if mode == "inline" else attack.objects)
            ]
            log = deployment.root / "audit" / "access-log.jsonl"
            return Attacked(deployment.notes(), dict(states), refusals(log, "tampered"), done.stdout, names)

    return run


def refusals(access_log: Path, dag_id: str) -> set[tuple[str, str]]:
    """The consumers' task ids and the errors of the pulls that the access log says were not let through."""
    events = [json.loads(line) for line in access_log.read_text().splitlines()]
    return {
        (event["consumer"]["task_id"], event["error"])
        for event in events
        if event["action"] in ("pull", "plaintext_seen")
        and event["outcome"] != "ok"
        and event["consumer"]["dag_id"] == dag_id
    }


def check(
    name: str, attack: Attack, notes: Notes, state: str | None, task_id: str, refused: set[tuple[str, str]]
) -> None:
    """Hold one pull against what its attack must end in."""
    assert notes.said[name] == [attack.refused_as]
    if not attack.refused_as:
        assert state == "success"
        assert name in notes.got
        return
    assert state == "failed"
    assert name not in notes.got
    assert issubclass(getattr(errors, attack.refused_as), errors.SecureXComError)
    assert "What to do: " in notes.said[f"{name}: message"][0]
    assert (task_id, attack.refused_as) in refused


@pytest.mark.xdist_group("e2e-in-process")
@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.in_process])
@pytest.mark.parametrize("mode", MODES)
def test_an_attack_is_refused(mode: str, name: str, attacked: Callable[[str], Attacked]) -> None:
    """The pull of a row that was tampered with ends with the attack's own error; what was left alone opens."""
    after = attacked(mode)
    if name not in after.names:
        assert not (ATTACKS[name].inline and ATTACKS[name].objects)
        return
    task_id = f"pull_{after.names.index(name)}"
    check(name, ATTACKS[name], after.notes, after.states.get(task_id), task_id, after.refused)


@pytest.mark.xdist_group("e2e-in-process")
def test_an_error_tells_no_value(attacked: Callable[[str], Attacked]) -> None:
    """Neither an error's text nor anything else that a task logs holds what was pushed."""
    for mode in MODES:
        assert "p" * 40 not in attacked(mode).output
        assert attacked(mode).output.count("What to do: ") > 50


@pytest.mark.xdist_group("e2e-live")
@pytest.mark.parametrize("name", LIVE)
def test_an_attack_is_refused_on_a_real_scheduler(name: str, lived: Callable[[str], Lived]) -> None:
    """The same with a real scheduler, whose task's log names the error; asynchronous pulls as well."""
    ours, task_id = lived(OURS), f"pull_{list(LIVE).index(name)}"
    refused = refusals(ours.root / "audit" / "access-log.jsonl", "tampered_live")
    check(name, LIVE[name], ours.notes, ours.state("tampered_live", task_id), task_id, refused)
    if LIVE[name].refused_as:
        assert f'"exc_type":"{LIVE[name].refused_as}"' in ours.log("tampered_live", task_id, RUN)
