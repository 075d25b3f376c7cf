"""Closed on failure: whatever a push or a pull needs is broken, in a real task, on a real scheduler."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from secure_xcom import errors
from tests.e2e.dags.faults import PULLS, PUSHES
from tests.e2e.deployment import OURS
from tests.e2e.live import Lived

pytestmark = pytest.mark.xdist_group("e2e-live")

FAULTS = [("push", number, name, fault.error) for number, (name, fault) in enumerate(PUSHES.items())]
FAULTS += [("pull", number, name, error) for number, (name, (_, error)) in enumerate(PULLS.items())]


@pytest.mark.parametrize(("way", "number", "name", "error"), FAULTS, ids=[f"{f[0]} with {f[2]}" for f in FAULTS])
def test_a_fault_ends_the_task_with_a_named_error(
    way: str, number: int, name: str, error: str, lived: Callable[[str], Lived]
) -> None:
    """The task fails; its log names the error and what to do; no value and no row is left."""
    ours, task_id = lived(OURS), f"{way}_{number}"
    assert ours.state("faults", task_id) == "failed"
    raised = [
        detail
        for line in ours.log("faults", task_id).splitlines()
        for detail in json.loads(line).get("error_detail", ())
    ]
    assert raised[0]["exc_type"] == error
    assert "What to do: " in raised[0]["exc_value"]
    assert issubclass(getattr(errors, error), errors.SecureXComError)
    assert [row for row in ours.rows if row[:3] == ("faults", "one", task_id)] == []
    assert f"pull with {name}" not in ours.notes.said


def test_a_fault_leaves_no_canary_behind(lived: Callable[[str], Lived]) -> None:
    """The values that were not given lie nowhere: not in the database, a log, the store or a temporary file."""
    ours = lived(OURS)
    canaries = {path for path in ours.notes.canaries if path.startswith("push with ")} | {"a pull that fails"}
    assert len(canaries) == len(PUSHES) + 1
    assert canaries & set(ours.hunt.places()) == set()
    # A push that fails takes back what it had put.
    assert [
        file for file in (ours.root / "store").rglob("*") if file.is_file() and "/faults/one/push_" in str(file)
    ] == []
