"""Our own events, as what a key service must have logged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.errors import SecureXComError, UriInvalid
from secure_xcom.core.hashed_ids import is_hashed
from secure_xcom.keys.vault import split_uri
from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.read import Source, raw_lines
from secure_xcom.ops.audit_trail.reconcile.match import EventUse
from secure_xcom.ops.audit_trail.reconcile.vault_log import seconds_of

Namer = Callable[[Mapping[str, str]], str]
"""Gives an encryption context the form that it has in a service's log."""


@dataclass(slots=True)
class Counts:
    """What was read.

    :ivar hashed: events whose ids are hashes: their contexts are not known, so they cannot be held against a log.
    """

    events: int = 0
    cached: int = 0
    hashed: int = 0


def uses(
    sources: Sequence[Source], namers: Mapping[str, Namer], since: float, until: float, counts: Counts
) -> Iterator[EventUse]:
    """Events of a time that asked a service whose log is at hand, or may have.

    :param namers: service (``vault``, ``aws-kms``) -> how its log writes a context.
    :raises AccessLogUnreadable: a sink cannot be read.
    """
    seen: set[str] = set()
    for line in raw_lines(sources):
        record = entries.event_of(line.data)
        if record is None or record.get("action") not in ("pull", "open", "claim"):
            continue
        try:
            moment = seconds_of(str(record.get("time")))
        except ValueError:
            continue
        # The same event may lie in several sinks.
        number = str(record.get("id"))
        if not since <= moment <= until or number in seen:
            continue
        seen.add(number)
        counts.events += 1
        if record.get("cache_hit"):
            counts.cached += 1
            continue
        context = _context(record)
        if context is None:
            counts.hashed += 1
            continue
        opened = str(record.get("opened_by") or "")
        for service, gave in _services(record, opened).items():
            if service in namers:
                yield EventUse(
                    moment,
                    service,
                    namers[service](context),
                    gave,
                    str(record.get("chain")),
                    number,
                    "/".join(context[part] for part in ("dag_id", "run_id", "task_id")),
                    f"{line.place}:{line.number}",
                )


def _services(record: Mapping[str, Any], opened: str) -> dict[str, bool]:
    """The services of its keys, each of which may have been asked, and whether it is the one that opened it."""
    found = {_scheme(str(key.get("uri"))): False for key in record.get("keys") or ()}
    return {**found, _scheme(opened): True} if opened else found


def _scheme(uri: str) -> str:
    return uri.partition("://")[0]


def _context(record: Mapping[str, Any]) -> dict[str, str] | None:
    producer, compartment = record.get("producer"), record.get("compartment")
    if not isinstance(producer, dict) or not isinstance(compartment, str):
        return None
    if any(is_hashed(str(producer.get(name))) for name in ("dag_id", "run_id", "task_id")):
        return None
    try:
        known = Coordinate(
            producer["dag_id"], producer["run_id"], producer["task_id"], producer["map_index"], "key"
        )
    except (KeyError, SecureXComError):
        return None
    return encryption_context(compartment, known)


def transit_keys(sources: Sequence[Source], listed: Sequence[str]) -> set[str]:
    """``MOUNT/NAME`` of every transit key that the settings list or an event names."""
    uris = set(listed)
    for line in raw_lines(sources):
        record = entries.event_of(line.data) or {}
        uris.update(str(key.get("uri")) for key in record.get("keys") or ())
    found = set()
    for uri in uris:
        try:
            _, mount, name, _ = split_uri(uri)
        except UriInvalid:
            # A key of another service.
            continue
        found.add(f"{mount}/{name}")
    return found
