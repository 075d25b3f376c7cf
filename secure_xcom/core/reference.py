"""The reference: the JSON record kept in Airflow's database in place of the value. Dump and strict parse.

The wire format is docs/reference/format.md. It is a promise: a change is a new version; old ones open for ever.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from functools import cached_property
from typing import Any

from secure_xcom.core.canonical_json import canonical_json
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import CoordinateInvalid, ReferenceMalformed, ReferenceVersionUnknown

TAG = "secure_xcom"
VERSION = 1
HEADER_BYTES = 56
"""A sealed payload's salt (24) and commitment (32): C2SP chunked-encryption, "Key derivation"."""
SMALLEST_BYTES = 72
"""A sealed payload of no plaintext: the header and one tag."""
LARGEST_BYTES = HEADER_BYTES + (1 << 52) - 1 + 16 * (1 << 38)
"""A sealed payload of 4 PiB less a byte of plaintext, the most that C2SP chunked-encryption takes."""
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
"""RFC 3339, UTC, whole seconds."""
URI_MAX_CHARACTERS = 512
"""The longest key URI or store URI: both are part of references, which stay under `TARGET_BYTES`."""
TARGET_BYTES = 2048
"""What a reference without an inline payload stays under, unless its ids alone are longer."""

ROUTES_KEY = "skipmixin_key"
ROUTES = ("followed", "skipped")
"""The XCom of a branching task, and its fields that Airflow's scheduler reads (airflow/sdk/bases/skipmixin.py)."""

# Caps of the strict parse. The longest legal record has ids of 250 and 512 characters of four bytes, twice
# (once in the object's path), and a few wrapped keys.
_FIELD_MAX_CHARACTERS = 4096
KEYS_MAX = 8
_PAYLOAD_MAX_CHARACTERS = 4 * 70_000 // 3

LEDGER_STORE = "store"
LEDGERS = (LEDGER_STORE, "database")
"""The values of ``head.exclusive`` that this version enforces."""

MAP_INDEX = re.compile(r"-1|0|[1-9][0-9]{0,9}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z")
NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]{0,62}")


@dataclass(frozen=True)
class Head:
    """The part of the reference that is authenticated: it is the context of the seal.

    ``object`` is the payload's full URI, absent when the payload is inline. Times are UTC, RFC 3339, whole
    seconds.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: str
    key: str
    compartment: str
    codec: str
    compression: str
    created: str
    object: str | None = None
    expires: str | None = None
    readers: str | None = None
    exclusive: str | None = None
    """Where the claim that a reader must have is kept: one of `LEDGERS`."""
    attempt: str | None = None
    region: str | None = None
    region_index: str | None = None
    iteration: str | None = None

    @cached_property
    def coordinate(self) -> Coordinate:
        """Return where this XCom lives, and which attempt pushed it, where the head says so."""
        attempt = None
        if (self.attempt, self.region, self.region_index, self.iteration) != (None, None, None, None):
            from secure_xcom.core.attempt import Attempt

            indexes = [None if text is None else int(text) for text in (self.region_index, self.iteration)]
            attempt = Attempt(self.attempt, self.region, *indexes)
        return Coordinate(self.dag_id, self.run_id, self.task_id, int(self.map_index), self.key, attempt)

    def dump(self) -> dict[str, str]:
        """Return the fields that are set, by name."""
        return {name: value for name in _HEAD_FIELDS if (value := getattr(self, name)) is not None}

    def canonical(self) -> bytes:
        """Return the context of the seal: canonical JSON (RFC 8785) of strings only."""
        return canonical_json(self.dump())


_HEAD_FIELDS = tuple(entry.name for entry in fields(Head))
HEAD_REQUIRED = frozenset(_HEAD_FIELDS[:9])
HEAD_OPTIONAL = frozenset(_HEAD_FIELDS[9:])
_REQUIRED = frozenset({TAG, "head", "keys", "seal"})
_OPTIONAL = frozenset({"payload", "preview", *ROUTES})
_SEAL_REQUIRED = frozenset({"header", "size"})
_KEY_REQUIRED = frozenset({"uri", "wrapped"})
_ROUTES = frozenset(ROUTES)
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key, wrapped, and the key URI of the wrapping key."""

    uri: str
    wrapped: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reference:
    """The whole record.

    :ivar header: the sealed payload's first 56 bytes, so that a swapped object is told from an edited head.
    :ivar size: the sealed payload's size in bytes.
    :ivar payload: the sealed payload itself, when it is kept inline.
    :ivar routes: what Airflow's scheduler reads of a branching task's XCom, by name; never read back either.
    :ivar preview: the preview; never read back, so a parsed reference has none.
    :ivar shredded: when its wrapped keys were destroyed; then it has none, and opens nothing any more.
    """

    head: Head
    keys: tuple[WrappedKey, ...]
    header: bytes = field(repr=False)
    size: int
    payload: bytes | None = field(default=None, repr=False)
    routes: Mapping[str, list[str]] | None = None
    preview: object = field(default=None, repr=False)
    shredded: str | None = None

    def without_keys(self, shredded: str) -> Reference:
        """Return what is left of a shredded XCom: who pushed it, and that nobody can open it any more.

        :param shredded: now, as references have times.
        """
        return Reference(self.head, (), self.header, self.size, shredded=shredded)

    def with_preview(self, preview: object) -> Reference:
        """Return the same reference with a picture for people."""
        return replace(self, preview=preview)

    def dump(self) -> dict[str, Any]:
        """Return the record as Airflow stores it: a JSON object."""
        record: dict[str, Any] = {
            TAG: VERSION,
            "head": self.head.dump(),
            "keys": [{"uri": key.uri, "wrapped": key.wrapped} for key in self.keys],
            "seal": {"header": base64.b64encode(self.header).decode(), "size": self.size},
        }
        if self.shredded is not None:
            record["shredded"] = self.shredded
        if self.payload is not None:
            record["payload"] = base64.b64encode(self.payload).decode()
        if self.routes is not None:
            record.update(self.routes)
        if self.preview is not None:
            record["preview"] = self.preview
        return record


def is_reference(value: object) -> bool:
    """Return whether a value from the database carries the tag; `parse` checks whether it may be opened."""
    return isinstance(value, Mapping) and TAG in value


def parse(value: object) -> Reference:
    """Read a record strictly: lengths capped, canonical forms only, unknown and missing fields refused.

    :raises ReferenceVersionUnknown: the record is of another version.
    :raises ReferenceMalformed: says which field is wrong, never what it holds.
    """
    record = _mapping(value, "the record")
    version = record.get(TAG)
    if isinstance(version, bool) or not isinstance(version, int):
        raise ReferenceMalformed("the version is not a whole number", where=TAG)
    if version != VERSION:
        # A number of thousands of digits is not one that Python prints.
        said = str(version) if version.bit_length() <= 64 else "of many digits"
        raise ReferenceVersionUnknown(f"the record is of version {said}, this release reads {VERSION}", where=TAG)
    if "shredded" in record:
        return _shredded(record)
    _fields(record, required=_REQUIRED, optional=_OPTIONAL, where="the record")

    head = _head(record["head"])
    if not _ROUTES.isdisjoint(record):
        from secure_xcom.core.branch_routes import check_routes

        check_routes(record, head.key)
    keys = record["keys"]
    if not isinstance(keys, list) or not 1 <= len(keys) <= KEYS_MAX:
        raise ReferenceMalformed(f"keys is not a list of 1 to {KEYS_MAX} entries", where="keys")
    wrapped = tuple(_wrapped_key(entry, f"keys[{index}]") for index, entry in enumerate(keys))

    header, size = _seal(record["seal"])

    payload = None
    if "payload" in record:
        payload = _base64(record["payload"], "payload", _PAYLOAD_MAX_CHARACTERS)
    if (payload is None) != (head.object is not None):
        raise ReferenceMalformed(
            "the payload is either inline or an object, not both and not neither", where="payload"
        )
    return Reference(head, wrapped, header, size, payload)


def _seal(value: object) -> tuple[bytes, int]:
    seal = _mapping(value, "seal")
    _fields(seal, required=_SEAL_REQUIRED, optional=_NONE, where="seal")
    header = _base64(seal["header"], "seal.header", HEADER_BYTES * 2)
    if len(header) != HEADER_BYTES:
        raise ReferenceMalformed(
            f"the header has {len(header)} bytes instead of {HEADER_BYTES}", where="seal.header"
        )
    size = seal["size"]
    if isinstance(size, bool) or not isinstance(size, int) or not SMALLEST_BYTES <= size <= LARGEST_BYTES:
        raise ReferenceMalformed("the size is not that of a sealed payload", where="seal.size")
    return header, size


def _shredded(record: Mapping[str, object]) -> Reference:
    """Return the reference of a shredded XCom: the head and no keys."""
    _fields(record, required=_REQUIRED | {"shredded"}, optional=_NONE, where="the record")
    head = _head(record["head"])
    if head.exclusive is None or record["keys"] != []:
        raise ReferenceMalformed("only an exclusive XCom without keys is shredded", where="shredded")
    shredded = checked_text(record["shredded"], "shredded", _FIELD_MAX_CHARACTERS)
    if not is_time(shredded):
        raise ReferenceMalformed("shredded is not in its canonical form", where="shredded")
    header, size = _seal(record["seal"])
    return Reference(head, (), header, size, shredded=shredded)


def _head(value: object) -> Head:
    record = _mapping(value, "head")
    _fields(record, required=HEAD_REQUIRED, optional=HEAD_OPTIONAL, where="head")
    for name, text in record.items():
        checked_text(text, f"head.{name}", _FIELD_MAX_CHARACTERS)
    for name, is_canonical in (
        ("map_index", MAP_INDEX.fullmatch),
        ("created", is_time),
        ("expires", is_time),
        ("codec", NAME.fullmatch),
        ("compression", NAME.fullmatch),
        ("region_index", _INDEX.fullmatch),
        ("iteration", _INDEX.fullmatch),
    ):
        if name in record and not is_canonical(record[name]):
            raise ReferenceMalformed(f"{name} is not in its canonical form", where=f"head.{name}")
    head = Head(**record)
    try:
        _ = head.coordinate
    except CoordinateInvalid as error:
        raise ReferenceMalformed(error.what, where="head") from None
    if head.exclusive in LEDGERS and head.object is None:
        raise ReferenceMalformed(
            "the payload of an exclusive XCom is an object, never inline", where="head.object"
        )
    return head


def is_time(text: str) -> bool:
    """Return whether it is a time in the form of `TIME_FORMAT`, on a day that exists: jobs compute with it."""
    form = _TIME.fullmatch(text)
    try:
        return form is not None and bool(date.fromisoformat(form[1]))
    except ValueError:
        return False


def _wrapped_key(value: object, where: str) -> WrappedKey:
    record = _mapping(value, where)
    _fields(record, required=_KEY_REQUIRED, optional=_NONE, where=where)
    return WrappedKey(
        checked_text(record["uri"], f"{where}.uri", URI_MAX_CHARACTERS),
        checked_text(record["wrapped"], f"{where}.wrapped", _FIELD_MAX_CHARACTERS),
    )


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ReferenceMalformed(f"not a JSON object but {type(value).__name__}", where=where)
    return value


def _fields(
    record: Mapping[str, object], *, required: frozenset[str], optional: frozenset[str], where: str
) -> None:
    if missing := required.difference(record):
        raise ReferenceMalformed(f"the field {min(missing)!r} is missing", where=where)
    if unknown := set(record).difference(required, optional):
        raise ReferenceMalformed(f"the field {min(map(str, unknown))!r:.60} is unknown", where=where)


def checked_text(value: object, where: str, limit: int) -> str:
    """Return a field that is a non-empty text.

    :param where: the field, for errors; :param limit: the most characters.
    :raises ReferenceMalformed: it is not.
    """
    if not isinstance(value, str) or not value:
        raise ReferenceMalformed("not a non-empty string", where=where)
    if len(value) > limit:
        raise ReferenceMalformed(f"{len(value)} characters, {limit} are allowed", where=where)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ReferenceMalformed("a lone surrogate cannot be encoded", where=where) from None
    return value


def _base64(value: object, where: str, limit: int) -> bytes:
    text = checked_text(value, where, limit)
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ReferenceMalformed("not base64", where=where) from None
    if base64.b64encode(raw).decode() != text:
        raise ReferenceMalformed("not canonical base64", where=where)
    return raw
