"""Where a page of an answer ended: an opaque text that the next request gives back."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence

from secure_xcom.core.operator_errors import RequestInvalid

Part = str | int | None

_MAX_CHARACTERS = 8192


def encoded(parts: Sequence[Part]) -> str:
    """Return the text of a position."""
    raw = json.dumps(list(parts), ensure_ascii=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decoded(text: str | None, kinds: Sequence[type], *, optional: int = 0) -> list[Part] | None:
    """Return a position's parts, None where there is none.

    A position says where to go on, never what may be seen, so it needs no signature: whoever makes one up gets
    other rows of the same answer.

    :param kinds: the type of each part; :param optional: how many of the last ones may be missing.
    :raises RequestInvalid: the text is no position of this kind.
    """
    if not text:
        return None
    parts: object = None
    if len(text) <= _MAX_CHARACTERS:
        try:
            parts = json.loads(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
        except (binascii.Error, ValueError, RecursionError):
            parts = None
    fits = (
        isinstance(parts, list)
        and len(kinds) - optional <= len(parts) <= len(kinds)
        and all(type(part) is kind for part, kind in zip(parts, kinds, strict=False))
        and all(-(1 << 63) <= part < 1 << 63 for part in parts if isinstance(part, int))
        and not any("\x00" in part or not _encodable(part) for part in parts if isinstance(part, str))
    )
    if not fits or not isinstance(parts, list):
        raise RequestInvalid("`after` is not the `next` of a response", where="after")
    return parts


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
