"""The forms of a plain structure that tell of secrets: labels, pairs, wrapped objects."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from secure_xcom.core.masking.sensitive_names import SensitiveNames

CLASSNAME, VERSION, DATA = "__classname__", "__version__", "__data__"
"""What Airflow's serialization puts around everything that is no plain structure (airflow/sdk/serde)."""

# {"name": "password", "value": "..."}: the shape of Kubernetes' env, of HTTP archives, of forms and tags.
LABEL_KEYS = ("name", "key", "field", "header")
VALUE_KEYS = frozenset({"value", "val", "default", "data"})

_MOMENTS = frozenset({"datetime.datetime", "pendulum.datetime.DateTime"})
_COLLECTIONS = frozenset({"builtins.tuple", "builtins.set", "builtins.frozenset"})


def unwrap(node: dict[Any, Any]) -> tuple[str, object] | None:
    """Return the class's full name and the data, if Airflow's serialization wrote this dict around an object."""
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


def iso_moment(classname: str, data: object) -> str | None:
    """Return a serialized date and time in ISO 8601, UTC; it is kept as seconds and a time zone."""
    if classname not in _MOMENTS or not isinstance(data, dict):
        return None
    try:
        return datetime.fromtimestamp(float(data["timestamp"]), tz=timezone.utc).isoformat()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
