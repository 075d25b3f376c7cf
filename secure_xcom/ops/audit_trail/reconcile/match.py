"""Which use in a key service's log belongs to which event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

WINDOW_SECONDS = 300.0
"""How long after an unwrap its event may be written: the payload is fetched and opened in between."""

SKEW_SECONDS = 60.0
"""How far a worker's clock and a key service's may be apart."""

RETRY_SECONDS = 90.0
"""How far apart two requests of one attempt may be: `secure_xcom.connections.vault.client` gives up after 60
seconds, and a request may be silent for 10."""


UNKNOWN = "?"
"""Who asked, where the log does not say it."""

# Events of one batch are written within microseconds; a request takes longer than this.
_ONE_GO_SECONDS = 0.002


class ServerUse(NamedTuple):
    """One unwrap that a key service has logged; each entry of a batch is one.

    :ivar time: seconds since 1970. :ivar context: the encryption context, as this service's log has it.
    :ivar ok: whether a data key was given. :ivar who: the identity, as the log names it.
    """

    time: float
    service: str
    key: str
    context: str
    ok: bool
    who: str
    address: str
    request: str
    place: str


class EventUse(NamedTuple):
    """One event of ours that must, or may, have a server record.

    :ivar ok: whether a data key was unwrapped for it, so that a record must be there.
    """

    time: float
    service: str
    context: str
    ok: bool
    chain: str
    event: str
    about: str
    place: str


Kind = Literal["outside", "attempt", "exported", "no_record", "repeated", "probe"]

NOTES: tuple[Kind, ...] = ("repeated", "probe")
"""What is told and is no finding."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that only one of the two logs has."""

    kind: Kind
    time: float
    text: str
    place: str
    who: str = ""
    address: str = ""
    request: str = ""
    event: str = ""

    @property
    def finding(self) -> bool:
        """Whether somebody should look at it."""
        return self.kind not in NOTES


@dataclass(slots=True)
class Matched:
    """What was compared.

    :ivar shared: events whose data key another event of the same process and request had unwrapped.
    """

    uses: int = 0
    events: int = 0
    pairs: int = 0
    shared: int = 0
    gaps: list[Gap] = field(default_factory=list)


def match(
    uses: Iterable[ServerUse],
    events: Iterable[EventUse],
    *,
    window: float = WINDOW_SECONDS,
    skew: float = SKEW_SECONDS,
    probes: frozenset[str] = frozenset(),
    proofs: frozenset[str] = frozenset(),
) -> Matched:
    """Pair uses and events of the same context in the order of time, each once.

    :param probes: contexts that `secure-xcom check` unwraps without an event.
    :param proofs: contexts that no wrap has, which workers with a scoped grant have refused to them.
    """
    done = Matched()
    by_context: dict[tuple[str, str], tuple[list[ServerUse], list[EventUse]]] = {}
    for use in uses:
        by_context.setdefault((use.service, use.context), ([], []))[0].append(use)
        done.uses += 1
    for event in events:
        by_context.setdefault((event.service, event.context), ([], []))[1].append(event)
        done.events += 1
    for (_, context), (some_uses, some_events) in by_context.items():
        proof = context in proofs
        _match_context(
            sorted(some_uses), sorted(some_events), window, skew, done, probe=context in probes, proof=proof
        )
    done.gaps.sort(key=lambda gap: gap.time)
    return done


def _match_context(
    uses: Sequence[ServerUse],
    events: Sequence[EventUse],
    window: float,
    skew: float,
    done: Matched,
    *,
    probe: bool,
    proof: bool,
) -> None:
    known = next((event.about for event in events), "")
    given = [use for use in uses if use.ok]
    firsts, more = _asked([event for event in events if event.ok], window)
    paired, left = _pairs(given, firsts, window, skew)
    again, lone_uses = _pairs(left, more, window, skew)
    answered = {id(event) for _, event in paired}
    # A try that failed may be followed by one that did not, for the same event.
    tried, refused = _pairs(
        [use for use in uses if not use.ok], [one for one in events if not one.ok], window, skew
    )
    asked = [*paired, *again, *tried]
    lone_refusals = [
        use for use in refused if not any(_one_attempt(use, one, event, window, skew) for one, event in asked)
    ]
    done.pairs += len(paired) + len(again) + len(tried)
    for use in lone_uses:
        done.gaps.append(_of_use(use, paired + again, known, probe=probe))
    for use in lone_refusals:
        if proof:
            done.gaps.append(_gap("probe", use, f"a worker's own proof that {use.key} is of a derived key"))
            continue
        text = f"{use.key} refused an unwrap that no event tells of" + _about(known)
        done.gaps.append(Gap("attempt", use.time, text, use.place, use.who, use.address, use.request))
    for event in firsts:
        if id(event) not in answered:
            text = f"no record of {event.service} belongs to this event about {event.about}"
            done.gaps.append(Gap("no_record", event.time, text, event.place, event=event.event))
    done.shared += sum(event.ok for event in events) - len(firsts) - len(again)


def _asked(events: Sequence[EventUse], window: float) -> tuple[list[EventUse], list[EventUse]]:
    """Events that must have a use of their own, and events that may have one.

    A process unwraps a data key once for all XComs that it asks for at once, and their events are written in one
    go; what it asks for later is in its memory, unless that was switched off or has run out.
    """
    firsts: list[EventUse] = []
    more: list[EventUse] = []
    of_chain: dict[str, tuple[EventUse, EventUse]] = {}
    for event in events:
        first, last = of_chain.get(event.chain, (None, None))
        if first is None or last is None or event.time - first.time > window:
            firsts.append(event)
            first = event
        elif event.time - last.time > _ONE_GO_SECONDS:
            more.append(event)
        of_chain[event.chain] = (first, event)
    return firsts, more


def _pairs(
    uses: Sequence[ServerUse], events: Sequence[EventUse], window: float, skew: float
) -> tuple[list[tuple[ServerUse, EventUse]], list[ServerUse]]:
    """Each use with the earliest event that it can belong to: as many pairs as there can be."""
    paired, lone = [], []
    at = 0
    for use in uses:
        while at < len(events) and events[at].time < use.time - skew:
            at += 1
        if at < len(events) and events[at].time <= use.time + window + skew:
            paired.append((use, events[at]))
            at += 1
        else:
            lone.append(use)
    return paired, lone


def _one_attempt(use: ServerUse, one: ServerUse, event: EventUse, window: float, skew: float) -> bool:
    """Whether a refusal belongs to the attempt that ended with another use and its event.

    That is so for the same worker alone: another key of the reference, or the same one a moment later. Of a login
    that had ended Vault does not say whose it was.
    """
    same = one.address == use.address and (one.who == use.who or use.who.split(" ")[0] == UNKNOWN)
    close = abs(one.time - use.time) <= RETRY_SECONDS
    return same and close and use.time - skew <= event.time <= use.time + window + skew


def _of_use(use: ServerUse, paired: Sequence[tuple[ServerUse, EventUse]], known: str, *, probe: bool) -> Gap:
    # A process asks again before it writes the event, and never afterwards: what comes later is no retry.
    again = any(
        (one.who, one.address) == (use.who, use.address)
        and one.time <= use.time <= event.time
        and use.time - one.time <= RETRY_SECONDS
        for one, event in paired
    )
    if probe:
        return _gap("probe", use, "an unwrap of `secure-xcom check`")
    if again:
        text = f"{use.key} unwrapped the same once more for the same identity: a lost answer that was asked again"
        return _gap("repeated", use, text + _about(known))
    text = f"{use.key} unwrapped a data key and no event tells of it: used outside secure_xcom, or by a process"
    return _gap("outside", use, f"{text} that was killed before it could write{_about(known)}")


def _gap(kind: Kind, use: ServerUse, text: str) -> Gap:
    return Gap(kind, use.time, text, use.place, use.who, use.address, use.request)


def _about(known: str) -> str:
    return f" (context of {known})" if known else ""
