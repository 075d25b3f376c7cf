"""The seal, put and reference stages of a push, the mirror of `fetch` and `open_payload`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING

import uuid6

from secure_xcom.core import codecs, reference
from secure_xcom.core.codecs import Encoded
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate, object_path, object_uri
from secure_xcom.core.masking.preview import preview
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.decode_and_mask import Maskable
from secure_xcom.core.pipeline.push_routing import Destination
from secure_xcom.core.reference import HEADER_BYTES, Head, Reference, WrappedKey
from secure_xcom.core.seal import Counted, seal, sealed_size
from secure_xcom.keys import DataKey
from secure_xcom.stores import Store

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True)
class Packed:
    """A value that is ready to be sealed: its head, and its compressed plaintext.

    :ivar place: the store's URI and the object's path below it; None for a payload that stays in the reference.
    """

    head: Head
    plaintext: Iterable[bytes | memoryview] = field(repr=False)
    place: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Sealed:
    """A payload that is sealed while its pieces are taken, and what its reference says of it."""

    head: Head
    place: tuple[str, str] | None
    keys: tuple[WrappedKey, ...] = field(repr=False)
    header: bytes = field(repr=False)
    pieces: Counted = field(repr=False)


def pack(encoded: Encoded, to: Destination, coordinate: Coordinate, settings: Settings, *, ledger: str) -> Packed:
    """Compress a value, decide whether it stays in its reference, and write its head.

    :param ledger: where claims are kept.
    """
    inline_to = 0 if to.exclusive else settings.inline_max_bytes
    compression, plaintext, size = codecs.pack(encoded, settings.compression, whole_to=inline_to)
    place = None
    if size is None or to.routed or to.exclusive or sealed_size(size) > inline_to:
        place = to.store_uri, object_path(to.compartment, coordinate, str(uuid6.uuid7()))
    head = Head(
        dag_id=coordinate.dag_id,
        run_id=coordinate.run_id,
        task_id=coordinate.task_id,
        map_index=str(coordinate.map_index),
        key=coordinate.key,
        compartment=to.compartment,
        codec=encoded.codec,
        compression=compression,
        created=to.created,
        object=None if place is None else object_uri(*place),
        expires=to.expires,
        exclusive=ledger if to.exclusive else None,
        **_attempt_fields(coordinate, settings.attempt_fields),
    )
    return Packed(head, plaintext, place)


def _attempt_fields(coordinate: Coordinate, which: str) -> dict[str, str]:
    """Return the fields of the head that tell apart producers of one coordinate.

    A worker that refuses these fields never reads what a loop pushed: docs/adr/0078.
    """
    attempt, iteration = coordinate.attempt, coordinate.iteration
    if attempt is None or which == "none" or (which == "loops" and iteration is None):
        return {}
    return attempt.head_fields(iteration)


def seal_packed(packed: Packed, data_key: DataKey, wraps: Iterable[tuple[str, str]]) -> Sealed:
    """Seal a packed value with its head as the context.

    :param wraps: the data key's wraps, ``(name, wrapped)`` each.
    """
    pieces = seal(data_key.secret, packed.head.canonical(), packed.plaintext)
    first = next(pieces)
    keys = tuple(WrappedKey(name, wrapped) for name, wrapped in wraps)
    return Sealed(packed.head, packed.place, keys, first[:HEADER_BYTES], Counted(chain((first,), pieces)))


class Puts:
    """Puts payloads into their stores, and deletes them again where the block ends with an error.

    Without its reference a payload is garbage; one that cannot be deleted is left to gc.
    """

    def __init__(self, open_store: Callable[[str], Store]) -> None:
        self._open_store = open_store
        self._paths: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        return self

    def put(self, sealed: Sealed) -> bytes | None:
        """Put a payload; return it where it stays in the reference.

        :raises StoreError: the store does not take it.
        """
        if sealed.place is None:
            return b"".join(sealed.pieces)
        store_uri, path = sealed.place
        # Noted first: a put that failed may have left something.
        self._paths.setdefault(store_uri, []).append(path)
        self._open_store(store_uri).put(path, sealed.pieces)
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            from secure_xcom.core.pipeline.put_faults import delete_again

            delete_again(self._open_store, self._paths)


def reference_of(sealed: Sealed, payload: bytes | None, structure: object) -> Reference:
    """Return the reference to a payload that was put, without a preview.

    :param payload: the payload, where it stays in the reference.
    """
    routes = None
    if sealed.head.key == reference.ROUTES_KEY:
        from secure_xcom.core.branch_routes import routes_of

        routes = routes_of(sealed.head.key, structure)
    return Reference(sealed.head, sealed.keys, sealed.header, sealed.pieces.size, payload, routes)


def preview_of(bare: Reference, value: Maskable, mode: str, names: SensitiveNames) -> object:
    """Return the preview of a value that fits beside its reference, or None.

    :param mode: ``[secure_xcom] preview``.
    """
    if mode == "none":
        return None
    record = bare.dump()
    record.pop("payload", None)
    room = reference.TARGET_BYTES - len(json.dumps(record)) - len(', "preview": ')
    if room < len('"***"'):
        return None
    # What one reader may see is shown to nobody else, so of an exclusive value there are shapes at the most.
    shown = "shape" if bare.head.exclusive else mode
    return preview(value.structure, mode=shown, names=names, key=value.key, max_bytes=room, known=value.known)
