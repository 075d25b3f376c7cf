"""Thieves: each takes what he stole and tries to read it, with this very package."""

from __future__ import annotations

import base64
import json
import math
import secrets
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import RELEASE, Settings
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Row
from secure_xcom.core.reference import HEADER_BYTES
from secure_xcom.core.seal import unseal
from secure_xcom.keys import KeyService
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import Store


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of it: the value, or the error that stopped it."""

    value: Any = field(default=None, repr=False)
    error: SecureXComError | None = None

    @property
    def stopped_by(self) -> str:
        """The class of the error, empty if nothing stopped it."""
        return type(self.error).__name__ if self.error else ""


def read(row: object, key_uri: str, store_uri: str, service: KeyService, store: Store) -> Attempt:
    """Pull a row's value with other resources than the URIs name: the thief's own, or the real ones.

    The access policy and the coordinate are not in the thief's way, because he decides what he runs.
    """
    settings = Settings(key_uris=(key_uri,), store_uri=store_uri)
    pipeline = Pipeline(
        settings,
        AccessPolicy.single(settings.key_uris, store_uri),
        AccessLog([], version=RELEASE),
        SensitiveNames(()),
        Codecs(lambda value: value, lambda structure: structure),
        register=lambda _: None,
        services=lambda _: service,
        stores=lambda _: store,
    )
    try:
        return Attempt(pipeline.pull([Row(row)])[0])
    except SecureXComError as error:
        return Attempt(error=error)


def open_without_reference(payload: bytes) -> Attempt:
    """Try to open a sealed payload with nothing but itself and a guess at the data key."""
    try:
        pieces = unseal(
            secrets.token_bytes(32), b"{}", [payload], header=payload[:HEADER_BYTES], size=len(payload)
        )
        return Attempt(b"".join(pieces))
    except SecureXComError as error:
        return Attempt(error=error)


def forms(text: str) -> dict[str, bytes]:
    """Return the forms in which a text is looked for, by name."""
    raw = text.encode()
    by_name = {
        "utf-8": raw,
        "utf-16": text.encode("utf-16-le"),
        "json": json.dumps(text)[1:-1].encode(),
        "repr": repr(text)[1:-1].encode(),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "url": quote(text, safe="").encode(),
        "reversed": raw[::-1],
    }
    for offset in range(3):
        # What stands before it shifts a text within base64's groups of three bytes; the characters at its ends
        # that depend on its neighbors are left out.
        first = -(-offset * 8 // 6)
        last = (offset + len(raw)) * 8 // 6
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            by_name[f"{name} {offset}"] = encode(bytes(offset) + raw)[first:last]
    return by_name


def search(needles: Mapping[str, str], files: Iterable[Path]) -> tuple[list[str], int]:
    """Look for every needle in every form in whole files.

    :returns: what was found where, and how many bytes were searched.
    """
    patterns = [
        (f"{name} ({form})", pattern) for name, text in needles.items() for form, pattern in forms(text).items()
    ]
    matches, size = [], 0
    for file in files:
        data = file.read_bytes()
        size += len(data)
        matches += [f"{name} in {file.name}" for name, pattern in patterns if pattern in data]
    return matches, size


def files_below(folder: Path) -> list[Path]:
    """Return every file below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def entropy(data: bytes) -> float:
    """Return the Shannon entropy in bits per byte: 8 is what random bytes have."""
    counts = Counter(data)
    return -sum(count / len(data) * math.log2(count / len(data)) for count in counts.values())


def compressible(data: bytes) -> bool:
    """Return whether zlib at its best finds anything to shorten."""
    return len(zlib.compress(data, 9)) < len(data)


def copy_database(database: Path, target: Path) -> None:
    """Return a copy of a SQLite database in use, as a thief of backups has it."""
    source = sqlite3.connect(database, timeout=30)
    copy = sqlite3.connect(target)
    try:
        source.backup(copy)
    finally:
        copy.close()
        source.close()
