"""What is decided about a value or a row before any key or store is asked. Decisions on bytes only, no IO."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from secure_xcom import clock
from secure_xcom.access import AccessPolicy, Compartment
from secure_xcom.audit import Draft, KeyUse
from secure_xcom.claims import Claimant, Target
from secure_xcom.claims.claiming import Wanted, want
from secure_xcom.codecs import Encoded
from secure_xcom.coordinate import Asked, TaskTry, encryption_context, object_path, object_uri
from secure_xcom.errors import (
    ClaimRefused,
    ClockSkewed,
    ContextRefused,
    CoordinateMismatch,
    ReferenceExpired,
    ReferenceShredded,
    ReferenceVersionUnknown,
    ValueTooLarge,
)
from secure_xcom.keys import openers, version_of
from secure_xcom.keys.holder import Candidates
from secure_xcom.masking import SensitiveNames, holds_sensitive
from secure_xcom.reference import LEDGERS, ROUTES_KEY, TIME_FORMAT, Reference, parse
from secure_xcom.seal import sealed_size

SKEW = timedelta(hours=1)
"""How far apart the clocks of two machines may be where an XCom expires."""


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
    :ivar wanted: the claim that it needs, for an exclusive XCom.
    """

    reference: Reference
    compartment: Compartment
    place: tuple[str, str] | None
    candidates: Candidates
    wanted: Wanted | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an XCom goes, with which keys, and how long it is good for.

    :ivar routed: a route of the compartment names the store, so the payload never stays in the reference.
    :ivar exclusive: one task instance only may read it: its data key is its own, and its payload an object.
    :ivar created: now, and :ivar expires: when its retention is over; as references have times.
    """

    compartment: str
    store_uri: str
    key_uris: tuple[str, ...]
    routed: bool
    created: str
    expires: str | None
    exclusive: bool = False


def destination(
    compartment: Compartment,
    encoded: Encoded,
    key: str,
    names: SensitiveNames,
    *,
    marked: bool = False,
    max_bytes: int,
    where: str,
) -> Destination:
    """Hold a value against its compartment's limit, and choose its store and keys: the first route that takes it.

    :param key: the XCom's key; :param marked: its DAG calls it exclusive.
    :param max_bytes: the deployment's limit.
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
    now = clock.now()
    lasts = compartment.lasts(key)
    return Destination(
        compartment.name,
        compartment.store_uri if route is None else route.store_uri,
        (None if route is None else route.key_uris) or compartment.key_uris,
        routed=route is not None,
        created=now.strftime(TIME_FORMAT),
        expires=None if lasts is None else (now + timedelta(seconds=lasts)).strftime(TIME_FORMAT),
        # What a branching task says is read by Airflow's scheduler as well, over and over and without a key.
        exclusive=(marked or compartment.is_exclusive(key)) and key != ROUTES_KEY,
    )


def mask_mode(compartments: Iterable[Compartment | None], mode: str) -> str:
    """Which values of several compartments are registered with Airflow's masker: ``all`` if one of them says so.

    :param compartments: None for a plain value.
    :param mode: the deployment's, where a compartment does not say.
    """
    modes = {(compartment and compartment.mask_values) or mode for compartment in compartments}
    return "all" if "all" in modes else "named"


def admit(
    row: Row,
    policy: AccessPolicy,
    consumer: TaskTry | None,
    *,
    claimant: Claimant | None = None,
    ledger: str = "store",
    max_bytes: int,
    draft: Draft,
) -> Admitted:
    """Parse, hold against what was asked for, decide.

    :param claimant: the task instance that pulls, where it is known for certain.
    :param ledger: where this deployment keeps claims.
    :param max_bytes: the largest payload that may be fetched.
    :param draft: filled in as far as this comes.
    :raises ReferenceRefused: malformed, of another version, moved, copied, expired, shredded.
    :raises ClaimRefused: it is exclusive, and nobody can say which task instance would claim it.
    :raises AccessError: the access policy refuses it, or it names a key or an object outside its compartment.
    :raises ValueTooLarge: the payload is over the limit.
    """
    found = recognise(row, draft)
    head = found.head
    where = draft.where
    verdict = policy.decide(head.coordinate, head.compartment, consumer)
    draft.compartment, draft.rule = verdict.decided_in.name, verdict.rule
    compartment = verdict.enforce()
    check_restrictions(found, where)
    check_time(found, where)
    check_content(found, max_bytes, where)
    place = place_within(found, compartment, where)
    wanted = None
    if head.exclusive is not None and place is not None:
        wanted = _wanted(row, found, compartment, place[0], claimant, ledger)
    return Admitted(found, compartment, place, _candidates(found, compartment, where), wanted)


def check_restrictions(found: Reference, where: str) -> None:
    """See that this release knows every restriction of a head.

    :raises ReferenceVersionUnknown: it carries another one.
    """
    if found.head.readers is not None or found.head.exclusive not in (None, *LEDGERS):
        raise ReferenceVersionUnknown(
            "the head carries a restriction that this release cannot enforce", where=where
        )


def check_content(found: Reference, max_bytes: int, where: str) -> None:
    """See that there is something to open, and that it is no larger than may be fetched.

    :raises ReferenceShredded: its keys are gone; :raises ValueTooLarge: the payload is over the limit.
    """
    if found.shredded is not None:
        raise ReferenceShredded(f"its data key was destroyed at {found.shredded}", where=where)
    if found.size > sealed_size(max_bytes):
        raise ValueTooLarge(
            f"the payload has {found.size} bytes, [secure_xcom] max_bytes is {max_bytes}", where=where
        )


def check_time(found: Reference, where: str) -> None:
    """See that the retention of an XCom is not over.

    :raises ReferenceExpired: it is; :raises ClockSkewed: that cannot be told.
    """
    expires = found.head.expires
    if expires is None:
        return
    now = clock.now()
    if expires <= now.strftime(TIME_FORMAT):
        raise ReferenceExpired(f"it expired at {expires}", where=where)
    if found.head.created > (now + SKEW).strftime(TIME_FORMAT):
        raise ClockSkewed(
            f"it was made at {found.head.created}, over an hour after what this machine takes for now, so whether "
            "it has expired cannot be told",
            where=where,
        )


def _wanted(
    row: Row, found: Reference, compartment: Compartment, store_uri: str, claimant: Claimant | None, ledger: str
) -> Wanted:
    head = found.head
    where = str(head.coordinate)
    if claimant is None:
        raise ClaimRefused(
            "an exclusive XCom is for one task instance, and nothing here says which one this is",
            where=where,
            remedy="pull it inside the task that it is for, not in a trigger, a callback or the API server",
        )
    if row.asked is None or row.asked.run_id is None:
        raise ClaimRefused(
            "an exclusive XCom is pulled of one run, and this pull takes that of any",
            where=where,
            remedy="pull it without include_prior_dates",
        )
    if head.exclusive != ledger:
        raise ClaimRefused(
            f"its claims are kept in the {head.exclusive}, and this machine keeps claims in the {ledger}",
            where=where,
            remedy="set [secure_xcom] claims_uri alike on all machines; clear the producing task if it changed",
        )
    target = Target(compartment.name, head.coordinate, store_uri, head.object or "")
    return want(target, claimant, rerun=compartment.exclusive_rerun)


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
        if unique != found.head.object and re.fullmatch("[0-9a-f-]{36}", unique):
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
    context = encryption_context(compartment.name, found.head.coordinate)
    return Candidates(wraps, context, keep=found.head.exclusive is None)
