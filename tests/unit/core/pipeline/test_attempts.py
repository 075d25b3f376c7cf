"""Loops and attempts on the data path: what heads say, which rows are refused, and what an older release reads."""

from __future__ import annotations

from typing import Any

import pytest

from secure_xcom.core.attempt import Attempt
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Asked, Coordinate
from secure_xcom.core.errors import AttemptMismatch, CoordinateMismatch
from secure_xcom.core.pipeline.push_and_pull import Row
from tests.support import release_before
from tests.support.world import World, coordinate

REGION = "019be2a1-0000-7000-8000-0000000000f0"
ATTEMPT_FIELDS = {"attempt", "region", "region_index", "iteration"}


def uuid_of(number: int) -> str:
    """A UUID with a number in it."""
    return f"019be2a1-0000-7000-8000-{number:012x}"


def of_iteration(iteration: int, map_index: int = -1) -> Coordinate:
    """The coordinate of a task in a loop."""
    place = iteration if map_index < 0 else map_index
    attempt = Attempt(uuid_of(100 * iteration + map_index + 1), REGION, place, iteration)
    return coordinate(map_index=map_index, attempt=attempt)


def pull(world: World, references: list[Any], *, loop: bool = False, order: int = 1, **asked: Any) -> list[Any]:
    """The values of a task's rows, in order."""
    here = coordinate()
    question = Asked(here.dag_id, here.task_id, here.key, here.run_id, every_iteration=loop, **asked)
    return world.process().pull([Row(reference, question) for reference in references], order=order)


@pytest.mark.parametrize(
    ("which", "looped", "plain"),
    [("loops", ATTEMPT_FIELDS, set()), ("all", ATTEMPT_FIELDS, {"attempt"}), ("none", set(), set())],
)
def test_who_writes_the_fields(which: str, looped: set[str], plain: set[str]) -> None:
    """By default the heads of loops name their attempt; with `attempt_fields` all of them do, or none."""
    world = World(Settings.parse({"attempt_fields": which}))
    head = world.push("a", of_iteration(2))["head"]
    assert ATTEMPT_FIELDS & set(head) == looped
    assert not looped or (head["region_index"], head["iteration"]) == ("2", "2")
    outside = world.push("b", coordinate(attempt=Attempt(uuid_of(1))))["head"]
    assert ATTEMPT_FIELDS & set(outside) == plain
    assert not ATTEMPT_FIELDS & set(world.push("c")["head"])


def test_readers_come_first_and_writers_later() -> None:
    """A worker of the release before reads what is pushed outside of loops, until `attempt_fields` is `all`."""
    plain, looped = coordinate(attempt=Attempt(uuid_of(1))), of_iteration(1)
    references = {
        which: World(Settings(attempt_fields=which)).push("a", at)
        for which, at in (("loops", plain), ("none", looped), ("all", plain))
    }
    release_before.check(references["loops"])
    release_before.check(references["none"])
    for refused in (references["all"], World().push("a", looped)):
        with pytest.raises(release_before.Malformed, match="'attempt' is unknown"):
            release_before.check(refused)


def test_an_older_reference_opens_for_any_attempt() -> None:
    """A reference without the fields is told apart by its coordinate alone."""
    world = World()
    assert pull(world, [world.push("old")], attempt=uuid_of(7), iteration=3) == ["old"]


def test_a_row_of_another_iteration_is_refused() -> None:
    """Who knows its iteration gets none of another one, mapped or not, and the refusal is in the access log."""
    world = World()
    for map_index in (-1, 0):
        first, second = (world.push(number, of_iteration(number, map_index)) for number in (0, 1))
        assert pull(world, [second], iteration=1) == [1]
        with pytest.raises(AttemptMismatch):
            pull(world, [first], iteration=1)
        refusal = world.sink.records[-1]
        assert (refusal["outcome"], refusal["error"]) == ("refused", "AttemptMismatch")
        assert (refusal["producer"]["iteration"], refusal["asked"]["iteration"]) == (0, 1)


@pytest.mark.parametrize(
    "rows", [[(0, -1), (0, -1)], [(1, -1), (0, -1)], [(0, 0), (0, 1), (0, 0)], [(1, 0), (0, 1)]], ids=str
)
def test_iterations_that_do_not_rise_were_exchanged(rows: list[tuple[int, int]]) -> None:
    """From outside of a loop, a row that was copied or moved among its iterations is out of order."""
    world = World()
    references = [world.push("a", of_iteration(*row)) for row in rows]
    with pytest.raises(CoordinateMismatch, match="iterations of a loop"):
        pull(world, references, loop=True)
    assert pull(world, references, loop=True, order=0) == ["a"] * len(rows)


def test_all_iterations_come_in_order() -> None:
    """A sequence of a loop's mapped task goes through its iterations, and in each through its map indexes."""
    world = World()
    rows = [(0, 0), (0, 1), (1, 0), (3, 0), (3, 2)]
    references = [world.push(list(row), of_iteration(*row)) for row in rows]
    assert pull(world, references, loop=True) == [list(row) for row in rows]
    assert pull(world, references[::-1], loop=True, order=-1) == [list(row) for row in rows[::-1]]


def test_a_loop_without_the_fields_has_no_order() -> None:
    """With `attempt_fields = none` nothing tells iterations apart, so their sequence is given as it comes."""
    world = World(Settings(attempt_fields="none"))
    references = [world.push(number, of_iteration(number)) for number in range(3)]
    assert pull(world, references, loop=True) == [0, 1, 2]
    with pytest.raises(CoordinateMismatch):
        pull(world, references)
