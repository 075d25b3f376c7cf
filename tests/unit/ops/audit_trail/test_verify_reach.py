"""How far back a sink reaches, and how far clocks may differ, before verify reports what is not there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from secure_xcom.core.event_chain import FIRST
from secure_xcom.ops.audit_trail.anchor import anchor
from secure_xcom.ops.audit_trail.read import source
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.tlog.layout import WIDTH
from secure_xcom.ops.audit_trail.tlog.note import Verifier
from secure_xcom.ops.audit_trail.tlog.signer_file import FileSigner
from secure_xcom.ops.audit_trail.verify import Verified, verify
from secure_xcom.stores import store
from tests.support.access_logs import START, chain, text, uuid7_at, write

NAME = "audit.example.com/airflow"
LATER = START + timedelta(hours=2)
MINUTE = timedelta(minutes=1)
MOMENT = timedelta(microseconds=1)
# Each anchor is made an hour after the beginning, and takes all that is older than five minutes.
COVERED = START + timedelta(minutes=55)


class Site:
    """An anchored log, its key, and files that are anchored in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "log").mkdir()
        self.signer = FileSigner((folder / "key.pem").as_uri())
        self.signer.create()
        self.log = AnchoredLog(store((folder / "log").as_uri()), [Verifier(NAME, self.signer.public_key())])

    def file(self, name: str, *chains: Sequence[bytes]) -> Path:
        """Write a file of these chains, one after the other."""
        write(self.folder / name, [line for lines in chains for line in lines])
        return self.folder / name

    def anchor(self, *files: Path, now: datetime = START + timedelta(hours=1)) -> None:
        """Anchor what is old enough in these files."""
        anchor(self.log, [source(file.as_uri()) for file in files], self.signer, now=lambda: now)

    def verify(self, *files: Path) -> Verified:
        """Verify these files, two hours after the beginning."""
        return verify([source(file.as_uri()) for file in files], self.log, now=lambda: LATER)

    def found(self, *files: Path) -> list[tuple[str, str | None, int | None]]:
        """Each finding: kind, chain and event."""
        return [(one.rule, one.details["chain"], one.details["sequence"]) for one in self.verify(*files).found]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A log without an entry."""
    return Site(tmp_path)


@pytest.mark.parametrize(("later", "missed"), [(timedelta(0), False), (MOMENT, True)])
def test_a_whole_chain_is_missed_if_it_ended_over_a_minute_after_the_oldest(
    site: Site, later: timedelta, missed: bool
) -> None:
    """Up to a minute, the clocks of two processes may differ, and the older file may have held it."""
    end = START + timedelta(seconds=1) + MINUTE + later
    oldest, gone = chain(1, 2), chain(2, 2, start=end - timedelta(seconds=1))
    site.anchor(site.file("a.jsonl", oldest, gone))
    chain_id = uuid7_at(end - timedelta(seconds=1), 2)
    assert site.found(site.file("a.jsonl", oldest)) == ([("removed", chain_id, 0)] if missed else [])


def test_a_whole_chain_anchored_before_the_oldest_was_rotated_away(site: Site) -> None:
    """Whatever its clock says: the order of the anchored log decides."""
    ahead = chain(2, 2, start=START + timedelta(minutes=30))
    oldest = chain(1, 2)
    site.anchor(site.file("a.jsonl", ahead, oldest))
    assert site.found(site.file("a.jsonl", oldest)) == []


def test_missing_chains_are_named_in_the_order_of_the_log(site: Site) -> None:
    """Each with its first anchored event, and how many were anchored: the start of one had been rotated away."""
    oldest = chain(1, 2)
    cut = chain(2, 7, start=START - timedelta(minutes=10), step=200)[4:]
    whole = chain(3, 4, start=START + timedelta(minutes=8))
    site.anchor(site.file("a.jsonl", oldest, whole, cut))
    found = site.verify(site.file("a.jsonl", oldest)).found
    starts = [(one.details["chain"], one.details["sequence"]) for one in found]
    assert starts == [
        (uuid7_at(START + timedelta(minutes=8), 3), 0),
        (uuid7_at(START - timedelta(minutes=10), 2), 4),
    ]
    assert [" 4 " in one.text for one in found] == [True, False]
    assert [" 3 " in one.text for one in found] == [False, True]


def test_a_sink_with_open_chains_alone_reaches_back_to_the_oldest_of_them(site: Site) -> None:
    """A process that was killed says as much about the age of a file as one that ended."""
    killed, gone = chain(1, 3, ended=False), chain(2, 3, start=START + timedelta(minutes=5))
    later = chain(3, 3, start=START + timedelta(minutes=20), ended=False)
    site.anchor(site.file("a.jsonl", killed, gone, later))
    assert site.found(site.file("a.jsonl", later, killed)) == [
        ("interrupted", uuid7_at(START + timedelta(minutes=20), 3), 2),
        ("interrupted", uuid7_at(START, 1), 2),
        ("removed", uuid7_at(START + timedelta(minutes=5), 2), 0),
    ]


def test_an_empty_sink_reaches_back_nowhere(site: Site) -> None:
    """All that was anchored may have been rotated away."""
    site.anchor(site.file("a.jsonl", chain(1, 3)))
    assert site.found(site.file("a.jsonl")) == []


def test_a_start_that_is_older_than_the_reach_was_rotated_away(site: Site) -> None:
    """A chain that is not anchored began before the oldest anchored chain of the sink ended."""
    anchored = chain(1, 2, start=START + timedelta(minutes=40))
    long = chain(2, 3, start=START + timedelta(minutes=39), step=1000)
    site.anchor(site.file("a.jsonl", anchored))
    assert site.found(site.file("a.jsonl", anchored, long[1:])) == []


def test_a_start_that_is_younger_than_the_reach_was_removed(site: Site) -> None:
    """It began after the oldest anchored chain of the sink had ended, so that its first event must be there."""
    anchored = chain(1, 2, start=START + timedelta(minutes=40))
    start = START + timedelta(minutes=40, seconds=1)
    site.anchor(site.file("a.jsonl", anchored))
    late = chain(2, 3, start=start, step=1000)
    assert site.found(site.file("a.jsonl", anchored, late[1:])) == [("removed", uuid7_at(start, 2), 0)]


def test_a_start_that_was_anchored_before_the_reach_was_rotated_away(site: Site) -> None:
    """Also that of a process whose clock was ahead."""
    ahead, oldest = chain(1, 3, start=START + timedelta(minutes=30)), chain(2, 2)
    site.anchor(site.file("a.jsonl", ahead[:1], oldest, ahead[1:]))
    assert site.found(site.file("a.jsonl", oldest, ahead[1:])) == []


def test_nothing_follows_an_anchored_end_whose_lines_were_rotated_away(site: Site) -> None:
    """A forged event continues a chain that has ended, and only the anchored log still knows that it has."""
    old, forged = chain(1, 4), chain(1, 6)
    kept = chain(2, 2, start=START + timedelta(minutes=5))
    site.anchor(site.file("a.jsonl", old, kept))
    expected = [("inserted", uuid7_at(START, 1), 4), ("inserted", uuid7_at(START, 1), 5)]
    assert site.found(site.file("a.jsonl", kept, forged[4:])) == expected
    assert site.found(site.file("a.jsonl", kept, forged[4:5])) == expected[:1]
    assert site.found(site.file("a.jsonl", kept, forged[5:])) == expected[1:]


def test_an_end_in_place_of_the_last_events_cuts_a_chain(site: Site) -> None:
    """A chain that was made to end early is as short as one that was cut."""
    lines = chain(1, 6)
    site.anchor(site.file("a.jsonl", lines))
    found = site.found(site.file("a.jsonl", [*lines[:4], chain(1, 5)[4]]))
    assert found == [("edited", uuid7_at(START, 1), 4), ("truncated", uuid7_at(START, 1), 5)]


def test_a_chain_whose_first_event_names_one_before_is_no_whole_one(site: Site) -> None:
    """Whoever makes a chain anew, and every hash in it fit, still has to begin it as every chain begins."""
    first, last = chain(1, 2)
    forged = first.replace(FIRST.encode(), b"1" * 64)
    named, wanted = (hashlib.sha256(line).hexdigest().encode() for line in (first, forged))
    lines = [forged, last.replace(named, wanted)]
    files = [source(site.file("a.jsonl", lines).as_uri())]
    found = verify(files, None, now=lambda: LATER).found
    assert [(one.rule, one.line, one.details["sequence"]) for one in found] == [("edited", 1, 0)]


def test_without_a_log_the_first_line_says_how_far_a_file_reaches(site: Site) -> None:
    """A chain that began before it may have lost its start to a rotation, and one that began with it may not."""
    before, at_once = chain(1, 3, start=START - timedelta(milliseconds=1)), chain(2, 3)
    files = [source(site.file("a.jsonl", chain(3, 3), before[1:], at_once[1:]).as_uri())]
    found = verify(files, None, now=lambda: LATER).found
    assert [(one.rule, one.details["chain"]) for one in found] == [("removed", uuid7_at(START, 2))]


@pytest.mark.parametrize(("earlier", "unsealed"), [(timedelta(0), False), (MOMENT, True)])
def test_an_event_may_be_written_a_minute_after_its_time(site: Site, earlier: timedelta, unsealed: bool) -> None:
    """What is over a minute older than the last anchor's end, and is not anchored, was written or dated later."""
    moment = COVERED - MINUTE - earlier
    anchored = chain(1, 2)
    site.anchor(site.file("a.jsonl", anchored))
    added = chain(2, 1, start=moment)
    found = site.found(site.file("a.jsonl", anchored, added))
    assert found == ([("unsealed", uuid7_at(moment, 2), 0)] if unsealed else [])


def test_events_that_continue_an_anchored_chain_may_be_unsealed_too(site: Site) -> None:
    """An event behind the anchored end of a chain is late as any other, unless the chain had ended."""
    begun, ended = chain(1, 4, ended=False), chain(2, 2)
    site.anchor(site.file("a.jsonl", begun[:2], ended))
    assert site.found(site.file("a.jsonl", begun, ended)) == [
        ("unsealed", uuid7_at(START, 1), 2),
        ("unsealed", uuid7_at(START, 1), 3),
        ("interrupted", uuid7_at(START, 1), 3),
    ]


@pytest.mark.parametrize(("later", "unsealed"), [(timedelta(0), False), (MOMENT, True)])
def test_what_is_as_old_as_a_prune_may_have_been_anchored(site: Site, later: timedelta, unsealed: bool) -> None:
    """For up to a minute after it as well; what is younger than that must be in the log."""
    pruned, kept = chain(1, WIDTH, step=0.1), chain(2, 2, start=START + timedelta(minutes=20))
    site.anchor(site.file("a.jsonl", pruned, kept))
    before = START + timedelta(minutes=10)
    site.log.write_pruned(WIDTH, text(before), site.signer)
    moment = before + MINUTE + later
    result = site.verify(site.file("a.jsonl", chain(3, 1, start=moment), kept))
    assert (result.sealed, result.pruned) == (WIDTH + 2, WIDTH)
    assert [(one.rule, one.details["chain"]) for one in result.found] == (
        [("unsealed", uuid7_at(moment, 3))] if unsealed else []
    )


def test_a_sink_that_was_never_anchored_is_checked_by_its_chains_alone(site: Site) -> None:
    """Nothing in it is late, and nothing that is anchored must be in it or in the sinks beside it."""
    anchored, gone, other = chain(1, 2), chain(2, 2, start=START + timedelta(minutes=5)), chain(3, 2)
    site.anchor(site.file("a.jsonl", anchored, gone))
    kept, never = site.file("a.jsonl", anchored), site.file("b.jsonl", other)
    assert site.found(kept, never) == []
    assert site.found(never, kept) == []


def test_a_chain_is_missed_only_if_all_anchored_sinks_are_verified(site: Site) -> None:
    """It may be in the one that is not read."""
    oldest, gone, other = chain(1, 2), chain(2, 2, start=START + timedelta(minutes=5)), chain(3, 2)
    first, second = site.file("a.jsonl", oldest, gone), site.file("b.jsonl", other)
    site.anchor(first, second)
    site.file("a.jsonl", oldest)
    assert site.found(first) == []
    assert site.found(second) == []
    assert site.found(first, second) == [("removed", uuid7_at(START + timedelta(minutes=5), 2), 0)]
    assert site.verify(first, second).found[0].subject == source(first.as_uri()).uri


def test_a_chain_in_one_of_two_sinks_is_not_missed(site: Site) -> None:
    """Whether it has ended or is being written, and whichever of them has it."""
    oldest, other = chain(1, 2), chain(2, 2, start=START + timedelta(minutes=5))
    killed = chain(3, 2, start=START + timedelta(minutes=6), ended=False)
    first, second = site.file("a.jsonl", oldest), site.file("b.jsonl", other, killed)
    site.anchor(first, second)
    expected = [("interrupted", uuid7_at(START + timedelta(minutes=6), 3), 1)]
    assert site.found(first, second) == expected
    assert site.found(second, first) == expected


def test_progress_is_that_of_each_piece(site: Site) -> None:
    """First of the anchored log in entries, then of each sink in bytes of its files so far."""
    first = site.file("a.jsonl.1", chain(1, 3))
    second = site.file("a.jsonl", chain(2, 2, start=START + MINUTE))
    site.anchor(second)
    seen: list[tuple[str, int, int]] = []
    files = [source(second.as_uri())]
    verify(files, site.log, now=lambda: LATER, progress=lambda *step: seen.append(step))
    sizes = [first.stat().st_size, second.stat().st_size]
    assert seen == [
        ("anchored log", 5, 5),
        (files[0].uri, sizes[0], sum(sizes)),
        (files[0].uri, sum(sizes), sum(sizes)),
    ]
