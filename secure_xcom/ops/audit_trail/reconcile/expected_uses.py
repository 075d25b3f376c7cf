"""The uses that a key service must have logged, according to the access log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.errors import SecureXComError, UriInvalid
from secure_xcom.keys.vault import split_uri
from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.pieces import Source
from secure_xcom.ops.audit_trail.read import raw_lines
from secure_xcom.ops.audit_trail.reconcile.match import EventUse
from secure_xcom.ops.audit_trail.reconcile.vault_log import seconds_of
from secure_xcom.sinks.hashed_ids import is_hashed

Namer = Callable[[Mapping[str, str]], str]
"""Returns an encryption context in the form of a service's log."""


_UNWRAPPING = ("pull", "open", "claim", "reveal")


@dataclass(slots=True)
class Counts:
    """How many events were read.

    :ivar cached: events whose data key was in memory. :ivar hashed: events whose ids are hashes, so that their
        contexts are unknown and they cannot be compared.
    """

    events: int = 0
    cached: int = 0
    hashed: int = 0


def uses(
    sources: Sequence[Source],
    namers: Mapping[str, Namer],
    since: float,
    until: float,
    *,
    browsers_since: float | None = None,
) -> tuple[list[EventUse], Counts]:
    """Return the events of a period that called, or may have called, a service whose log is available.

    :param namers: service (``vault``, ``aws-kms``) -> the form of a context in its log.
    :param browsers_since: the start of the period for reveals in a browser, which unwraps after the event; None
        for the same.
    :returns: the uses, and how many events were read.
    :raises AccessLogUnreadable: a sink cannot be read.
    """
    counts, expected = Counts(), list[EventUse]()
    seen: set[str] = set()
    for line in raw_lines(sources):
        record = entries.event_of(line.data)
        if record is None or record.get("action") not in _UNWRAPPING:
            continue
        try:
            moment = seconds_of(str(record.get("time")))
        except ValueError:
            continue
        # The same event may be in several sinks.
        event_id = str(record.get("id"))
        opened_by = str(record.get("opened_by") or "")
        in_browser = record["action"] == "reveal" and record.get("outcome") == "ok" and not opened_by
        start = since if browsers_since is None or not in_browser else browsers_since
        if not start <= moment <= until or event_id in seen:
            continue
        seen.add(event_id)
        counts.events += 1
        if record.get("cache_hit"):
            counts.cached += 1
            continue
        context = _context(record)
        if context is None:
            counts.hashed += 1
            continue
        operator = str(record.get("operator") or "")
        for service, unwrapped in _services(record, opened_by).items():
            if service in namers:
                expected.append(
                    EventUse(
                        moment,
                        service,
                        namers[service](context),
                        unwrapped,
                        str(record.get("chain")),
                        event_id,
                        "/".join(context[part] for part in ("dag_id", "run_id", "task_id")),
                        f"{line.place}:{line.number}",
                        by_hand=record["action"] in ("open", "reveal") and not in_browser,
                        in_browser=in_browser,
                        person="" if is_hashed(operator) else operator,
                    )
                )
    return expected, counts


def _services(record: Mapping[str, Any], opened_by: str) -> dict[str, bool]:
    """Return each service that may have been called -> whether it unwrapped the data key."""
    services = {_scheme(str(key.get("uri"))): False for key in record.get("keys") or ()}
    return {**services, _scheme(opened_by): True} if opened_by else services


def _scheme(uri: str) -> str:
    return uri.partition("://")[0]


def _context(record: Mapping[str, Any]) -> dict[str, str] | None:
    producer, compartment = record.get("producer"), record.get("compartment")
    if not isinstance(producer, dict) or not isinstance(compartment, str):
        return None
    if any(is_hashed(str(producer.get(name))) for name in ("dag_id", "run_id", "task_id")):
        return None
    try:
        coordinate = Coordinate(
            producer["dag_id"], producer["run_id"], producer["task_id"], producer["map_index"], "key"
        )
    except (KeyError, SecureXComError):
        return None
    return encryption_context(compartment, coordinate)


def transit_keys(sources: Sequence[Source], listed: Sequence[str]) -> set[str]:
    """Return ``MOUNT/NAME`` of every transit key that the settings list or an event names."""
    uris = set(listed)
    for line in raw_lines(sources):
        record = entries.event_of(line.data) or {}
        uris.update(str(key.get("uri")) for key in record.get("keys") or ())
    keys = set()
    for uri in uris:
        try:
            _, mount, name, _ = split_uri(uri)
        except UriInvalid:
            # This is a key of another service.
            continue
        keys.add(f"{mount}/{name}")
    return keys


def dag_ids(sources: Sequence[Source]) -> set[str]:
    """Return the id of every DAG that an event names, as a producer or a consumer; hashed ids are left out."""
    ids: set[str] = set()
    for line in raw_lines(sources):
        record = entries.event_of(line.data) or {}
        for side in ("producer", "consumer"):
            task = record.get(side)
            if isinstance(task, dict) and isinstance(dag_id := task.get("dag_id"), str) and not is_hashed(dag_id):
                ids.add(dag_id)
    return ids
