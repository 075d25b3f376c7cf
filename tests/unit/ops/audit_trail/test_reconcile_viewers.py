"""Unwraps by viewers' own tokens, matched with the events of what people revealed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.ops.audit_trail.read import source
from secure_xcom.ops.audit_trail.reconcile.expected_uses import uses
from secure_xcom.ops.audit_trail.reconcile.match import EventUse, ServerUse, match
from secure_xcom.ops.audit_trail.reconcile.vault_log import read
from secure_xcom.ops.audit_trail.reconcile.viewer_unwraps import display_names, match_viewers
from tests.support.access_logs import KEY, START, chain, write

T = 1_800_000_000.0


def unwrap(at: float, *, viewer: str = "oidc-ana", context: str = "c", ok: bool = True) -> ServerUse:
    """An unwrap by a viewer's token, so many seconds after a moment."""
    return ServerUse(T + at, "vault", "transit/decrypt/x", context, ok, viewer, "10.0.0.1", "id", "log:1", viewer)


def revealed(at: float, *, person: str = "ana", context: str = "c", **fields: Any) -> EventUse:
    """An event `reveal` of a person's browser."""
    known: dict[str, Any] = {"in_browser": True, "person": person, **fields}
    return EventUse(T + at, "vault", context, False, "one", f"event {at}", "orders/1/extract", "file:1", **known)


def by_hand(at: float, *, ok: bool = True) -> EventUse:
    """An event of an operator, who may have the token of a viewer."""
    return EventUse(T + at, "vault", "c", ok, "two", f"event {at}", "orders/1/extract", "file:2", by_hand=True)


def pulled(at: float) -> EventUse:
    """An event of a task."""
    return EventUse(T + at, "vault", "c", True, "three", f"event {at}", "orders/1/extract", "file:3")


def kinds(*given: ServerUse | EventUse, probes: frozenset[str] = frozenset()) -> tuple[list[str], int]:
    """The kinds of gaps in the order of time, and how many events are left for others' unwraps."""
    server = [item for item in given if isinstance(item, ServerUse)]
    events = [item for item in given if isinstance(item, EventUse)]
    names = display_names("oidc", None)
    matched, rest = match_viewers(server, events, names, window=300, skew=60, probes=probes)
    gaps = sorted(matched.gaps, key=lambda gap: gap.details["time"])
    assert all((gap.status == "ok") is (gap.rule in ("probe", "not_asked")) for gap in gaps)
    return [str(gap.rule) for gap in gaps], len(rest)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([revealed(0), unwrap(1)], []),
        # Within clocks and the window; the event comes first.
        ([revealed(0), unwrap(-59)], []),
        ([revealed(0), unwrap(-61)], ["viewer", "not_asked"]),
        ([revealed(0), unwrap(359)], []),
        ([revealed(0), unwrap(361)], ["not_asked", "viewer"]),
        # Past the service, with the person's own token.
        ([unwrap(0)], ["viewer"]),
        # Each unwrap needs an event of its own, also a second one of the same person a moment later.
        ([revealed(0), unwrap(1), unwrap(2)], ["viewer"]),
        ([revealed(0), revealed(5), unwrap(1), unwrap(6)], []),
        # Neither another person's event nor another task's excuses it.
        ([revealed(0), unwrap(1, viewer="oidc-mia")], ["not_asked", "viewer"]),
        ([revealed(0), unwrap(1, context="d")], ["not_asked", "viewer"]),
        ([revealed(0, person="ana"), unwrap(1, viewer="oidc-b-ana")], ["not_asked", "viewer"]),
        ([revealed(0), revealed(0, person="mia"), unwrap(1), unwrap(1, viewer="oidc-mia")], []),
        # Where the log hashes people, the event of any of them.
        ([revealed(0, person=""), unwrap(1)], []),
        ([revealed(0, person=""), unwrap(1), unwrap(1, viewer="oidc-mia")], ["viewer"]),
        # The browser never asked, or the first of two keys refused it.
        ([revealed(0)], ["not_asked"]),
        ([revealed(0), unwrap(1, ok=False), unwrap(2)], []),
        ([revealed(0), unwrap(1, ok=False)], ["not_asked"]),
        ([unwrap(0, ok=False)], ["attempt"]),
        ([revealed(0), unwrap(1), unwrap(2, viewer="oidc-mia", ok=False)], ["attempt"]),
        # An operator who is a viewer as well opened it with the command.
        ([by_hand(1), unwrap(0)], []),
        ([by_hand(1), unwrap(0), unwrap(0.5, viewer="oidc-mia")], ["viewer"]),
        ([by_hand(1, ok=False), unwrap(0, ok=False)], []),
        # `policy verify` with a viewer's token.
        ([unwrap(0, context="probe"), unwrap(1, context="probe", ok=False)], ["probe", "probe"]),
    ],
)
def test_unwraps_by_viewers_need_events_of_their_own(given: list[Any], expected: list[str]) -> None:
    """Each unwrap by a person has a reveal of that person before it."""
    assert kinds(*given, probes=frozenset({"probe"}))[0] == expected


def test_an_event_of_a_task_excuses_no_viewer() -> None:
    """A viewer who unwraps beside an honest pull is found, and the pull keeps its own unwrap."""
    found, rest = kinds(unwrap(0), pulled(1))
    assert (found, rest) == (["viewer"], 1)
    task = ServerUse(T + 0.5, "vault", "transit/decrypt/x", "c", True, "worker", "10.0.0.2", "id", "log:2")
    assert match([task], [pulled(1)]).gaps == ()


def test_people_are_named_as_vault_names_them() -> None:
    """The display name is the mount's path and the person, and in a namespace the whole path."""
    assert display_names("corp/oidc", None)("ana") == {"corp-oidc-ana"}
    assert display_names("oidc", "team/a/")("ana") == {"oidc-ana", "team-a-auth-oidc-ana"}


def test_viewers_are_known_by_their_policies(tmp_path: Path) -> None:
    """A token with a policy of viewers is one of a person, wherever in Vault's record the policy stands."""
    path = tmp_path / "audit.log"

    def line(second: int, **auth: Any) -> str:
        request = {"id": "x", "path": "transit/decrypt/k", "data": {"context": "hmac"}, "remote_address": "::1"}
        return json.dumps(
            {
                "time": f"2026-11-22T10:00:0{second}Z",
                "type": "response",
                "auth": {"display_name": "oidc-ana", **auth},
                "request": request,
                "response": {"data": {"plaintext": "hmac"}},
            }
        )

    lines = [
        line(0, policies=["default", "secure-xcom-viewers-finance"]),
        line(1, policies=["default"], identity_policies=["secure-xcom-viewers-finance"]),
        line(2, policies=["secure-xcom-worker-finance"]),
        line(3, policies=None),
    ]
    path.write_text("\n".join(lines) + "\n")
    assert [use.viewer for use in read([path], {"transit/k"}).uses] == ["oidc-ana", "oidc-ana", "", ""]


def test_a_reveal_tells_by_the_key_who_unwrapped(tmp_path: Path) -> None:
    """Without a key that opened it, a browser may have; with one, the service or the operator did."""
    path = tmp_path / "access-log.jsonl"
    refused = chain(3, 1, action="reveal", outcome="refused", error="AccessRefused", ended=False)
    opened = chain(2, 1, action="reveal", opened_by=KEY, ended=False)
    write(path, [*chain(1, 1, action="reveal", ended=False), *opened, *refused])
    start = START.timestamp()
    found, _ = uses([source(path.as_uri())], {"vault": lambda _: "c"}, start - 1, start + 9)
    flags = [(event.in_browser, event.ok, event.by_hand, event.person) for event in found]
    assert flags == [
        (True, False, False, "ana"), (False, True, True, "ana"), (False, False, True, "ana")
    ]  # fmt: skip
    later, _ = uses([source(path.as_uri())], {"vault": lambda _: "c"}, start + 5, start + 9, browsers_since=start)
    assert [event.in_browser for event in later] == [True]
