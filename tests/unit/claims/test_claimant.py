"""Who claims: how it is printed, and what makes two the same."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from secure_xcom.claims.claimant import Claimant, Target
from tests.support.world import coordinate


@pytest.mark.parametrize(
    ("map_index", "iteration", "text"),
    [
        (-1, None, "readers/run/load"),
        (0, None, "readers/run/load[0]"),
        (12, None, "readers/run/load[12]"),
        (-1, 0, "readers/run/load iteration 0"),
        (3, 7, "readers/run/load[3] iteration 7"),
    ],
)
def test_a_claimant_is_printed_in_one_line(map_index: int, iteration: int | None, text: str) -> None:
    """Its index and its iteration are printed where it has one."""
    assert str(Claimant("readers", "run", "load", map_index, 1, None, iteration)) == text


def test_what_would_break_a_line_is_escaped() -> None:
    """A log line stays one line, whatever stands in an id."""
    assert str(Claimant("readers", "run\nALARM", "lö", -1)) == r"readers/run\nALARM/l\xf6"


def test_clearings_and_attempts_are_the_same_claimant() -> None:
    """Retries and re-runs are the task instance that they were, as a key of a set too; an iteration is another."""
    first = Claimant("readers", "run", "load", -1, 1, "an attempt")
    later = Claimant("readers", "run", "load", -1, 5, "another")
    assert first == later
    assert len({first, later}) == 1
    assert first != Claimant("readers", "run", "load", -1, 1, "an attempt", 0)
    assert first != Claimant("readers", "run", "load", 0, 1, "an attempt")


def test_neither_can_be_changed() -> None:
    """What was checked against a claim is what is claimed."""
    who = Claimant("readers", "run", "load", -1)
    what = Target("finance", coordinate(), "memory://a", "memory://a/b")
    with pytest.raises(FrozenInstanceError):
        who.task_id = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        what.compartment = "sandbox"  # type: ignore[misc]
