"""What is decided about a row before any key or payload is asked for. Decisions on bytes only, no IO."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from secure_xcom.access import AccessPolicy, Compartment
from secure_xcom.audit import Draft
from secure_xcom.coordinate import Asked, TaskTry, encryption_context, object_path
from secure_xcom.errors import (
    ContextRefused,
    CoordinateMismatch,
    ReferenceExpired,
    ReferenceVersionUnknown,
    ValueTooLarge,
)
from secure_xcom.keys import openers
from secure_xcom.keys.holder import Candidates
from secure_xcom.reference import TIME_FORMAT, Reference, parse
from secure_xcom.seal import sealed_size


@dataclass(frozen=True, slots=True)
class Row:
    """One value as Airflow's database gave it, and what the caller had asked for."""

    value: object = field(repr=False)
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A reference that may be opened.

    :ivar path: the object's path below the compartment's store; None for an inline payload.
    :ivar candidates: the wraps that may be asked for.
    """

    reference: Reference
    compartment: Compartment
    path: str | None
    candidates: Candidates


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
    compartment = policy.decide(head.coordinate, head.compartment, consumer)
    draft.compartment = compartment.name
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
        found, compartment, path_within(found, compartment, where), _candidates(found, compartment, where)
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
    draft.object, draft.keys = found.head.object, tuple(key.uri for key in found.keys)


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


def object_uri(compartment: Compartment, path: str) -> str:
    """The head's name of an object: the store URI without its options, which may change, and the path."""
    place = compartment.store_uri.partition("?")[0].rstrip("/")
    return f"{place}/{path}"


def path_within(found: Reference, compartment: Compartment, where: str) -> str | None:
    """The object's path below its store, None for an inline payload.

    :raises ContextRefused: the object is not in the compartment's store, below this very coordinate. Whoever can
        write to the database must not be able to name what is fetched, or what a purge deletes.
    """
    if found.head.object is None:
        return None
    folder = object_path(compartment.name, found.head.coordinate, "")
    prefix = object_uri(compartment, folder)
    unique = found.head.object.removeprefix(prefix)
    if unique == found.head.object or len(unique) != 36 or not set(unique) <= set("0123456789abcdef-"):
        raise ContextRefused(
            f"the object is not below this coordinate in the store of compartment {compartment.name!r}",
            where=where,
        )
    return folder + unique


def _candidates(found: Reference, compartment: Compartment, where: str) -> Candidates:
    wraps = openers(compartment.key_uris, [(key.uri, key.wrapped) for key in found.keys])
    if not wraps:
        raise ContextRefused(
            f"none of the reference's keys belongs to compartment {compartment.name!r}", where=where
        )
    return Candidates(wraps, encryption_context(compartment.name, found.head.coordinate))
