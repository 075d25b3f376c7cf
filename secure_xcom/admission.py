"""What is decided about a value or a row before any key or store is asked. Decisions on bytes only, no IO."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from secure_xcom.access import AccessPolicy, Compartment
from secure_xcom.audit import Draft, KeyUse
from secure_xcom.codecs import Encoded
from secure_xcom.coordinate import Asked, TaskTry, encryption_context, object_path
from secure_xcom.errors import (
    ContextRefused,
    CoordinateMismatch,
    ReferenceExpired,
    ReferenceVersionUnknown,
    ValueTooLarge,
)
from secure_xcom.keys import openers, version_of
from secure_xcom.keys.holder import Candidates
from secure_xcom.masking import SensitiveNames, holds_sensitive
from secure_xcom.reference import TIME_FORMAT, Reference, parse
from secure_xcom.seal import sealed_size

_CONNECTION = re.compile(r"(?<=://)[^/@]*@")


@dataclass(frozen=True, slots=True)
class Row:
    """One value as Airflow's database gave it, and what the caller had asked for."""

    value: object = field(repr=False)
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A reference that may be opened.

    :ivar place: the store's URI and the object's path below it; None for an inline payload.
    :ivar candidates: the wraps that may be asked for.
    """

    reference: Reference
    compartment: Compartment
    place: tuple[str, str] | None
    candidates: Candidates


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an XCom goes, with which keys, and how long it is good for.

    :ivar routed: a route of the compartment names the store, so the payload never stays in the reference.
    :ivar created: now, and :ivar expires: when its retention is over; as references have times.
    """

    compartment: str
    store_uri: str
    key_uris: tuple[str, ...]
    routed: bool
    created: str
    expires: str | None


def destination(
    compartment: Compartment, encoded: Encoded, key: str, names: SensitiveNames, *, max_bytes: int, where: str
) -> Destination:
    """Hold a value against its compartment's limit, and choose its store and keys: the first route that takes it.

    :param key: the XCom's key; :param max_bytes: the deployment's limit.
    :raises ValueTooLarge: it is over the deployment's limit or the compartment's.
    """
    option = "[secure_xcom] max_bytes"
    if compartment.max_bytes is not None and compartment.max_bytes < max_bytes:
        option, max_bytes = f"max_bytes of compartment {compartment.name!r}", compartment.max_bytes
    if encoded.size > max_bytes:
        raise ValueTooLarge(f"the encoded value has {encoded.size} bytes, {option} is {max_bytes}", where=where)
    # A whole value is searched for secrets only where a route asks.
    asked = any(route.sensitive for route in compartment.routes)
    sensitive = asked and holds_sensitive(encoded.structure, names=names, key=key)
    route = next((route for route in compartment.routes if route.takes(key, sensitive=sensitive)), None)
    now = datetime.now(timezone.utc)
    lasts = compartment.lasts(key)
    return Destination(
        compartment.name,
        compartment.store_uri if route is None else route.store_uri,
        (None if route is None else route.key_uris) or compartment.key_uris,
        routed=route is not None,
        created=now.strftime(TIME_FORMAT),
        expires=None if lasts is None else (now + timedelta(seconds=lasts)).strftime(TIME_FORMAT),
    )


def mask_mode(compartments: Iterable[Compartment | None], mode: str) -> str:
    """Which values of several compartments are registered with Airflow's masker: ``all`` if one of them says so.

    :param compartments: None for a plain value.
    :param mode: the deployment's, where a compartment does not say.
    """
    modes = {(compartment and compartment.mask_values) or mode for compartment in compartments}
    return "all" if "all" in modes else "named"


def admit(row: Row, policy: AccessPolicy, consumer: TaskTry | None, *, max_bytes: int, draft: Draft) -> Admitted:
    """Parse, hold against what was asked for, decide.

    :param max_bytes: the largest payload that may be fetched.
    :param draft: filled in as far as this comes.
    :raises ReferenceRefused: malformed, of another version, moved, copied, expired.
    :raises AccessError: the access policy refuses it, or it names a key or an object outside its compartment.
    :raises ValueTooLarge: the payload is over the limit.
    """
    found = recognise(row, draft)
    head = found.head
    where = draft.where
    verdict = policy.decide(head.coordinate, head.compartment, consumer)
    draft.compartment, draft.rule = verdict.decided_in.name, verdict.rule
    compartment = verdict.enforce()
    if head.exclusive is not None or head.readers is not None:
        raise ReferenceVersionUnknown(
            "the head carries a restriction that this release cannot enforce", where=where
        )
    if head.expires is not None and head.expires <= datetime.now(timezone.utc).strftime(TIME_FORMAT):
        raise ReferenceExpired(f"it expired at {head.expires}", where=where)
    if found.size > sealed_size(max_bytes):
        raise ValueTooLarge(
            f"the payload has {found.size} bytes, [secure_xcom] max_bytes is {max_bytes}", where=where
        )
    return Admitted(
        found, compartment, place_within(found, compartment, where), _candidates(found, compartment, where)
    )


def recognise(row: Row, draft: Draft) -> Reference:
    """Parse a row and hold it against what was asked for.

    :raises ReferenceRefused: it is malformed, or belongs to another row.
    """
    found = parse(row.value)
    describe(found, draft)
    if row.asked is not None:
        row.asked.check(found.head.coordinate)
    return found


def describe(found: Reference, draft: Draft) -> None:
    """What a reference says of itself, for the access log: ids only."""
    draft.coordinate, draft.codec, draft.size = found.head.coordinate, found.head.codec, found.size
    draft.object = found.head.object
    draft.keys = tuple(KeyUse(key.uri, version_of(key.wrapped)) for key in found.keys)


def check_order(drafts: Iterable[Draft], order: int) -> None:
    """Hold the rows of one task against the order of their map indexes, which is all that Airflow says of them.

    :param order: 1 for rising, -1 for falling, 0 where none is known.
    :raises CoordinateMismatch: a reference was moved or copied among the instances of a mapped task.
    """
    last: int | None = None
    for draft in drafts:
        if not order or draft.coordinate is None:
            continue
        index = draft.coordinate.map_index
        if last is not None and (index - last) * order <= 0:
            raise CoordinateMismatch(
                f"map_index {index} comes after {last}: a reference was moved or copied among the instances of "
                "a mapped task",
                where=draft.where,
            )
        last = index


def object_uri(store_uri: str, path: str) -> str:
    """The head's name of an object: the store URI without what may change, and the path.

    A deployment may rename the connection that leads to a bucket (``s3://CONN_ID@...``) and change a store's
    options; the objects stay where they are.
    """
    place = _CONNECTION.sub("", store_uri.partition("?")[0], count=1).rstrip("/")
    return f"{place}/{path}"


def place_within(found: Reference, compartment: Compartment, where: str) -> tuple[str, str] | None:
    """The URI of the object's store and its path below it, None for an inline payload.

    :raises ContextRefused: the object is not in a store of the compartment, below this very coordinate. Whoever
        can write to the database must not be able to name what is fetched, or what a purge deletes.
    """
    if found.head.object is None:
        return None
    folder = object_path(compartment.name, found.head.coordinate, "")
    for store_uri in compartment.all_store_uris:
        prefix = object_uri(store_uri, folder)
        unique = found.head.object.removeprefix(prefix)
        if unique != found.head.object and len(unique) == 36 and set(unique) <= set("0123456789abcdef-"):
            return store_uri, folder + unique
    raise ContextRefused(
        f"the object is not below this coordinate in a store of compartment {compartment.name!r}", where=where
    )


def _candidates(found: Reference, compartment: Compartment, where: str) -> Candidates:
    wraps = openers(compartment.all_key_uris, [(key.uri, key.wrapped) for key in found.keys])
    if not wraps:
        raise ContextRefused(
            f"none of the reference's keys belongs to compartment {compartment.name!r}", where=where
        )
    return Candidates(wraps, encryption_context(compartment.name, found.head.coordinate))
