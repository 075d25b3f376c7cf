"""Every leaf of a value, and whether a sensitive name stands over it.

Walked with a stack of its own, because a value may be nested more deeply than Python's stack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from secure_xcom.core.masking.secrets_in_text import secrets_in_text
from secure_xcom.core.masking.sensitive_names import SensitiveNames

CLASSNAME, VERSION, DATA = "__classname__", "__version__", "__data__"
"""What Airflow's serialisation puts around everything that is no plain structure (airflow/sdk/serde)."""

# {"name": "password", "value": "..."}: the shape of Kubernetes' env, of HTTP archives, of forms and tags.
LABEL_KEYS = ("name", "key", "field", "header")
VALUE_KEYS = frozenset({"value", "val", "default", "data"})

# Keys that common mappings (requests' proxies, Kubernetes' env) and the pictures of frames (`secure_xcom.codecs`)
# have all alike: they tell nothing, and a log in which they are masked cannot be read.
_TELLING_NOTHING = frozenset(
    {
        *("https", "value", "username", "password"),
        *("DataFrame", "Series", "Table", "RecordBatch", "ndarray"),
        *("columns", "index", "attributes", "column_levels"),
    }
)

# These are kept as packed bytes in text, which no log ever shows.
PACKED = ("pandas.",)
_MOMENTS = frozenset({"datetime.datetime", "pendulum.datetime.DateTime"})
_COLLECTIONS = frozenset({"builtins.tuple", "builtins.set", "builtins.frozenset"})
# JSON in a string in JSON in a string: each level doubles the escapes, so real ones end soon.
_TEXT_DEPTH_MAX = 4
# Over this a string is not tried as JSON: parsed it would take many times its size in memory.
_JSON_MAX_CHARACTERS = 16 << 20
# Of bytes no more than their beginning is read as text: what is larger is a file's content, which no log shows.
_BYTES_MAX = 1 << 20
# Shorter than this no text holds a name, a sign and a value that could be masked.
_TEXT_MIN_CHARACTERS = 8
_JSON = re.compile(r"\s*[\[{]")
# Cells of data frames come as they are; elsewhere Airflow's serialisation has made text or numbers of these.
_PRINTED = (Decimal, date, time, timedelta, UUID)


class Leaf(NamedTuple):
    """A string, number or bytes, and whether a name says that it is secret."""

    value: str | bytes | int | float
    sensitive: bool


def leaves(
    structure: object, *, names: SensitiveNames, sensitive: bool, only_sensitive: bool = False
) -> Iterator[Leaf]:
    """Every leaf in the order of the value, and what its strings hold: JSON, URL passwords, assignments.

    The keys of a mapping are leaves as its values are: they are secret where the mapping is.

    True, False and None are no leaves, since they tell nothing that could be looked for.

    :param sensitive: whether the whole value is secret.
    :param only_sensitive: leave the others out, which is most of the work of a large value.
    """
    every = not only_sensitive
    stack: list[tuple[Iterator[tuple[object, bool]], bool, int]] = [(iter(((structure, False),)), sensitive, 0)]
    while stack:
        children, above, depth = stack[-1]
        for node, hidden in children:
            secret = above or hidden
            if isinstance(node, (str, bytes, bytearray)):
                leaf = node if isinstance(node, str) else bytes(node)
                if every or secret:
                    yield Leaf(leaf, secret)
                if len(leaf) < _TEXT_MIN_CHARACTERS:
                    continue
                text = leaf if isinstance(leaf, str) else decoded(leaf[:_BYTES_MAX])
                parsed = parse_json(text) if depth < _TEXT_DEPTH_MAX else None
                if parsed is not None:
                    stack.append((_children(parsed, names, keys=every or secret), secret, depth + 1))
                    break
                if not secret:
                    for found in secrets_in_text(text, names):
                        yield Leaf(found, True)
            elif isinstance(node, (int, float)):
                if (every or secret) and not isinstance(node, bool):
                    yield Leaf(node, secret)
            elif isinstance(node, (dict, list, tuple, set, frozenset)):
                stack.append((_children(node, names, keys=every or secret), secret, depth))
                break
            elif secret and isinstance(node, _PRINTED):
                yield from (Leaf(text, True) for text in dict.fromkeys(_printed(node)))
        else:
            stack.pop()


def holds_sensitive(structure: object, *, names: SensitiveNames, key: str) -> bool:
    """Return whether a value is secret by its XCom's key, or holds something under a sensitive name."""
    return names.matches(key) or any(
        leaf.sensitive for leaf in leaves(structure, names=names, sensitive=False, only_sensitive=True)
    )


def _printed(node: Any) -> Iterator[str]:
    yield str(node)
    if isinstance(node, (date, time)):
        yield node.isoformat()


def _children(
    node: dict[Any, Any] | list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any],
    names: SensitiveNames,
    *,
    keys: bool,
) -> Iterator[tuple[object, bool]]:
    """What lies below, and whether the node itself says that it is secret.

    :param keys: whether a mapping's keys are asked for as well; elsewhere they only name.
    """
    if isinstance(node, dict):
        wrapped = unwrap(node)
        yield from _fields(node, names, keys) if wrapped is None else _wrapped(*wrapped, node, names, keys)
    elif are_pairs(node):
        for item in node:
            name, value = pair_of(item) or ("", None)
            yield name, False
            yield value, names.hides(name, value)
    else:
        for child in node:
            yield child, False


def _fields(node: dict[Any, Any], names: SensitiveNames, keys: bool) -> Iterator[tuple[object, bool]]:
    labelled = is_labelled(node, names)
    for key, child in node.items():
        if keys and key not in _TELLING_NOTHING:
            yield key, False
        yield child, names.hides(key, child) or (labelled and key in VALUE_KEYS)


def _wrapped(
    classname: str, data: object, node: dict[Any, Any], names: SensitiveNames, keys: bool
) -> Iterator[tuple[object, bool]]:
    hidden = names.matches(short_name(classname))
    moment = iso_moment(classname, data)
    if moment is not None:
        yield moment, hidden
        yield moment.replace("T", " "), hidden
    elif not classname.startswith(PACKED):
        yield data, hidden
    for key, child in node.items():
        if key not in (CLASSNAME, VERSION, DATA):
            if (keys or hidden) and key not in _TELLING_NOTHING:
                yield key, hidden
            yield child, hidden or names.hides(key, child)


def unwrap(node: dict[Any, Any]) -> tuple[str, object] | None:
    """The class's full name and the data, if Airflow's serialisation wrote this dict around an object."""
    classname = node.get(CLASSNAME)
    return (classname, node.get(DATA)) if isinstance(classname, str) else None


def short_name(classname: str) -> str:
    """``package.module.Class`` -> ``Class``."""
    return classname.rpartition(".")[2]


def is_labelled(node: dict[Any, Any], names: SensitiveNames) -> bool:
    """Whether a field of this dict says that its `VALUE_KEYS` are secret."""
    return not VALUE_KEYS.isdisjoint(node) and any(names.matches(node.get(label)) for label in LABEL_KEYS)


def are_pairs(node: Iterable[object]) -> bool:
    """Whether this is a list of names and values, as ``dict.items()`` and HTTP headers are."""
    found = None
    for item in node:
        found = pair_of(item)
        if found is None:
            return False
    return found is not None


def pair_of(item: object) -> tuple[str, object] | None:
    """A name and its value, if this is a list or a tuple of just these."""
    wrapped = unwrap(item) if isinstance(item, dict) else None
    pair = wrapped[1] if wrapped and wrapped[0] in _COLLECTIONS else item
    if isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str):
        return pair[0], pair[1]
    return None


def parse_json(text: str) -> dict[Any, Any] | list[Any] | None:
    """The list or dict that a string holds as JSON, if it does."""
    if len(text) > _JSON_MAX_CHARACTERS or not looks_like_json(text):
        return None
    try:
        parsed = json.loads(text, object_pairs_hook=_all_values)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, (dict, list)) else None


def looks_like_json(text: str) -> bool:
    """Whether a string has the outer brackets of a JSON object or list."""
    return _JSON.match(text) is not None


def _all_values(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    # A name that comes twice must not hide its first value.
    every: dict[str, list[Any]] = {}
    for name, value in pairs:
        every.setdefault(name, []).append(value)
    return dict(every)


def decoded(data: bytes) -> str:
    """Bytes as text, with what is not UTF-8 replaced."""
    return data.decode("utf-8", "replace")


def iso_moment(classname: str, data: object) -> str | None:
    """A serialised date and time in ISO 8601, UTC; it is kept as seconds and a time zone."""
    if classname not in _MOMENTS or not isinstance(data, dict):
        return None
    try:
        return datetime.fromtimestamp(float(data["timestamp"]), tz=timezone.utc).isoformat()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
