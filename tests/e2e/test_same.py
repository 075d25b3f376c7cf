"""The same DAGs under Airflow's own backend and under ours, on a real scheduler: what differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.e2e.cases.attacks import LIVE
from tests.e2e.dags.shapes import FIERCE, SHAPES
from tests.e2e.deployment import OURS, STOCK
from tests.e2e.live import ONLY_OURS, RUN, Lived

pytestmark = pytest.mark.xdist_group("e2e-live")

TYPES = (*SHAPES, *FIERCE)
# What Airflow's own backend refuses or loses, and ours gives back as it was pushed.
ONLY_OURS_GIVES = {
    "bytes",
    "empty bytes",
    "bytearray",
    "1 MB bytes",
    "int over 64 bits",
    "int of 600 bits",
    "int of 4,000 digits",
    "nan",
    "inf",
    "-inf",
    "nan in list",
    "lone surrogate",
    "Series",
    "arrow Table",
    "numpy array",
}
# What Airflow's own backend gives back as another type, and ours as it was pushed.
ONLY_OURS_KEEPS = {"-0.0", "whole float"}
# Rows that Airflow itself writes past every backend.
PAST_THE_BACKEND = {
    ("unstoppable", "one", "ended_by_trigger", -1, "return_value"),
    ("unstoppable", "one", "linked", -1, "_link_Link"),
    ("unstoppable", "one", "give", -1, "posted"),
}


@pytest.fixture(scope="module")
def stock(lived: Callable[[str], Lived]) -> Lived:
    """Airflow's own backend."""
    return lived(STOCK)


@pytest.fixture(scope="module")
def ours(lived: Callable[[str], Lived]) -> Lived:
    """Ours."""
    return lived(OURS)


def same_dags(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows of the DAGs that both run, but for the types, of which ours hands over more."""
    return [row for row in rows if row[0] not in (*ONLY_OURS, "kinds")]


def test_runs_end_alike(stock: Lived, ours: Lived) -> None:
    """Every run ends in the same state."""
    assert same_dags(ours.runs) == same_dags(stock.runs)
    assert len(same_dags(ours.runs)) == 9


def test_task_instances_end_alike(stock: Lived, ours: Lived) -> None:
    """Each task instance ends in the same state after as many tries; a skipped one, cleared, is skipped again."""
    assert same_dags(ours.states) == same_dags(stock.states)
    assert ours.state("ways", "not_chosen") == "skipped"
    assert len(same_dags(ours.states)) > 90


def test_branches_are_taken_alike(stock: Lived, ours: Lived) -> None:
    """What a branch or a short circuit skips stays skipped, mapped or cleared, and what it chose runs again."""
    ended = {(row[2], row[3]): row[4] for row in ours.states if row[0] == "branches"}
    assert ended == {(row[2], row[3]): row[4] for row in stock.states if row[0] == "branches"}
    skipped = {task_id for (task_id, _), state in ended.items() if state == "skipped"}
    assert skipped == {"right", "after_short", "whatever", "after_polite"}
    assert {state for (task_id, _), state in ended.items() if task_id not in skipped} == {"success"}
    # The scheduler's own reading is of the same ids as what a task pulls.
    for task_id in ("choose", "short", "polite"):
        place = ("branches", RUN, task_id, -1, "skipmixin_key")
        read = json.loads(ours.values[place])
        plain = json.loads(stock.values[place])
        # Airflow writes what is skipped in the order of a set.
        shown = {name: sorted(read[name]) for name in ("followed", "skipped") if name in read}
        assert shown == {name: sorted(ids) for name, ids in plain.items()}


def test_xcoms_have_the_same_coordinates(stock: Lived, ours: Lived) -> None:
    """The same DAG, run, task, map index and key for each row."""
    assert same_dags(ours.rows) == same_dags(stock.rows)
    assert len(same_dags(ours.rows)) > 90


def test_consumers_get_the_same_values(stock: Lived, ours: Lived) -> None:
    """Whatever a consumer was given, by whichever way, has the same type and content."""
    other = {*TYPES, *LIVE}
    given = {name: sorted(notes) for name, notes in ours.notes.got.items() if name not in other}
    assert given == {name: sorted(notes) for name, notes in stock.notes.got.items() if name not in other}
    assert len(given) > 180


def test_lazy_sequences_behave_alike(stock: Lived, ours: Lived) -> None:
    """Ends, comparisons and text of lazy sequences are the same, and their slices are those of a list."""
    told = {
        name: texts
        for name, texts in stock.notes.said.items()
        if name.split(",")[0].split(" ")[0] in ("lazy", "gaps")
    }
    assert {name: ours.notes.said[name] for name in told} == told
    assert len(told) == 8
    assert ours.notes.said["lazy, slices that are not those of a list"] == ["[]"]


def test_what_our_backend_wrote_is_a_reference(ours: Lived) -> None:
    """No row holds a value but those that Airflow writes past every backend."""
    plain = {place for place, value in ours.values.items() if not value.startswith('{"secure_xcom": 1, ')}
    assert {place for place in plain if place[0] != "tampered_live"} == PAST_THE_BACKEND


def test_every_reference_has_its_object(ours: Lived) -> None:
    """The object that a row names is there; a try that was repeated has left none behind."""
    store = ours.root / "store"
    named = {
        store / str(json.loads(value)["head"]["object"]).removeprefix(f"file://{store}/")
        for place, value in ours.values.items()
        # What these two do with rows and objects is their own.
        if place not in PAST_THE_BACKEND and place[0] not in ONLY_OURS
    }
    there = {file for file in store.rglob("*") if file.is_file()}
    assert len(named) > 150
    assert named <= there
    repeated = [file for file in there if "/later/first/tries/" in str(file)]
    assert len(repeated) == len([place for place in ours.values if place[:3] == ("later", "first", "tries")]) == 2


def test_pulls_do_not_block_the_event_loop(ours: Lived) -> None:
    """While asynchronous pushes and pulls wait for the access log's lock, the loop that gives it back goes on."""
    for way in ("push", "pulls"):
        (beats,) = ours.notes.said[f"async {way}, the loop went on"]
        assert int(beats) >= 5


def outcome(lived: Lived, name: str) -> str:
    """How the handing over of a type ended: `same`, `other: ...`, `no row`, `not pulled: ...`."""
    return lived.notes.said[name][-1]


@pytest.mark.parametrize("name", TYPES)
def test_a_type_comes_back_as_with_airflow(name: str, stock: Lived, ours: Lived) -> None:
    """A value of each type comes back as it was pushed, or as Airflow's own backend gives it."""
    if outcome(ours, name) == "same":
        return
    assert ours.notes.got.get(name) == stock.notes.got.get(name)
    assert outcome(ours, name).partition(":")[0] == outcome(stock, name).partition(":")[0]
    if name in ours.notes.got:
        assert outcome(ours, name) == outcome(stock, name)


def test_what_only_our_backend_gives_back(stock: Lived, ours: Lived) -> None:
    """The types that Airflow's own backend refuses, loses or changes are those that are named here."""
    better = {name for name in TYPES if outcome(ours, name) == "same" and outcome(stock, name) != "same"}
    assert better == ONLY_OURS_GIVES | ONLY_OURS_KEEPS
    assert {name for name in better if name in stock.notes.got} == ONLY_OURS_KEEPS


def test_a_type_that_is_not_taken_is_refused_by_name(stock: Lived, ours: Lived) -> None:
    """What cannot be serialized is refused with our error, as it is with Airflow's backend."""
    for name in SHAPES:
        if name not in ours.notes.got and outcome(ours, name) == "no row" and name != "None":
            assert ours.notes.said[name][0] == "refused: ValueNotSerialisable"
            assert stock.notes.said[name][0].startswith("refused: ")
