"""What is said of each way in which the lines of a chain differ from what was written; no files, no log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from secure_xcom.core.event_chain import FIRST
from secure_xcom.core.findings import Finding
from secure_xcom.ops.audit_trail.entries import Entry
from secure_xcom.ops.audit_trail.tamper_diagnosis import Seen, explain

CHAIN = "019be2a1-0000-7000-8000-000000000001"


def named(number: int, change: str = "") -> str:
    """The hash of an event, or of a changed one."""
    return f"hash of {number}{change}"


def event(number: int, *, change: str = "", previous: str | None = None, ends: bool = False) -> Entry:
    """An event as its process wrote it, or a changed one."""
    before = (FIRST if number == 0 else named(number - 1)) if previous is None else previous
    action = "chain_end" if ends else "pull"
    return Entry(CHAIN, number, before, "2026-11-22T10:00:00.000000Z", action, named(number, change))


def anchored(numbers: Iterable[int]) -> dict[int, tuple[str, int]]:
    """The anchored entries of these events, with indexes of their own."""
    return {number: (named(number), 100 + number) for number in numbers}


def explained(
    entries: Sequence[Entry], log: Mapping[int, tuple[str, int]] | None = None, *, begins_late: bool = False
) -> list[tuple[Any, ...]]:
    """Each finding: kind, line, event, anchored entry. Lines count from 1."""
    lines = [Seen("file", line, entry) for line, entry in enumerate(entries, 1)]
    return [_short(finding) for finding in explain(CHAIN, lines, log or {}, begins_late=begins_late)]


def _short(finding: Finding) -> tuple[Any, ...]:
    assert (finding.subject, finding.details["chain"]) == ("file", CHAIN)
    return finding.rule, finding.line, finding.details["sequence"], finding.details["entry"]


WHOLE = [event(number) for number in range(6)]


def without(*numbers: int) -> list[Entry]:
    """The whole chain without some events."""
    return [entry for entry in WHOLE if entry.sequence not in numbers]


def with_changed(number: int, **changes: Any) -> list[Entry]:
    """The whole chain with one event changed."""
    return [event(number, change="!", **changes) if entry.sequence == number else entry for entry in WHOLE]


@pytest.mark.parametrize("log", [(), range(3), range(6)], ids=["none", "half", "all"])
def test_an_untouched_chain_has_no_findings(log: Sequence[int]) -> None:
    """Whatever is anchored of it."""
    assert explained(WHOLE, anchored(log)) == []


@pytest.mark.parametrize(
    ("number", "finding"),
    [
        # The first event is the one whose hash the second names; the last one's hash nobody names.
        (0, ("edited", 1, 0, None)),
        (2, ("edited", 3, 2, None)),
        (4, ("edited", 5, 4, None)),
    ],
)
def test_an_edited_event_is_the_one_whose_hash_its_neighbor_does_not_name(
    number: int, finding: tuple[Any, ...]
) -> None:
    """One link is broken, and the bytes before it were named earlier."""
    assert explained(with_changed(number)) == [finding]


def test_an_edited_event_that_names_another_one_breaks_both_its_links() -> None:
    """Two broken links in a row have one event between them, and later links are judged by themselves."""
    assert explained(with_changed(2, previous="another")) == [("edited", 3, 2, None)]
    two = [event(1, change="!", previous="another") if entry.sequence == 1 else entry for entry in WHOLE]
    two[4] = event(4, change="!", previous="another")
    assert explained(two) == [("edited", 2, 1, None), ("edited", 5, 4, None)]
    far = [event(1, change="!") if entry.sequence == 1 else entry for entry in WHOLE]
    far[3] = event(3, change="!")
    assert explained(far) == [("edited", 2, 1, None), ("edited", 4, 3, None)]


def test_a_first_event_that_names_one_before_it_is_edited() -> None:
    """Nothing comes before the first, unless the log proves the event."""
    start = event(0, previous="another")
    assert explained([start, *WHOLE[1:]]) == [("edited", 1, 0, None)]
    assert explained([start, *WHOLE[1:]], anchored([0])) == []


@pytest.mark.parametrize("number", range(6))
def test_an_anchored_event_proves_which_line_was_edited(number: int) -> None:
    """The entry's index goes with it, and no neighbor is suspected."""
    assert explained(with_changed(number), anchored(range(6))) == [("edited", number + 1, number, 100 + number)]


def test_behind_an_anchored_event_it_is_the_next_one_that_was_edited() -> None:
    """The anchored one is proved, so a broken link behind it is the fault of the event that names another."""
    changed = [*WHOLE[:3], event(3, previous="another"), *WHOLE[4:]]
    assert explained(changed, anchored(range(3))) == [("edited", 4, 3, None)]


def test_two_events_behind_the_anchored_ones_it_is_the_one_before_the_link() -> None:
    """What is anchored further back proves nothing of it."""
    changed = [*WHOLE[:4], event(4, previous="another"), *WHOLE[5:]]
    assert explained(changed, anchored(range(3))) == [("edited", 4, 3, None)]


@pytest.mark.parametrize(
    ("gone", "finding", "text"),
    [
        ((0,), ("removed", 1, 0), "missing before this line"),
        ((2,), ("removed", 3, 2), "missing before this line"),
        ((2, 3), ("removed", 3, 2), "2 events up to 3 are missing before this line"),
        ((1, 2, 3), ("removed", 2, 1), "3 events up to 3 are missing before this line"),
    ],
)
@pytest.mark.parametrize("log", [(), range(6)], ids=["none", "all"])
def test_removed_events_are_told_where_they_should_be(
    gone: tuple[int, ...], finding: tuple[Any, ...], text: str, log: Sequence[int]
) -> None:
    """With the index of the first one's anchored entry, if there is one."""
    entry = 100 + gone[0] if log else None
    assert explained(without(*gone), anchored(log)) == [(*finding, entry)]
    lines = [Seen("file", line, one) for line, one in enumerate(without(*gone), 1)]
    [found] = explain(CHAIN, lines, anchored(log), begins_late=False)
    assert found.text == text


def test_a_start_that_may_be_rotated_away_is_no_finding() -> None:
    """A gap behind it is one."""
    assert explained(without(0, 1), begins_late=True) == []
    assert explained(without(0, 1), anchored(range(6)), begins_late=True) == []
    assert explained(without(0, 1, 3), begins_late=True) == [("removed", 2, 3, None)]
    # The first line that is there names an event that nobody can look at.
    assert explained(without(0, 1)) == [("removed", 1, 0, None)]


@pytest.mark.parametrize(("left", "last"), [(3, 5), (5, 5), (1, 5)])
def test_a_chain_that_was_anchored_further_is_truncated(left: int, last: int) -> None:
    """With the first event that is missing, its entry, and how far it was anchored."""
    lines = [Seen("file", line, one) for line, one in enumerate(WHOLE[:left], 1)]
    [found] = explain(CHAIN, lines, anchored(range(6)), begins_late=False)
    assert _short(found) == ("truncated", left, left, 100 + left)
    assert found.text == f"ends here, but was anchored up to event {last}"


def test_copies_and_strangers_are_told_apart() -> None:
    """The same line twice is a duplicate, and another line of the same number was inserted."""
    assert explained([*WHOLE[:3], WHOLE[2], *WHOLE[3:]]) == [("duplicated", 4, 2, None)]
    assert explained([*WHOLE[:3], event(2, change="!"), *WHOLE[3:]]) == [("inserted", 4, 2, None)]
    assert explained([*WHOLE[:2], event(2, change="!"), *WHOLE[2:]]) == [("inserted", 3, 2, None)]
    log = anchored(range(6))
    assert explained([*WHOLE[:3], WHOLE[2], *WHOLE[3:]], log) == [("duplicated", 4, 2, 102)]
    assert explained([*WHOLE[:2], event(2, change="!"), *WHOLE[2:]], log) == [("inserted", 3, 2, 102)]
    two = [*WHOLE[:2], event(2, change="!"), event(2, change="?"), *WHOLE[3:]]
    assert explained(two, log) == [("edited", 3, 2, 102), ("inserted", 4, 2, 102)]


def test_the_last_event_is_the_one_that_continues_the_chain() -> None:
    """No event names its hash, so of two the one is believed that names the event before it."""
    stranger = event(5, change="!", previous="another")
    assert explained([*WHOLE[:5], stranger, WHOLE[5]]) == [("inserted", 6, 5, None)]
    assert explained([*WHOLE, stranger]) == [("inserted", 7, 5, None)]


def test_the_fewest_lines_are_out_of_order() -> None:
    """One line that was moved is one finding, in whichever direction."""
    first, *others = WHOLE
    assert explained([*others, first]) == [("reordered", 6, 0, None)]
    *others, last = WHOLE
    assert explained([last, *others]) == [("reordered", 1, 5, None)]
    assert explained([WHOLE[1], WHOLE[0], *WHOLE[2:]]) in (
        [("reordered", 1, 1, None)],
        [("reordered", 2, 0, None)],
    )
    assert len(explained(list(reversed(WHOLE)))) == 5


def test_what_comes_behind_the_end_was_inserted() -> None:
    """Each event with a higher number than the first end."""
    lines = [*WHOLE[:3], event(3, ends=True), *WHOLE[4:]]
    assert explained(lines) == [("inserted", 5, 4, None), ("inserted", 6, 5, None)]
    assert explained(lines[:4]) == []


def test_what_comes_behind_an_anchored_end_was_inserted() -> None:
    """Also where the end's own line was rotated away, or is another event now."""

    def ended(entries: Sequence[Entry], at: int) -> list[tuple[Any, ...]]:
        lines = [Seen("file", line, entry) for line, entry in enumerate(entries, 1)]
        return [_short(one) for one in explain(CHAIN, lines, anchored(range(4)), begins_late=True, ended_at=at)]

    assert ended(WHOLE[4:], 3) == [("inserted", 1, 4, None), ("inserted", 2, 5, None)]
    assert ended(WHOLE[3:5], 3) == [("inserted", 2, 4, None)]
    assert ended(WHOLE[:4], 3) == []


def test_a_forged_number_however_high_is_one_finding() -> None:
    """Only numbers that occur are visited."""
    found = explained([*WHOLE, event(10**15)])
    assert found == [("removed", 7, 6, None)]
