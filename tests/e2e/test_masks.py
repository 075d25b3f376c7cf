"""What later tasks print and render of a value is masked, in the task's log and in the database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.deployment import OURS, STOCK
from tests.e2e.live import Lived
from tests.e2e.unstoppable_paths import COPIED, TASK_LOG, XCOM

pytestmark = pytest.mark.xdist_group("e2e-live")


def printed(lived: Lived, way: str) -> set[str]:
    """The canaries that tasks of one DAG printed or rendered."""
    return {path for path in lived.notes.canaries if path.startswith(f"{way}: ")}


@pytest.mark.parametrize("way", ["named", "all"])
def test_printed_values_are_masked(way: str, lived: Callable[[str], Lived]) -> None:
    """Whatever a task does to print a secret, neither its log nor a component's output shows it."""
    ours, stock = lived(OURS), lived(STOCK)
    assert len(printed(ours, way)) == {"named": 8, "all": 11}[way]
    for path in printed(ours, way):
        assert ours.hunt.places().get(path, set()) == set()
        # The very same DAG with Airflow's own backend shows that all of them were printed.
        assert {TASK_LOG, XCOM} | COPIED <= stock.hunt.places()[path]


@pytest.mark.parametrize("way", ["named", "all"])
@pytest.mark.parametrize("task_id", ["take", "fail", "bash", "classic"])
def test_a_log_shows_a_mask_where_the_value_was(way: str, task_id: str, lived: Callable[[str], Lived]) -> None:
    """The lines are there, with the mask in the secret's place."""
    assert "***" in lived(OURS).log(f"prints_{way}", task_id)


def test_only_named_values_are_masked(lived: Callable[[str], Lived]) -> None:
    """With `mask_values = named` a value that no sensitive name stands over is printed as it is."""
    log = lived(OURS).log("prints_named", "take")
    assert "'user': 'no secret', 'password': '***'" in log
    assert "password: ***" in log


@pytest.mark.parametrize("way", ["named", "all"])
def test_rendered_fields_are_masked(way: str, lived: Callable[[str], Lived]) -> None:
    """Rendered template fields keep the mask and not the value."""
    fields = lived(OURS).rendered[f"prints_{way}"]
    assert set(fields) == {"give", "give_key", "give_outputs", "take", "fail", "give_back", "bash", "classic"}
    for task_id in ("take", "fail", "give_back", "bash", "classic"):
        assert "***" in fields[task_id]
        assert "cny" not in fields[task_id]
        assert "cny" in lived(STOCK).rendered[f"prints_{way}"][task_id]
