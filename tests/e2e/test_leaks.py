"""The leak hunt: after real runs every byte of a deployment is searched for what its tasks pushed.

`tests/unit/support/test_hunt.py` shows that the search finds what is planted; the same hunt against Airflow's two
own backends, here, shows that it finds what is leaked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.e2e.deployment import OBJECTS, OURS, STOCK
from tests.e2e.hunt import CUT
from tests.e2e.live import Lived
from tests.e2e.unstoppable_paths import EVERY_PATH, OUTPUT, RENDERED, TASK_LOG, UNSTOPPABLE, XCOM

pytestmark = pytest.mark.xdist_group("e2e-live")

# Rows that were replaced or deleted, and what is pulled within code and goes nowhere else: the bytes may be gone
# when the hunt begins, whatever the backend.
PASSING = {"push of a failed try", "push of try 1", "push of try 3", "push of try 2"}
# Of the deployment with Airflow's object storage: what its own serialization does not take.
ONLY_OURS_HAS = ("push with ", "a pull that fails")


def places(lived: Lived) -> dict[str, set[str]]:
    """Where each canary was found, but for the raw file of the database, whose columns are named instead."""
    return {path: found - {"database file"} or found for path, found in lived.hunt.places().items()}


def test_no_decided_path_leaks(lived: Callable[[str], Lived]) -> None:
    """With our backend no canary is found in any form, but for those that no backend can stop."""
    ours = lived(OURS)
    leaked = {path: found for path, found in places(ours).items() if path not in (*UNSTOPPABLE, CUT)}
    assert leaked == {}, [find for find in ours.hunt.finds if find.path in leaked]
    assert len(ours.notes.canaries | ours.notes.numbers) - len(UNSTOPPABLE) > 80
    assert ours.hunt.searched_bytes > 2_000_000


@pytest.mark.parametrize("path", UNSTOPPABLE)
def test_a_path_that_no_backend_stops_is_known(path: str, lived: Callable[[str], Lived]) -> None:
    """It leaves its value where the threat model says, and nowhere else."""
    assert places(lived(OURS)).get(path) == UNSTOPPABLE[path]


def test_what_was_cut_is_what_a_task_cut_itself(lived: Callable[[str], Lived]) -> None:
    """The beginnings of canaries that lie somewhere are those of the one that a task printed in two parts."""
    assert places(lived(OURS)).get(CUT) == UNSTOPPABLE["changed before it is printed"]


@pytest.mark.parametrize("backend", [STOCK, pytest.param(OBJECTS, marks=pytest.mark.long)])
def test_the_hunt_finds_what_airflows_backends_leave(backend: str, lived: Callable[[str], Lived]) -> None:
    """The same hunt, after the same runs, finds every path's canary with either of Airflow's own backends."""
    theirs = lived(backend)
    hunted = theirs.notes.canaries | theirs.notes.numbers
    assert {path for path in lived(OURS).notes.canaries if not path.startswith(ONLY_OURS_HAS)} <= hunted
    # What this Airflow does not leave anywhere, unlike others, whatever the backend.
    not_left = set(EVERY_PATH) - set(UNSTOPPABLE)
    assert hunted - set(theirs.hunt.places()) - PASSING - not_left == set()
    kept = {path for path, found in places(theirs).items() if XCOM in found or "folder store" in found}
    assert len(kept) > 60


@pytest.mark.parametrize(
    "backends",
    [(OURS, STOCK), pytest.param((OURS, STOCK, OBJECTS), marks=pytest.mark.long)],
    ids=["with stock", "with both"],
)
def test_the_table_is_shown(
    backends: Sequence[str], lived: Callable[[str], Lived], record_property: Callable[..., None]
) -> None:
    """Path by path, where each of the backends left the canary; printed at the end of the run."""
    found = {backend: places(lived(backend)) for backend in backends}
    paths = sorted({path for lives in map(lived, backends) for path in lives.notes.canaries | lives.notes.numbers})
    lines = [
        f"{path:44.44} | " + " | ".join(short(found[backend].get(path, set())) for backend in backends)
        for path in paths
    ]
    heading = f"{'path':44} | " + " | ".join(f"{backend:24.24}" for backend in backends)
    seconds = ", ".join(f"{backend} {lived(backend).seconds:.0f} s" for backend in backends)
    record_property("leaks", "\n".join([heading, *lines, SHORT_TEXT, f"Runs: {seconds}."]))
    assert len(lines) > 90


SHORT = {
    TASK_LOG: "log",
    OUTPUT: "out",
    RENDERED: "rtif",
    XCOM: "xcom",
    "folder store": "store",
    "database file": "db file",
}
SHORT_TEXT = (
    "log: task logs. out: the scheduler's output. rtif: rendered fields. xcom: the rows. store: the "
    "objects. db file: only in the raw bytes of the database's file. -: nowhere."
)


def short(found: set[str]) -> str:
    """Places in few characters."""
    names = sorted(SHORT.get(place, place.removeprefix("table ")) for place in found)
    return f"{' '.join(names) or '-':24}"
