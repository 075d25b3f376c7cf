"""What happened to one chain that is not as it was written: told from its lines and its sealed entries."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from secure_xcom.ops.audit_trail.entries import Entry
from secure_xcom.ops.audit_trail.findings import Found


class Seen(NamedTuple):
    """A line of the chain, in the order of the files."""

    place: str
    line: int
    entry: Entry


def explain(
    chain: str, lines: Sequence[Seen], sealed: Mapping[int, tuple[str, int]], *, begins_late: bool
) -> list[Found]:
    """What is wrong with a chain, each with its place.

    A sealed entry says what an event was. Behind the sealed ones, an event is believed that the next event names
    by its hash, or that names the one before it.

    :param sealed: sequence -> hash and index of the entry.
    :param begins_late: whether the chain's beginning may have been rotated away.
    """
    by_number: dict[int, list[Seen]] = {}
    for seen in lines:
        by_number.setdefault(seen.entry.sequence, []).append(seen)
    first = min(by_number, default=0) if begins_late else 0
    genuine: dict[int, Seen] = {}
    found: list[Found] = []
    # Numbers that are there, and none between them: a forged line may name any, however high.
    for number in sorted({number for number in (*by_number, *sealed) if number >= first}):
        here = by_number.get(number, [])
        if number in sealed:
            found += _sealed(chain, number, here, sealed[number], genuine)
        elif here:
            found += _unsealed(chain, number, here, by_number, genuine)
    found += _missing(chain, first, by_number, sealed)
    found += _links(chain, genuine, sealed, first)
    found += _order(chain, lines, genuine)
    found += _behind_the_end(chain, genuine)
    return found


def _sealed(
    chain: str, number: int, here: Sequence[Seen], entry: tuple[str, int], genuine: dict[int, Seen]
) -> Iterator[Found]:
    same = [seen for seen in here if seen.entry.hash == entry[0]]
    others = [seen for seen in here if seen.entry.hash != entry[0]]
    if same:
        genuine[number] = same[0]
    elif others:
        edited = others.pop(0)
        text = "not the event that was sealed"
        yield Found("edited", text, edited.place, edited.line, chain, number, entry[1])
        # Its place is known all the same, so that only others are out of order.
        genuine[number] = edited
    for again in same[1:]:
        yield Found("duplicated", "there a second time", again.place, again.line, chain, number, entry[1])
    for other in others:
        text = "another event with the number of a sealed one"
        yield Found("inserted", text, other.place, other.line, chain, number, entry[1])


def _unsealed(
    chain: str,
    number: int,
    here: Sequence[Seen],
    by_number: Mapping[int, Sequence[Seen]],
    genuine: dict[int, Seen],
) -> Iterator[Found]:
    named = {seen.entry.previous for seen in by_number.get(number + 1, ())}
    before = genuine.get(number - 1)

    def trust(seen: Seen) -> tuple[bool, bool]:
        follows = before is not None and seen.entry.previous == before.entry.hash
        return seen.entry.hash in named, follows

    best = max(here, key=trust)
    genuine[number] = best
    for other in here:
        if other is best:
            continue
        if other.entry.hash == best.entry.hash:
            yield Found("duplicated", "there a second time", other.place, other.line, chain, number)
        else:
            text = "another event with the same number"
            yield Found("inserted", text, other.place, other.line, chain, number)


def _missing(
    chain: str, first: int, by_number: Mapping[int, Sequence[Seen]], sealed: Mapping[int, tuple[str, int]]
) -> Iterator[Found]:
    following = first
    for number in sorted(by_number):
        if number > following:
            # The line of the next event that is there says where in the file it should have been.
            beside = by_number[number][0]
            text = "missing before this line"
            if number - following > 1:
                text = f"{number - following} events up to {number - 1} are {text}"
            entry = sealed[following][1] if following in sealed else None
            yield Found("removed", text, beside.place, beside.line, chain, following, entry)
        following = max(following, number + 1)
    tail = sorted(number for number in sealed if number >= following)
    if tail and by_number:
        end = by_number[max(by_number)][0]
        text = f"ends here, and was sealed up to event {tail[-1]}"
        yield Found("truncated", text, end.place, end.line, chain, tail[0], sealed[tail[0]][1])


def _links(
    chain: str, genuine: Mapping[int, Seen], sealed: Mapping[int, tuple[str, int]], first: int
) -> Iterator[Found]:
    """Events whose hash is not the one that the next names. Where two links in a row are broken, it is the one
    between them that was changed; where one is, it is the one before it, whose bytes were named before.
    """
    broken = [
        number
        for number, seen in sorted(genuine.items())
        if number > first
        and number - 1 in genuine
        and not (number in sealed and number - 1 in sealed)
        and seen.entry.previous != genuine[number - 1].entry.hash
    ]
    start = genuine.get(0)
    if start is not None and 0 not in sealed and set(start.entry.previous) != {"0"}:
        yield Found("edited", "names an event before the first", start.place, start.line, chain, 0)
    while broken:
        number = broken.pop(0)
        if broken and broken[0] == number + 1:
            broken.pop(0)
            edited = number
        else:
            # A sealed event is what it was, so it is the one behind it that was changed.
            edited = number if number - 1 in sealed else number - 1
        if edited in sealed:
            continue
        seen = genuine[edited]
        text = "not the event that its neighbour names by its hash"
        yield Found("edited", text, seen.place, seen.line, chain, edited)


def _order(chain: str, lines: Sequence[Seen], genuine: Mapping[int, Seen]) -> Iterator[Found]:
    """The fewest lines that must be put elsewhere so that all are in order: those outside a longest rising run."""
    there = [seen for seen in lines if genuine.get(seen.entry.sequence) is seen]
    numbers = [seen.entry.sequence for seen in there]
    ends: list[int] = []
    length_at: list[int] = []
    for number in numbers:
        at = bisect_left(ends, number)
        ends[at : at + 1] = [number]
        length_at.append(at)
    want, kept = len(ends) - 1, set()
    for at in reversed(range(len(numbers))):
        if length_at[at] == want:
            kept.add(at)
            want -= 1
    for at, seen in enumerate(there):
        if at not in kept:
            text = "not at its place among the events of its chain"
            yield Found("reordered", text, seen.place, seen.line, chain, seen.entry.sequence)


def _behind_the_end(chain: str, genuine: Mapping[int, Seen]) -> Iterator[Found]:
    ends = [number for number, seen in genuine.items() if seen.entry.ends]
    for number, seen in sorted(genuine.items()):
        if ends and number > min(ends):
            text = "behind the event that ended the chain"
            yield Found("inserted", text, seen.place, seen.line, chain, number)
