"""The local keyring: the versions of one wrapping key, strictly parsed. `secure_xcom.ops.keyring` writes it.

``{"secure_xcom_keyring": 1, "versions": {"1": {"created": "2026-11-22T10:00:00Z", "key": "..."}}, "latest": 1}``
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import NoReturn

TAG = "secure_xcom_keyring"
FORMAT = 1
WRAPPING_KEY_BYTES = 32
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_FIELD_NAME = re.compile(r"[a-z_]{1,24}")


@dataclass(frozen=True, slots=True)
class Version:
    """One wrapping key of 32 bytes and when it was created (UTC)."""

    created: datetime
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keyring:
    """All versions of the wrapping key, by number from 1. The newest wraps, each one unwraps."""

    versions: Mapping[int, Version]
    latest: int

    @classmethod
    def parse(cls, text: bytes, where: str) -> Keyring:
        """Read the file's bytes. Anything that this release does not know is refused.

        :param where: the file, for the error.
        :raises KeyringBroken: names the wrong field, and never repeats its value.
        """
        record = _fields(_json(text, where), (TAG, "versions", "latest"), "the file", where)
        if type(record[TAG]) is not int or record[TAG] != FORMAT:
            remedy = "upgrade secure_xcom on this machine, or restore the keyring from its backup"
            broken(f"{TAG} is not {FORMAT}", where, remedy)
        listed = record["versions"]
        if not isinstance(listed, dict) or not listed:
            broken("versions is not an object with at least one version", where)
        versions: dict[int, Version] = {}
        for position, (number, entry) in enumerate(listed.items(), start=1):
            if not _VERSION.fullmatch(number):
                broken(f"the name of entry {position} of versions is not a version number", where)
            versions[int(number)] = _version(entry, f"versions.{number}", where)
        latest = record["latest"]
        # With a latest below the highest number, the next rotation would overwrite a version.
        if type(latest) is not int or latest != max(versions):
            broken("latest is not the highest version number", where)
        return cls(versions, latest)


def broken(what: str, where: str, remedy: str = "") -> NoReturn:
    """Refuse the file.

    :raises KeyringBroken: always.
    """
    from secure_xcom.core.keyring_errors import KeyringBroken

    raise KeyringBroken(f"not a usable keyring: {what}", where=where, remedy=remedy) from None


def _version(entry: object, name: str, where: str) -> Version:
    record = _fields(entry, ("created", "key"), name, where)
    created, key = record["created"], record["key"]
    try:
        moment = datetime.strptime(str(created), TIME_FORMAT).replace(tzinfo=timezone.utc)
    except ValueError:
        moment = None
    if moment is None or moment.strftime(TIME_FORMAT) != created:
        broken(f"{name}.created is not a time like 2026-11-22T10:00:00Z", where)
    try:
        raw = base64.b64decode(str(key), validate=True)
    except ValueError:
        raw = b""
    # Encoding it again refuses the other spellings that base64 decoders accept (RFC 4648, section 3.5).
    if len(raw) != WRAPPING_KEY_BYTES or base64.b64encode(raw).decode() != key:
        broken(f"{name}.key is not {WRAPPING_KEY_BYTES} bytes of canonical base64", where)
    return Version(moment, raw)


def _json(text: bytes, where: str) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        record = dict(pairs)
        if len(record) != len(pairs):
            broken("a field occurs twice in one object", where)
        return record

    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        broken(f"not JSON at line {error.lineno}, column {error.colno}", where)
    except (ValueError, RecursionError):
        # The decoders' own messages would repeat a part of the file.
        broken("not JSON in UTF-8", where)


def _fields(record: object, names: tuple[str, ...], what: str, where: str) -> dict[str, object]:
    if not isinstance(record, dict):
        broken(f"{what} is not an object", where)
    for name in names:
        if name not in record:
            broken(f"{what} has no field {name}", where)
    for name in record:
        if name not in names:
            # A name is shown only if it cannot be a key that was written in the wrong place.
            shown = f" {name}" if _FIELD_NAME.fullmatch(name) else ""
            broken(f"{what} has an unknown field{shown}", where)
    return record
