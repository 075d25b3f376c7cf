"""Walk every leaf of a value, and tell whether a sensitive name stands over it.

Walked with a stack of its own, because a value may be nested more deeply than Python's stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from secure_xcom.core.masking.secrets_in_text import secrets_in_text
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.structure import (
    CLASSNAME,
    DATA,
    VALUE_KEYS,
    VERSION,
    are_pairs,
    is_labelled,
    iso_moment,
    pair_of,
    short_name,
    unwrap,
)
from secure_xcom.core.masking.suspects import Suspects
from secure_xcom.core.masking.texts import PACKED, TEXT_DEPTH_MAX, decoded, looks_like_json, parse_json

# Keys that common mappings (requests' proxies, Kubernetes' env) and the pictures of frames
# (`secure_xcom.core.codecs`) share: they identify nothing, and a log in which they are masked cannot be read.
_TELLING_NOTHING = frozenset(
    {
        *("https", "value", "username", "password"),
        *("DataFrame", "Series", "Table", "RecordBatch", "ndarray"),
        *("columns", "index", "attributes", "column_levels"),
    }
)

# Of bytes no more than their beginning is read as text: what is larger is a file's content, which no log shows.
_BYTES_MAX = 1 << 20
# Shorter than this no text holds a name, a sign and a value that could be masked.
_TEXT_MIN_CHARACTERS = 8
# Cells of data frames come as they are; elsewhere Airflow's serialization has made text or numbers of these.
_PRINTED = (Decimal, date, time, timedelta, UUID)


class Leaf(NamedTuple):
    """A string, number or bytes, and whether a name says that it is secret."""

    value: str | bytes | int | float
    sensitive: bool


Leaves = tuple[Leaf, ...] | None
"""The sensitive leaves of a value, as `plain_leaves` finds them; None where they have not been looked for."""


def leaves(
    structure: object, *, names: SensitiveNames, sensitive: bool, only_sensitive: bool = False
) -> Iterator[Leaf]:
    """Yield every leaf in the order of the value, and what its strings hold: JSON, URL passwords, assignments.

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
                parsed = parse_json(text) if depth < TEXT_DEPTH_MAX else None
                if parsed is not None:
                    stack.append((_children(parsed, names, keys=every or secret), secret, depth + 1))
                    break
                if not secret:
                    for text_secret in secrets_in_text(text, names):
                        yield Leaf(text_secret, True)
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


def plain_leaves(value: object, found: Suspects, names: SensitiveNames) -> Iterator[Leaf]:
    """Yield the sensitive leaves of a plain value as `leaves` does, and look only into what may hold one.

    :param found: what may be secret in it.
    """
    texts = frozenset(map(id, found.texts))
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        # Of most values nothing else is asked than this.
        for node in stack[-1]:
            kind = type(node)
            if kind is dict or kind is list:
                children = _children_of_plain(node, found, names)
                if children is not None:
                    stack.append(children)
                    break
                yield from leaves(node, names=names, sensitive=False, only_sensitive=True)
            elif kind is _Hidden:
                yield from _hidden_leaves(node.value, names)
            elif texts and kind is str and id(node) in texts:
                yield from leaves(node, names=names, sensitive=False, only_sensitive=True)
        else:
            stack.pop()


class _Hidden(NamedTuple):
    """A value with a sensitive name."""

    value: object


def _children_of_plain(node: Any, found: Suspects, names: SensitiveNames) -> Iterator[object] | None:
    """Return what lies below a dict or list, with what a name makes secret as `_Hidden`.

    None where more than the names of fields tells.
    """
    if type(node) is list:
        return None if found.pairs and are_pairs(node) else iter(node)
    if found.labels and is_labelled(node, names):
        return None
    fields: dict[str, object] = node
    # This way round only the few names are looked up.
    if fields.keys().isdisjoint(found.names):
        return iter(fields.values())
    return (
        _Hidden(child) if key in found.names and names.hides(key, child) else child
        for key, child in fields.items()
    )


def _hidden_leaves(value: object, names: SensitiveNames) -> Iterable[Leaf]:
    # Most secrets are a text.
    if type(value) is str and not looks_like_json(value):
        return (Leaf(value, True),)
    return leaves(value, names=names, sensitive=True, only_sensitive=True)


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
    """Yield what lies below, and whether the node itself says that it is secret.

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
