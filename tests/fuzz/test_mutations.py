"""Whatever is done to references and payloads, only errors of our tree come out, and nothing opens.

More of the same for as long as told: ``make fuzz FUZZ_SECONDS=3600``.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from secure_xcom.core.pipeline.push_and_pull import Row
from tests.fuzz.corpus import Deployment
from tests.fuzz.judging import attempt, judge, means
from tests.fuzz.mutations import CHUNK, mutate_bytes, mutate_record, with_payload, with_seal_of

pytestmark = pytest.mark.fuzz

# How many mutations each test tries in an ordinary run, and at a time while `make fuzz` has time left.
EXAMPLES = 1500
TESTS = 5
# The tests run beside each other on so many workers, and share the time that was given for all of them.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
SECONDS = float(os.environ.get("SECURE_XCOM_FUZZ_SECONDS", "0")) * WORKERS / TESTS

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The deployment whose rows are pulled."""
    return Deployment(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Another deployment with the same ids, key URIs and store URI, and with keys of its own."""
    return Deployment(tmp_path_factory.mktemp("foreign"))


def run(tally: Counter[str], record_property: Record, check: Callable[[DataObject], None]) -> None:
    """Have hypothesis call the check until the time is over, at least once, and put the tally into the report."""
    end = time.monotonic() + SECONDS
    # Not derandomized, whatever the profile says: each turn is to try other mutations than the one before.
    turn = settings(max_examples=EXAMPLES, deadline=None, derandomize=False)(given(st.data())(check))
    turn()
    while time.monotonic() < end:
        turn()
    assert set(tally) - {"opened"}, "nothing was ever refused, so nothing was tested"
    record_property("mutations", dict(tally))


def test_the_corpus_has_every_kind(home: Deployment) -> None:
    """What is mutated holds inline and stored payloads, of one chunk and of several, compressed and not."""
    assert {sealed.path is None for sealed in home.sealed} == {True, False}
    assert {len(sealed.payload) // CHUNK for sealed in home.sealed} == {0, 1, 2}
    assert {sealed.row["head"]["compression"] for sealed in home.sealed} == {"none", "zstd"}
    assert {"followed" in sealed.row for sealed in home.sealed} == {True, False}
    assert {sealed.row["keys"][0]["wrapped"][:9] for sealed in home.sealed} == {"local:v1:", "local:v2:"}
    home.lay({})
    for sealed in home.sealed:
        assert attempt(home, [Row(sealed.row, sealed.asked)]) == ([sealed.value], "opened")


def test_mutated_references_never_open(home: Deployment, foreign: Deployment, record_property: Record) -> None:
    """A reference with up to four changes, foreign parts included, is refused or means what it meant."""
    tally: Counter[str] = Counter()
    rows = [sealed.row for sealed in (*home.sealed, *foreign.sealed)]

    def check(data: DataObject) -> None:
        victim = data.draw(st.sampled_from(home.sealed))
        record: Any = victim.row
        for _ in range(data.draw(st.integers(1, 4))):
            if isinstance(record, dict) and record:
                record = mutate_record(data, record, rows)
        home.lay({})
        # Airflow's lazy sequences do not say what was asked for: then only what is sealed can refuse.
        row = Row(record, victim.asked if data.draw(st.booleans()) else None)
        values, outcome = attempt(home, [row])
        tally[outcome] += 1
        judge(home, row, values)

    run(tally, record_property, check)


def test_mutated_payloads_never_open(home: Deployment, foreign: Deployment, record_property: Record) -> None:
    """A payload with up to three changes is refused, even when the reference's header and size are made to fit."""
    tally: Counter[str] = Counter()
    payloads = [sealed.payload for sealed in (*home.sealed, *foreign.sealed)]

    def check(data: DataObject) -> None:
        victim = data.draw(st.sampled_from(home.sealed))
        raw = victim.payload
        for _ in range(data.draw(st.integers(1, 3))):
            raw = mutate_bytes(data, raw, payloads)
        record: Any = victim.row
        if data.draw(st.booleans()):
            record = with_seal_of(record, raw)
        if victim.path is None:
            record = with_payload(record, raw)
            home.lay({})
        else:
            home.lay({victim.path: raw if data.draw(st.integers(0, 20)) else None})
        row = Row(record, victim.asked)
        values, outcome = attempt(home, [row])
        tally[outcome] += 1
        judge(home, row, values, payload_changed=raw != victim.payload)

    run(tally, record_property, check)


def test_whole_xcoms_never_open_elsewhere(home: Deployment, foreign: Deployment, record_property: Record) -> None:
    """A whole reference put into another row, with its payload or without, is refused; so is a foreign one."""
    tally: Counter[str] = Counter()

    def check(data: DataObject) -> None:
        victim = data.draw(st.sampled_from(home.sealed))
        thief = data.draw(st.sampled_from([*home.sealed, *foreign.sealed]))
        record = {**thief.row, "head": dict(thief.row["head"])}
        parts = {name: data.draw(st.booleans()) for name in ("coordinate", "object", "keys", "seal", "payload")}
        if parts["coordinate"]:
            names = ("dag_id", "run_id", "task_id", "map_index", "key")
            record["head"].update({name: victim.row["head"][name] for name in names})
        for name in ("keys", "seal", "payload"):
            if parts[name] and name in victim.row:
                record[name] = victim.row[name]
        if parts["object"] and "object" in record["head"] and victim.path:
            record["head"]["object"] = victim.row["head"]["object"]
        # The foreign payload may lie where its reference says, or where the victim's does.
        laid: dict[str, bytes | None] = {}
        for path in (thief.path, victim.path):
            if path is not None and data.draw(st.booleans()):
                laid[path] = thief.payload
        home.lay(laid)
        row = Row(record, victim.asked)
        values, outcome = attempt(home, [row])
        tally[outcome] += 1
        uri = record["head"].get("object", "")
        read = next((sealed for sealed in home.sealed if sealed.row["head"].get("object", "-") == uri), None)
        judge(
            home,
            row,
            values,
            payload_changed=read is not None and laid.get(read.path or "") not in (None, read.payload),
        )

    run(tally, record_property, check)


def test_lists_never_open_in_another_order(home: Deployment, record_property: Record) -> None:
    """Rows of a mapped task that were exchanged, doubled or replaced are refused, or stand in rising order."""
    tally: Counter[str] = Counter()
    mapped = [sealed for sealed in home.sealed if sealed.coordinate.task_id == "load"]

    def check(data: DataObject) -> None:
        home.lay({})
        chosen = data.draw(st.lists(st.sampled_from(mapped), min_size=2, max_size=6))
        spoiled = data.draw(st.integers(-1, len(chosen) - 1))
        rows = [Row(sealed.row) for sealed in chosen]
        if spoiled >= 0:
            others = [sealed.row for sealed in home.sealed]
            record = mutate_record(data, chosen[spoiled].row, others)
            if means(record) == means(chosen[spoiled].row) or any(
                means(record) == means(other) for other in others
            ):
                spoiled = -1
            else:
                rows[spoiled] = Row(record)
        values, outcome = attempt(home, rows, order=1)
        tally[outcome] += 1
        if values is not None:
            indexes = [sealed.coordinate.map_index for sealed in chosen]
            assert spoiled < 0
            assert indexes == sorted(set(indexes))
            assert values == [sealed.value for sealed in chosen]

    run(tally, record_property, check)


def test_arbitrary_values_are_no_references(home: Deployment, record_property: Record) -> None:
    """Any JSON value in a row, with the tag or without, is refused."""
    tally: Counter[str] = Counter()
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
    names = st.sampled_from(["secure_xcom", "head", "keys", "seal", "payload", "preview", "followed"]) | st.text(
        max_size=4
    )
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
        max_leaves=12,
    )

    def check(data: DataObject) -> None:
        value = data.draw(
            values | values.map(lambda inner: {"secure_xcom": 1, "head": inner, "keys": [], "seal": {}})
        )
        given_out, outcome = attempt(home, [Row(value)])
        tally[outcome] += 1
        assert given_out is None

    run(tally, record_property, check)
