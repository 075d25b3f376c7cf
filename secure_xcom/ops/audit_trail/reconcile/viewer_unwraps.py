"""Match unwraps by viewers, who log in at Vault themselves, with the events of what they revealed.

A viewer's token may unwrap what its groups may see, with or without the reveal service. So no event of a task or
of another person excuses an unwrap by a viewer, and each unwrap needs an event of its own. The event comes first:
the service records a reveal before it gives out the sealed bytes that the browser then opens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from secure_xcom.core.findings import Finding
from secure_xcom.ops.audit_trail.reconcile.match import (
    EventUse,
    Matched,
    ServerUse,
    context_of,
    gap_of_event,
    gap_of_use,
    pair,
)

DisplayNames = Callable[[str], Collection[str]]
"""Returns the display names that Vault's log may have for a person who logged in at the viewers' mount."""


def display_names(mount: str, namespace: str | None) -> DisplayNames:
    """Return how Vault names a person in its log: the path of the auth method, with dashes, and the alias.

    Vault trims ``auth/`` from the path of a mount in the root namespace alone (``handleLoginRequest`` in
    vault/request_handling.go).
    """
    path = mount.strip("/")
    paths = [path, f"{namespace.strip('/')}/auth/{path}"] if namespace and namespace.strip("/") else [path]
    return lambda person: {f"{prefix.replace('/', '-')}-{person}" for prefix in paths}


def match_viewers(
    uses: Sequence[ServerUse],
    events: Sequence[EventUse],
    names: DisplayNames,
    *,
    window: float,
    skew: float,
    probes: frozenset[str] = frozenset(),
) -> tuple[Matched, list[EventUse]]:
    """Pair the unwraps by viewers with reveals in their browsers, and with what they opened as operators.

    :param uses: the unwraps by tokens of viewers. :param events: all events.
    :param names: the names of people in Vault's log.
    :param probes: contexts in which `secure-xcom check` and `policy verify` unwrap without an event.
    :return: what was matched, and the events that are left for the unwraps by everybody else.
    """
    by_context: dict[tuple[str, str], tuple[list[ServerUse], list[EventUse]]] = {}
    for event in sorted(events):
        by_context.setdefault((event.service, event.context), ([], []))[1].append(event)
    for use in sorted(uses):
        by_context.setdefault((use.service, use.context), ([], []))[0].append(use)
    gaps: list[Finding] = []
    taken: set[int] = set()
    for (_, context), (their_uses, their_events) in by_context.items():
        shown = [event for event in their_events if event.in_browser]
        by_hand = [event for event in their_events if event.by_hand]
        left: list[ServerUse] = []
        refused: list[ServerUse] = []
        for viewer in sorted({use.viewer for use in their_uses}):
            of_person = [use for use in their_uses if use.viewer == viewer]
            events_of_person = [event for event in shown if not event.person or viewer in names(event.person)]
            free = [event for event in events_of_person if id(event) not in taken]
            paired, unpaired = _after_their_events([use for use in of_person if use.ok], free, window, skew)
            taken.update(id(event) for _, event in paired)
            left += unpaired
            # A browser asks the next key after one that refused, and an operator's failed attempt has an event.
            excuses = [*events_of_person, *(event for event in by_hand if not event.ok)]
            refused += [use for use in of_person if not use.ok and not _near(use, excuses, window + skew)]
        opened, unexplained = pair(sorted(left), [event for event in by_hand if event.ok], window, skew)
        taken.update(id(event) for _, event in opened)
        about = context_of(their_events[0].about if their_events else "")
        gaps += [_unexplained(use, about, probe=context in probes) for use in [*unexplained, *refused]]
        gaps += [_not_asked(event) for event in shown if id(event) not in taken]
    rest = [event for event in events if not event.in_browser and id(event) not in taken]
    return Matched(len(uses), len(events) - len(rest), len(taken), 0, tuple(gaps)), rest


def _unexplained(use: ServerUse, about: str, *, probe: bool) -> Finding:
    if probe:
        return gap_of_use("probe", use, "an unwrap by `secure-xcom check` or `policy verify`")
    if not use.ok:
        text = f"{use.key} refused an unwrap by a viewer, and no event records it"
        return gap_of_use("attempt", use, text + about)
    text = f"{use.key} unwrapped a data key for a viewer, and no event `reveal` of that person records it"
    return gap_of_use("viewer", use, text + about)


def _not_asked(event: EventUse) -> Finding:
    text = (
        f"{event.person or 'a person'} was given an XCom of {event.about} to open, and never asked {event.service}"
    )
    return gap_of_event("not_asked", event, text)


def _near(use: ServerUse, events: Sequence[EventUse], seconds: float) -> bool:
    return any(abs(event.time - use.time) <= seconds for event in events)


def _after_their_events(
    uses: Sequence[ServerUse], events: Sequence[EventUse], window: float, skew: float
) -> tuple[list[tuple[ServerUse, EventUse]], list[ServerUse]]:
    """Return as many pairs of an event and a later use as possible, and the unpaired uses."""
    paired, unpaired = [], []
    waiting = list(events)
    for use in uses:
        event = next((event for event in waiting if -skew <= use.time - event.time <= window + skew), None)
        if event is None:
            unpaired.append(use)
        else:
            waiting.remove(event)
            paired.append((use, event))
    return paired, unpaired
