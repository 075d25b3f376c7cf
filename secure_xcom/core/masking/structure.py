"""The forms of a plain structure that tell of secrets: labels, pairs, JSON in text, wrapped objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from secure_xcom.core.masking.sensitive_names import SensitiveNames

CLASSNAME, VERSION, DATA = "__classname__", "__version__", "__data__"
"""What Airflow's serialisation puts around everything that is no plain structure (airflow/sdk/serde)."""

# {"name": "password", "value": "..."}: the shape of Kubernetes' env, of HTTP archives, of forms and tags.
LABEL_KEYS = ("name", "key", "field", "header")
VALUE_KEYS = frozenset({"value", "val", "default", "data"})

# These are kept as packed bytes in text, which no log ever shows.
PACKED = ("pandas.",)
_MOMENTS = frozenset({"datetime.datetime", "pendulum.datetime.DateTime"})
_COLLECTIONS = frozenset({"builtins.tuple", "builtins.set", "builtins.frozenset"})
# Over this a string is not tried as JSON: parsed it would take many times its size in memory.
_JSON_MAX_CHARACTERS = 16 << 20
_JSON = re.compile(r"\s*[\[{]")

# JSON in a string in JSON in a string: each level doubles the escapes, so real ones end soon.
TEXT_DEPTH_MAX = 4
TEXT_MAX_CHARACTERS = 1 << 20
"""How much of a text is searched for secrets. Guessing costs up to 0.3 s for as much text as this."""


def unwrap(node: dict[Any, Any]) -> tuple[str, object] | None:
    """Return the class's full name and the data, if Airflow's serialisation wrote this dict around an object."""
    classname = node.get(CLASSNAME)
    return (classname, node.get(DATA)) if isinstance(classname, str) else None


def short_name(classname: str) -> str:
    """Return the ``Class`` of ``package.module.Class``."""
    return classname.rpartition(".")[2]


def is_labelled(node: dict[Any, Any], names: SensitiveNames) -> bool:
    """Return whether a field of this dict says that its `VALUE_KEYS` are secret."""
    return not VALUE_KEYS.isdisjoint(node) and any(names.matches(node.get(label)) for label in LABEL_KEYS)


def are_pairs(node: Iterable[object]) -> bool:
    """Return whether this is a list of names and values, as ``dict.items()`` and HTTP headers are."""
    pair = None
    for item in node:
        pair = pair_of(item)
        if pair is None:
            return False
    return pair is not None


def pair_of(item: object) -> tuple[str, object] | None:
    """Return a name and its value, if this is a list or a tuple of just these."""
    wrapped = unwrap(item) if isinstance(item, dict) else None
    pair = wrapped[1] if wrapped and wrapped[0] in _COLLECTIONS else item
    if isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str):
        return pair[0], pair[1]
    return None


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


def iso_moment(classname: str, data: object) -> str | None:
    """Return a serialised date and time in ISO 8601, UTC; it is kept as seconds and a time zone."""
    if classname not in _MOMENTS or not isinstance(data, dict):
        return None
    try:
        return datetime.fromtimestamp(float(data["timestamp"]), tz=timezone.utc).isoformat()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def cut_out(text: str, spans: Iterable[tuple[int, int]], mask: str) -> str:
    """Replace parts of a text; parts that overlap or touch count as one."""
    pieces: list[str] = []
    position = -1
    for start, end in sorted(spans):
        if start > position:
            pieces += (text[max(position, 0) : start], mask)
        position = max(position, end)
    return "".join((*pieces, text[max(position, 0) :]))
