"""Read texts that may hold secrets, JSON in strings and text in bytes, and cut secrets out of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

# These are kept as packed bytes in text, which no log ever shows.
PACKED = ("pandas.",)
# Over this a string is not tried as JSON: parsed it would take many times its size in memory.
_JSON_MAX_CHARACTERS = 16 << 20
_JSON = re.compile(r"\s*[\[{]")

# JSON in a string in JSON in a string: each level doubles the escapes, so real ones end soon.
TEXT_DEPTH_MAX = 4
TEXT_MAX_CHARACTERS = 1 << 20
"""How much of a text is searched for secrets. Guessing costs up to 0.3 s for as much text as this."""


def parse_json(text: str) -> dict[Any, Any] | list[Any] | None:
    """Return the list or dict that a string holds as JSON, if it does."""
    # A log line often begins with a bracket; what does not end with one is refused without being parsed.
    if len(text) > _JSON_MAX_CHARACTERS or not looks_like_json(text) or text.rstrip()[-1] not in "]}":
        return None
    try:
        parsed = json.loads(text, object_pairs_hook=_all_values)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, (dict, list)) else None


def looks_like_json(text: str) -> bool:
    """Return whether a string has the outer brackets of a JSON object or list."""
    return _JSON.match(text) is not None


def _all_values(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    # A name that comes twice must not hide its first value.
    every: dict[str, list[Any]] = {}
    for name, value in pairs:
        every.setdefault(name, []).append(value)
    return dict(every)


def decoded(data: bytes) -> str:
    """Return bytes as text, with what is not UTF-8 replaced."""
    return data.decode("utf-8", "replace")


def cut_out(text: str, spans: Iterable[tuple[int, int]], mask: str) -> str:
    """Replace parts of a text; parts that overlap or touch count as one."""
    pieces: list[str] = []
    position = -1
    for start, end in sorted(spans):
        if start > position:
            pieces += (text[max(position, 0) : start], mask)
        position = max(position, end)
    return "".join((*pieces, text[max(position, 0) :]))
