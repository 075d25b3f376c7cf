"""Find out what happened to a chain that is not as it was written, from its lines and its anchored entries."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from secure_xcom.core.findings import Finding
from secure_xcom.ops.audit_trail.entries import Entry
from secure_xcom.ops.audit_trail.log_findings import log_finding


class Seen(NamedTuple):
    """A line of the chain, in the order of the files."""

    place: str
    line: int
    entry: Entry


def explain(
    chain: str,
    lines: Sequence[Seen],
    anchored: Mapping[int, tuple[str, int]],
    *,
    begins_late: bool,
    ended_at: int | None = None,
) -> list[Finding]:
    """Return the problems of a chain, each with its place.

    An anchored entry proves what an event was. After the anchored ones, an event is trusted if the next event
    names its hash, or if it names the hash of the event before it.

    :param anchored: sequence number -> hash and index of the anchored entry.
    :param begins_late: whether the chain's start may have been rotated away.
    :param ended_at: the number of the event that ended the chain, if an anchored one did.
    """
    by_number: dict[int, list[Seen]] = {}
    for seen in lines:
        by_number.setdefault(seen.entry.sequence, []).append(seen)
    first = min(by_number, default=0) if begins_late else 0
    genuine: dict[int, Seen] = {}
    findings: list[Finding] = []
    # Only numbers that occur are visited: a forged line may have any number, however high.
    for number in sorted({number for number in (*by_number, *anchored) if number >= first}):
        candidates = by_number.get(number, [])
        if number in anchored:
            event, problems = _anchored(chain, number, candidates, anchored[number])
        else:
            event, problems = _not_anchored(
                chain, number, candidates, by_number.get(number + 1, ()), genuine.get(number - 1)
            )
        findings += problems
        if event is not None:
            genuine[number] = event
    findings += _missing(chain, first, by_number, anchored)
    findings += _links(chain, genuine, anchored, first)
    findings += _order(chain, lines, genuine)
    findings += _after_the_end(chain, genuine, ended_at)
    return findings


def _anchored(
    chain: str, number: int, candidates: Sequence[Seen], entry: tuple[str, int]
) -> tuple[Seen | None, list[Finding]]:
    """Return the line of an anchored event, and the problems of all lines with its number."""
    same = [seen for seen in candidates if seen.entry.hash == entry[0]]
    different = [seen for seen in candidates if seen.entry.hash != entry[0]]
    findings = []
    event = same[0] if same else None
    if event is None and different:
        # The line's place is known all the same, so that only other lines are out of order.
        event = different.pop(0)
        text = "not the event that was anchored"
        findings.append(log_finding("edited", text, event.place, event.line, chain, number, entry[1]))
    for copy in same[1:]:
        text = "the same event a second time"
        findings.append(log_finding("duplicated", text, copy.place, copy.line, chain, number, entry[1]))
    for seen in different:
        text = "another event with the number of an anchored one"
        findings.append(log_finding("inserted", text, seen.place, seen.line, chain, number, entry[1]))
    return event, findings


def _not_anchored(
    chain: str, number: int, candidates: Sequence[Seen], following: Sequence[Seen], previous: Seen | None
) -> tuple[Seen, list[Finding]]:
    """Return the most trusted line of an event, and the problems of all lines with its number."""
    named = {seen.entry.previous for seen in following}

    def trust(seen: Seen) -> tuple[bool, bool]:
        continues = previous is not None and seen.entry.previous == previous.entry.hash
        return seen.entry.hash in named, continues

    best = max(candidates, key=trust)
    findings = []
    for seen in candidates:
        if seen is best:
            continue
        if seen.entry.hash == best.entry.hash:
            text = "the same event a second time"
            findings.append(log_finding("duplicated", text, seen.place, seen.line, chain, number))
        else:
            text = "another event with the same number"
            findings.append(log_finding("inserted", text, seen.place, seen.line, chain, number))
    return best, findings


def _missing(
    chain: str, first: int, by_number: Mapping[int, Sequence[Seen]], anchored: Mapping[int, tuple[str, int]]
) -> Iterator[Finding]:
    following = first
    for number in sorted(by_number):
        if number > following:
            # The line of the next event shows where in the file the missing one should be.
            neighbor = by_number[number][0]
            text = "missing before this line"
            if number - following > 1:
                text = f"{number - following} events up to {number - 1} are {text}"
            entry = anchored[following][1] if following in anchored else None
            yield log_finding("removed", text, neighbor.place, neighbor.line, chain, following, entry)
        following = max(following, number + 1)
    tail = sorted(number for number in anchored if number >= following)
    if tail and by_number:
        end = by_number[max(by_number)][0]
        text = f"ends here, but was anchored up to event {tail[-1]}"
        yield log_finding("truncated", text, end.place, end.line, chain, tail[0], anchored[tail[0]][1])


def _links(
    chain: str, genuine: Mapping[int, Seen], anchored: Mapping[int, tuple[str, int]], first: int
) -> Iterator[Finding]:
    """Return the events whose hash is not the one that the next event names.

    Where two links in a row are broken, the event between them was changed. Where one link is broken, it is the
    event before it, whose bytes were named earlier.
    """
    broken = [
        number
        for number, seen in sorted(genuine.items())
        if number > first
        and number - 1 in genuine
        and not (number in anchored and number - 1 in anchored)
        and seen.entry.previous != genuine[number - 1].entry.hash
    ]
    start = genuine.get(0)
    if start is not None and 0 not in anchored and set(start.entry.previous) != {"0"}:
        yield log_finding("edited", "names an event before the first", start.place, start.line, chain, 0)
    while broken:
        number = broken.pop(0)
        if broken and broken[0] == number + 1:
            broken.pop(0)
            edited = number
        else:
            # An anchored event is unchanged, so the event after it was changed.
            edited = number if number - 1 in anchored else number - 1
        if edited in anchored:
            continue
        seen = genuine[edited]
        text = "not the event whose hash its neighbor names"
        yield log_finding("edited", text, seen.place, seen.line, chain, edited)


def _order(chain: str, lines: Sequence[Seen], genuine: Mapping[int, Seen]) -> Iterator[Finding]:
    """Return the fewest lines that must move to restore the order: those outside a longest rising subsequence."""
    trusted = [seen for seen in lines if genuine.get(seen.entry.sequence) is seen]
    numbers = [seen.entry.sequence for seen in trusted]
    ends: list[int] = []
    lengths: list[int] = []
    for number in numbers:
        length = bisect_left(ends, number)
        ends[length : length + 1] = [number]
        lengths.append(length)
    wanted, kept = len(ends) - 1, set()
    for index in reversed(range(len(numbers))):
        if lengths[index] == wanted:
            kept.add(index)
            wanted -= 1
    for index, seen in enumerate(trusted):
        if index not in kept:
            text = "out of order among the events of its chain"
            yield log_finding("reordered", text, seen.place, seen.line, chain, seen.entry.sequence)


def _after_the_end(chain: str, genuine: Mapping[int, Seen], ended_at: int | None) -> Iterator[Finding]:
    ends = [number for number, seen in genuine.items() if seen.entry.ends]
    if ended_at is not None:
        ends.append(ended_at)
    for number, seen in sorted(genuine.items()):
        if ends and number > min(ends):
            text = "after the event that ended the chain"
            yield log_finding("inserted", text, seen.place, seen.line, chain, number)
