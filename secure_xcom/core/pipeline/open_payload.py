"""The open stage: from a reference to the bytes that it stands for, for every reader: a pull, an operator, a job.

Who may read is decided elsewhere (`secure_xcom.core.pipeline.decide` for tasks; the key service's own policy
for operators). These checks hold for every reader: the restrictions and times of the head, where the payload may
be, which keys may be asked, and that the payload is the one that was sealed with this head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from secure_xcom.core import clock, codecs
from secure_xcom.core.coordinate import encryption_context, object_path, object_uri
from secure_xcom.core.errors import (
    ClockSkewed,
    ContextRefused,
    ReferenceExpired,
    ReferenceShredded,
    ReferenceVersionUnknown,
    ValueTooLarge,
)
from secure_xcom.core.event import KeyUse
from secure_xcom.core.reference import LEDGERS, TIME_FORMAT, Reference
from secure_xcom.core.seal import sealed_size, unseal
from secure_xcom.keys import openers, version_of
from secure_xcom.keys.data_keys import Candidates

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.interface import Rules

SKEW = timedelta(hours=1)
"""How far apart the clocks of two machines may be where an XCom expires."""


@dataclass(frozen=True, slots=True)
class Openable:
    """Where the payload of a reference lies, and which wraps may be asked for.

    :ivar place: the store's URI and the object's path below it; None for an inline payload.
    """

    place: tuple[str, str] | None
    candidates: Candidates


def openable(
    reference: Reference, compartment: Rules, *, max_bytes: int, where: str, expired: bool = False
) -> Openable:
    """Check a reference as for every reader, before a key or a store is asked.

    :param compartment: the one that its coordinate belongs to.
    :param max_bytes: the largest payload that may be fetched.
    :param expired: True to open it although it has expired, because of a legal hold.
    :raises ReferenceRefused: it carries an unknown restriction, is expired or shredded.
    :raises ContextRefused: it names a key or an object outside its compartment.
    :raises ValueTooLarge: the payload is over the limit.
    """
    check_restrictions(reference, where)
    if not expired:
        check_time(reference, where)
    check_content(reference, max_bytes, where)
    place = place_within(reference, compartment, where)
    return Openable(place, candidates(reference, compartment, where))


def opened(reference: Reference, data_key: bytes, pieces: Iterable[bytes], *, max_bytes: int, where: str) -> bytes:
    """Return the encoded value, whole and authenticated.

    :raises SealError: the payload is not the one that was sealed with this head; :raises CodecError: it does not
        unfold, or unfolds to more than the limit.
    """
    context = reference.head.canonical()
    plain = unseal(data_key, context, pieces, header=reference.header, size=reference.size, where=where)
    return codecs.decompress(plain, reference.head.compression, max_bytes=max_bytes, where=where)


def check_restrictions(reference: Reference, where: str) -> None:
    """Check that this release knows every restriction of a head.

    :raises ReferenceVersionUnknown: it carries another one.
    """
    if reference.head.readers is not None or reference.head.exclusive not in (None, *LEDGERS):
        raise ReferenceVersionUnknown(
            "the head carries a restriction that this release cannot enforce", where=where
        )


def check_content(reference: Reference, max_bytes: int, where: str) -> None:
    """Check that there is something to open, and that it is no larger than may be fetched.

    :raises ReferenceShredded: its keys are gone; :raises ValueTooLarge: the payload is over the limit.
    """
    if reference.shredded is not None:
        raise ReferenceShredded(f"its data key was destroyed at {reference.shredded}", where=where)
    if reference.size > sealed_size(max_bytes):
        raise ValueTooLarge(
            f"the payload has {reference.size} bytes, [secure_xcom] max_bytes is {max_bytes}", where=where
        )


def check_time(reference: Reference, where: str) -> None:
    """Check that an XCom has not expired.

    :raises ReferenceExpired: it has; :raises ClockSkewed: that cannot be told.
    """
    expires = reference.head.expires
    if expires is None:
        return
    now = clock.now()
    if expires <= now.strftime(TIME_FORMAT):
        raise ReferenceExpired(f"it expired at {expires}", where=where)
    if reference.head.created > (now + SKEW).strftime(TIME_FORMAT):
        raise ClockSkewed(
            f"it was made at {reference.head.created}, over an hour ahead of this machine's clock, so whether "
            "it has expired cannot be told",
            where=where,
        )


def place_within(reference: Reference, compartment: Rules, where: str) -> tuple[str, str] | None:
    """Return the URI of the object's store and its path below it, None for an inline payload.

    :raises ContextRefused: the object is not in a store of the compartment, below this very coordinate. Whoever
        can write to the database must not be able to name what is fetched, or what a purge deletes.
    """
    if reference.head.object is None:
        return None
    folder = object_path(compartment.name, reference.head.coordinate, "")
    for store_uri in compartment.all_store_uris:
        prefix = object_uri(store_uri, folder)
        unique = reference.head.object.removeprefix(prefix)
        if unique != reference.head.object and re.fullmatch("[0-9a-f-]{36}", unique):
            return store_uri, folder + unique
    raise ContextRefused(
        f"the object is not below this coordinate in a store of compartment {compartment.name!r}", where=where
    )


def candidates(reference: Reference, compartment: Rules, where: str) -> Candidates:
    """Return the wraps that may be asked for: those by keys of the compartment alone.

    :raises ContextRefused: there are none.
    """
    wraps = openers(compartment.all_key_uris, [(key.uri, key.wrapped) for key in reference.keys])
    if not wraps:
        raise ContextRefused(
            f"none of the reference's keys belongs to compartment {compartment.name!r}", where=where
        )
    context = encryption_context(compartment.name, reference.head.coordinate)
    return Candidates(wraps, context, keep=reference.head.exclusive is None)


def key_uses(reference: Reference) -> tuple[KeyUse, ...]:
    """Return the wrapping keys that a reference names, for the access log."""
    return tuple(KeyUse(key.uri, version_of(key.wrapped)) for key in reference.keys)
