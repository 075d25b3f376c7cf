"""Attempts and iterations: what tells apart the producers of one coordinate, and what a reader compares."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any
from uuid import UUID

import pytest

from secure_xcom.core.attempt import Attempt
from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry, encryption_context, object_path
from secure_xcom.core.errors import AttemptMismatch, CoordinateInvalid
from tests.support.world import coordinate

ONE, OTHER = "019be2a1-0000-7000-8000-000000000001", "019be2a1-0000-7000-8000-000000000002"
REGION = "019be2a1-0000-7000-8000-0000000000f0"
ASKED = Asked("orders", "extract", "return_value", coordinate().run_id, -1)


@pytest.mark.parametrize(
    "fields",
    [
        {"task_instance_id": ONE.upper()},
        {"task_instance_id": ""},
        {"region_id": REGION},
        {"region_index": 0},
        {"region_id": REGION, "region_index": -1},
        {"iteration": 2**31},
        {"iteration": True},
        {"iteration": "1"},
    ],
    ids=str,
)
def test_an_attempt_that_airflow_cannot_have_is_refused(fields: dict[str, Any]) -> None:
    """UUIDs are canonical, indexes fit into Airflow's columns, and a region comes with a place in it."""
    with pytest.raises(CoordinateInvalid):
        Attempt(**fields)


def test_what_airflow_says_becomes_an_attempt() -> None:
    """Airflow's region of zeros is none, and where nothing is known there is no attempt."""
    assert Attempt.of(UUID(ONE), UUID(REGION), 3) == Attempt(ONE, REGION, 3)
    assert Attempt.of(ONE, UUID(int=0), -1) == Attempt(ONE)
    assert Attempt.of(None, None, None) is None
    assert Attempt.of(None, None, None, 4) == Attempt(iteration=4)


@pytest.mark.parametrize(
    ("attempt", "map_index", "iteration"),
    [
        (None, -1, None),
        (Attempt(ONE), -1, None),
        (Attempt(ONE, REGION, 3), -1, 3),
        (Attempt(ONE, REGION, 3), 3, None),
        (Attempt(ONE, REGION, 3, 5), 3, 5),
    ],
    ids=str,
)
def test_the_iteration_of_a_coordinate(attempt: Attempt | None, map_index: int, iteration: int | None) -> None:
    """The region of a task that is not mapped is its loop; that of a mapped one is its expansion."""
    assert coordinate(map_index=map_index, attempt=attempt).iteration == iteration


def test_an_attempt_is_no_part_of_what_older_releases_made_without_it() -> None:
    """Coordinates that differ by attempt alone are equal, and have one folder and one encryption context."""
    plain, looped = coordinate(), coordinate(attempt=Attempt(ONE, REGION, 3))
    assert (plain, hash(plain), str(plain)) == (looped, hash(looped), str(looped))
    assert object_path("finance", plain, "x") == object_path("finance", looped, "x")
    assert encryption_context("finance", plain) == encryption_context("finance", looped)


@pytest.mark.parametrize(
    ("known", "refused"),
    [
        ({}, False),
        ({"attempt": ONE}, False),
        ({"attempt": OTHER}, True),
        ({"iteration": 3}, False),
        ({"iteration": 2}, True),
        ({"attempt": ONE, "iteration": 2}, True),
    ],
    ids=str,
)
def test_a_reader_compares_what_it_knows(known: dict[str, Any], refused: bool) -> None:
    """Another attempt or iteration than the reader must get is refused; what a head leaves out is not compared."""
    asked = replace(ASKED, **known)
    asked.check(coordinate())
    asked.check(
        coordinate(attempt=Attempt(region_id=REGION, region_index=3) if "iteration" not in known else None)
    )
    looped = coordinate(attempt=Attempt(ONE, REGION, 3))
    if not refused:
        return asked.check(looped)
    with pytest.raises(AttemptMismatch, match="moved, copied or replayed"):
        asked.check(looped)
    return None


def test_iterations_are_different_tasks() -> None:
    """In a process of several tasks, the next iteration shares no data key with the one before."""
    here: Coordinate = coordinate()
    first = TaskTry(here.dag_id, here.run_id, here.task_id, -1, 1, attempt=ONE, iteration=0)
    assert not first.same_task(replace(first, attempt=OTHER, iteration=1))
    # Where Airflow's context is gone, its variables say no iteration.
    assert first.same_task(replace(first, attempt=None, iteration=None))


@pytest.mark.parametrize("index", [0, 2**31 - 1])
def test_the_limits_of_an_index_are_accepted(index: int) -> None:
    """Airflow's columns hold them."""
    assert Attempt(region_id=REGION, region_index=index, iteration=index).iteration == index


@pytest.mark.parametrize("index", ["1", 1.5, True])
def test_an_odd_index_is_shown(index: object) -> None:
    """The error names what Airflow gave, but for a number, which may have more digits than Python prints."""
    with pytest.raises(CoordinateInvalid) as refused:
        Attempt(iteration=index)  # type: ignore[arg-type]  # on purpose
    assert refused.value.where == f"iteration={index!r}"
    with pytest.raises(CoordinateInvalid) as refused:
        Attempt(iteration=10**5000)
    assert refused.value.where == "iteration"


def test_a_head_names_what_is_known_of_an_attempt() -> None:
    """The fields have the format's names, and the iteration is the coordinate's."""
    assert Attempt(ONE, REGION, 3).head_fields(5) == {
        "attempt": ONE,
        "region": REGION,
        "region_index": "3",
        "iteration": "5",
    }
    assert Attempt(ONE).head_fields(None) == {"attempt": ONE}


def test_an_attempt_prints_what_is_known() -> None:
    """Errors name the try, and its place where it has one."""
    assert str(Attempt(ONE, REGION, 3)) == f"attempt {ONE}, 3 of region {REGION}"
    assert str(Attempt(ONE)) == f"attempt {ONE}"
    assert str(Attempt(iteration=4)) == "attempt unknown"


def test_an_attempt_stays_as_it_is() -> None:
    """What was checked once is not changed later."""
    with pytest.raises(FrozenInstanceError):
        Attempt(ONE).task_instance_id = OTHER  # type: ignore[misc]  # on purpose


def test_a_mapped_tasks_first_instance_is_no_iteration() -> None:
    """Index 0 is a place in an expansion, as every other one."""
    assert coordinate(map_index=0, attempt=Attempt(ONE, REGION, 0)).iteration is None
