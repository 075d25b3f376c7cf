"""Match the uses in a key service's log with events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from secure_xcom.core.findings import Finding

WINDOW_SECONDS = 300.0
"""How long after an unwrap its event may be written: the payload is fetched and opened in between."""

SKEW_SECONDS = 60.0
"""How far the clocks of a worker and of a key service may differ."""

RETRY_SECONDS = 90.0
"""How far apart two requests of one attempt may be: `secure_xcom.connections.vault.client` retries for 60 seconds,
and a request may take 10."""

UNKNOWN = "?"
"""The identity, where the log does not name it."""

# Events of one batch are written within microseconds; a request takes longer than this.
_BATCH_SECONDS = 0.002


class ServerUse(NamedTuple):
    """One unwrap in a key service's log; each entry of a batch is one.

    :ivar time: seconds since 1970. :ivar context: the encryption context, as this service's log writes it.
    :ivar ok: whether a data key was returned. :ivar who: the identity, as the log names it.
    :ivar viewer: the display name of the token, if it has a policy of the access policy's viewers.
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
    viewer: str = ""


class EventUse(NamedTuple):
    """One event that must, or may, have a server record.

    :ivar ok: whether a data key was unwrapped for it, so that a record must exist.
    :ivar about: the task that the XCom belongs to.
    :ivar by_hand: whether an operator may have unwrapped with a login of their own: open, and reveal --here.
    :ivar in_browser: whether a person was given sealed bytes and wraps, which the person's browser may unwrap.
    :ivar person: who that is, as the person logged in; empty where the log hashes it.
    """

    time: float
    service: str
    context: str
    ok: bool
    chain: str
    event: str
    about: str
    place: str
    by_hand: bool = False
    in_browser: bool = False
    person: str = ""


Kind = Literal["outside", "attempt", "viewer", "exported", "no_record", "repeated", "probe", "not_asked"]

# Explained by what the product itself does, so nobody needs to act.
_NOTES: tuple[Kind, ...] = ("repeated", "probe", "not_asked")


def gap_of_use(kind: Kind, use: ServerUse, text: str) -> Finding:
    """Return the finding that the access log has nothing for a use."""
    return _gap(kind, use.place, text, time=use.time, who=use.who, address=use.address, request=use.request)


def gap_of_event(kind: Kind, event: EventUse, text: str) -> Finding:
    """Return the finding that a key service has nothing for an event."""
    return _gap(kind, event.place, text, time=event.time, event=event.event)


def _gap(
    kind: Kind,
    place: str,
    text: str,
    *,
    time: float,
    who: str = "",
    address: str = "",
    request: str = "",
    event: str = "",
) -> Finding:
    details = {"time": time, "who": who, "address": address, "request": request, "event": event}
    return Finding(place, "ok" if kind in _NOTES else "error", text, rule=kind, details=details)


def record(gap: Finding) -> dict[str, Any]:
    """Return the finding as a JSON object; ``time`` is in seconds since 1970."""
    return {
        "kind": gap.rule,
        "time": gap.details["time"],
        "text": gap.text,
        "place": gap.subject,
        **gap.record("who", "address", "request", "event"),
        "finding": gap.status != "ok",
    }


@dataclass(frozen=True, slots=True)
class Matched:
    """The result of a comparison.

    :ivar uses: unwraps in the services' logs. :ivar events: events that may have caused one.
    :ivar shared: events whose data key another event of the same process and request had unwrapped.
    :ivar gaps: what only one of the two logs has, in order of time.
    """

    uses: int = 0
    events: int = 0
    pairs: int = 0
    shared: int = 0
    gaps: tuple[Finding, ...] = ()

    def plus(self, other: Matched) -> Matched:
        """Return this result and another one as one."""
        return Matched(
            self.uses + other.uses,
            self.events + other.events,
            self.pairs + other.pairs,
            self.shared + other.shared,
            tuple(sorted([*self.gaps, *other.gaps], key=lambda gap: gap.details["time"])),
        )


def match(
    uses: Iterable[ServerUse],
    events: Iterable[EventUse],
    *,
    window: float = WINDOW_SECONDS,
    skew: float = SKEW_SECONDS,
    probes: frozenset[str] = frozenset(),
    proofs: frozenset[str] = frozenset(),
) -> Matched:
    """Pair uses and events of the same context in order of time, each once.

    :param probes: contexts that `secure-xcom check` unwraps without an event.
    :param proofs: contexts that no wrap has; workers with a scoped grant check that the key service refuses them.
    """
    by_context: dict[tuple[str, str], tuple[list[ServerUse], list[EventUse]]] = {}
    for use in uses:
        by_context.setdefault((use.service, use.context), ([], []))[0].append(use)
    for event in events:
        by_context.setdefault((event.service, event.context), ([], []))[1].append(event)
    results = [
        _match_context(
            sorted(context_uses),
            sorted(context_events),
            window,
            skew,
            # An XCom of these ids has events, and its unwraps need them like any other's.
            probe=context in probes and not context_events,
            proof=context in proofs,
        )
        for (_, context), (context_uses, context_events) in by_context.items()
    ]
    gaps = [gap for result in results for gap in result.gaps]
    return Matched(
        sum(result.uses for result in results),
        sum(result.events for result in results),
        sum(result.pairs for result in results),
        sum(result.shared for result in results),
        tuple(sorted(gaps, key=lambda gap: gap.details["time"])),
    )


def _match_context(
    uses: Sequence[ServerUse],
    events: Sequence[EventUse],
    window: float,
    skew: float,
    *,
    probe: bool,
    proof: bool,
) -> Matched:
    task = next((event.about for event in events), "")
    required, possible = _expected([event for event in events if event.ok], window)
    paired, remaining = pair([use for use in uses if use.ok], required, window, skew)
    more_pairs, unmatched = pair(remaining, possible, window, skew)
    # The same event may have a refused request and then a successful one.
    failed_pairs, refused = pair(
        [use for use in uses if not use.ok], [event for event in events if not event.ok], window, skew
    )
    pairs = [*paired, *more_pairs, *failed_pairs]
    gaps = [_unmatched(use, paired + more_pairs, task, probe=probe) for use in unmatched]
    for use in refused:
        if any(_one_attempt(use, other, event, window, skew) for other, event in pairs):
            continue
        if proof:
            gaps.append(gap_of_use("probe", use, f"a worker's own check that {use.key} is a derived key"))
        elif probe:
            gaps.append(gap_of_use("probe", use, "an unwrap by `secure-xcom check` that was refused"))
        else:
            text = f"{use.key} refused an unwrap, and no event records it"
            gaps.append(gap_of_use("attempt", use, text + context_of(task)))
    answered = {id(event) for _, event in paired}
    for event in required:
        if id(event) not in answered:
            text = f"{event.service} has no record for this event about {event.about}"
            gaps.append(gap_of_event("no_record", event, text))
    shared = sum(event.ok for event in events) - len(required) - len(more_pairs)
    return Matched(len(uses), len(events), len(pairs), shared, tuple(gaps))


def _expected(events: Sequence[EventUse], window: float) -> tuple[list[EventUse], list[EventUse]]:
    """Return the events that must have a use of their own, and the events that may have one.

    A process unwraps a data key once for all XComs of one request, and writes their events in one batch. Later it
    has the key in memory, unless the cache is disabled or the key has expired.
    """
    required: list[EventUse] = []
    possible: list[EventUse] = []
    of_chain: dict[str, tuple[EventUse, EventUse]] = {}
    for event in events:
        first, last = of_chain.get(event.chain, (None, None))
        if first is None or last is None or event.time - first.time > window:
            required.append(event)
            first = event
        elif event.time - last.time > _BATCH_SECONDS:
            possible.append(event)
        of_chain[event.chain] = (first, event)
    return required, possible


def pair(
    uses: Sequence[ServerUse], events: Sequence[EventUse], window: float, skew: float
) -> tuple[list[tuple[ServerUse, EventUse]], list[ServerUse]]:
    """Return as many pairs as possible, each use with its earliest possible event, and the unpaired uses."""
    paired, unpaired = [], []
    index = 0
    for use in uses:
        while index < len(events) and events[index].time < use.time - skew:
            index += 1
        if index < len(events) and events[index].time <= use.time + window + skew:
            paired.append((use, events[index]))
            index += 1
        else:
            unpaired.append(use)
    return paired, unpaired


def _one_attempt(use: ServerUse, other: ServerUse, event: EventUse, window: float, skew: float) -> bool:
    """Check whether a refusal belongs to the attempt that ended with another use and its event.

    Only the same worker counts, with another key of the reference or with the same key a moment later. For a token
    that had expired, Vault does not log the identity.
    """
    same = other.address == use.address and (other.who == use.who or use.who.split(" ")[0] == UNKNOWN)
    close = abs(other.time - use.time) <= RETRY_SECONDS
    return same and close and use.time - skew <= event.time <= use.time + window + skew


def _unmatched(use: ServerUse, paired: Sequence[tuple[ServerUse, EventUse]], task: str, *, probe: bool) -> Finding:
    # A process retries before it writes the event and never afterwards, so a later use is not a retry.
    is_retry = any(
        (other.who, other.address) == (use.who, use.address)
        and other.time <= use.time <= event.time
        and use.time - other.time <= RETRY_SECONDS
        for other, event in paired
    )
    if probe:
        return gap_of_use("probe", use, "an unwrap by `secure-xcom check`")
    if is_retry:
        text = f"{use.key} unwrapped the same data key again for the same identity: a retry after a lost response"
        return gap_of_use("repeated", use, text + context_of(task))
    text = (
        f"{use.key} unwrapped a data key, and no event records it: it was used outside secure_xcom, or a process"
    )
    return gap_of_use("outside", use, f"{text} was killed before it wrote the event{context_of(task)}")


def context_of(task: str) -> str:
    """Return the end of a finding's text that names the task, where it is known."""
    return f" (context of {task})" if task else ""
