"""Draw the shape of a value at one level of detail: types, lengths and field names, and no value.

`secure_xcom.core.masking.preview_secrets` hides what is secret by a name, and
`secure_xcom.core.masking.masked_preview` draws values as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.structure import (
    CLASSNAME,
    VALUE_KEYS,
    are_pairs,
    is_labelled,
    iso_moment,
    pair_of,
    short_name,
    unwrap,
)

MASK = "***"
MORE = "..."
UNDRAWN = object()
"""No picture: it would be too large. (None is the picture of None.)"""

# A key with more digits than this is an account, a card or a hash rather than a field's name.
_FIELD_MAX_DIGITS = 4

# The least that JSON has for any part (a digit), for a kind beyond that ("int"), for a name's quotes and colon,
# for what stands between two entries, and for a part of a shape ({}).
_PART_MIN_BYTES, _KIND_MIN_BYTES, _FIELD_MIN_BYTES, _COMMA_BYTES, _EMPTY_BYTES = 1, 4, 4, 2, 2

# A list's shapes are seldom different beyond these, and tell nothing more.
_SHAPES_MAX = 8

# What a shape says of the commonest kinds.
_KINDS = {int: "int", float: "float", bool: "bool", type(None): "None"}

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,39}")


class Detail(NamedTuple):
    """How much is drawn: levels, entries of one level, characters of one text (0: none, only its length)."""

    depth: int
    entries: int
    characters: int


class _TooDetailedError(Exception):
    """The picture has more parts than can fit; the next poorer one is drawn."""


class PreviewRenderer:
    """Draws one picture at one detail."""

    def __init__(self, names: SensitiveNames, detail: Detail, *, room: int) -> None:
        self._names = names
        self._detail = detail
        # Bytes that are left for the picture. No part is counted for more than it takes, so that what runs out
        # of them could not fit, and is given up before the rest of it is drawn.
        self._room = room
        # The rows of a list of dicts have the same names again and again.
        self._keys: dict[str, tuple[str, bool]] = {}
        self._rows: dict[tuple[Any, ...], tuple[str, ...] | None] = {}
        self._deepest, self._widest = -1, 0

    def draw(self, structure: object) -> object:
        """Return the picture, or `UNDRAWN` where it has more parts than can fit."""
        try:
            return self._paint(structure, 0)
        except _TooDetailedError:
            return UNDRAWN

    def same_at(self, poorer: Detail) -> bool:
        """Return whether the shape that was drawn, whole or until it was given up, would be no poorer."""
        return self._deepest < poorer.depth and self._widest <= poorer.entries

    def _drawn(self, depth: int, entries: int) -> None:
        self._deepest, self._widest = max(self._deepest, depth), max(self._widest, entries)

    def _paint(self, node: object, depth: int) -> object:
        """Return one part; nothing above it is sensitive."""
        self._spend(_PART_MIN_BYTES)
        if node is None or isinstance(node, bool):
            return self._paint_constant(node)
        if isinstance(node, (int, float)):
            return self._paint_number(node)
        if isinstance(node, str):
            return self._paint_text(node, depth)
        if isinstance(node, (bytes, bytearray)):
            return f"bytes({len(node)})"
        if isinstance(node, dict):
            wrapped = unwrap(node)
            return self._paint_dict(node, depth) if wrapped is None else self._paint_object(*wrapped, depth)
        if isinstance(node, (list, tuple, set, frozenset)):
            return self._paint_list(node, depth)
        return type(node).__name__

    def _spend(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise _TooDetailedError

    def _paint_constant(self, node: bool | None) -> object:
        return type(node).__name__.removesuffix("Type")

    def _paint_number(self, node: float) -> object:
        self._spend(_KIND_MIN_BYTES)
        return "int" if isinstance(node, int) else "float"

    def _paint_text(self, text: str, _depth: int) -> object:
        shape = f"str({len(text)})"
        self._spend(len(shape))
        return shape

    def _paint_dict(self, node: dict[Any, Any], depth: int) -> object:
        if depth >= self._detail.depth:
            return f"dict({len(node)})"
        self._drawn(depth, min(len(node), self._detail.entries))
        labelled = is_labelled(node, self._names)
        picture: dict[str, object] = {}
        for key, child in islice(node.items(), self._detail.entries):
            known = self._keys.get(key) if type(key) is str else None
            if known is None:
                known = (self._paint_key(key), self._names.matches(key))
                if type(key) is str:
                    self._keys[key] = known
            name, secret = known
            secret = (secret and self._names.hides(key, child)) or (labelled and key in VALUE_KEYS)
            if picture:
                self._spend(_COMMA_BYTES)
                if name in picture:
                    name = _free(name, picture)
            self._spend(len(name) + _FIELD_MIN_BYTES)
            picture[name] = MASK if secret else self._paint_child(child, depth + 1)
        if len(node) > self._detail.entries:
            picture[_free(MORE, picture)] = f"{len(node) - self._detail.entries} more"
        return picture

    def _paint_child(self, node: Any, depth: int) -> object:
        """As `_paint`, without its questions for what most parts of a shape are."""
        kind = type(node)
        if kind is dict and depth < self._detail.depth:
            names = self._row_names(node)
            return self._paint(node, depth) if names is None else self._paint_row(node, names, depth)
        shape = f"str({len(node)})" if kind is str else _KINDS.get(kind)
        if shape is None:
            return self._paint(node, depth)
        self._spend(len(shape) + 2)
        return shape

    def _row_names(self, node: dict[Any, Any]) -> tuple[str, ...] | None:
        """Return what a shape calls the fields of a dict, where none says anything of another; else None."""
        keys = tuple(node)
        if keys not in self._rows:
            plain = len(keys) <= self._detail.entries and VALUE_KEYS.isdisjoint(keys) and CLASSNAME not in keys
            names = tuple(map(self._paint_key, keys)) if plain else ()
            if len(set(names)) < len(keys) or any(map(self._names.matches, keys)):
                self._rows[keys] = None
            else:
                self._rows[keys] = names
        return self._rows[keys]

    def _paint_row(self, node: dict[Any, Any], names: tuple[str, ...], depth: int) -> object:
        self._drawn(depth, len(node))
        picture: dict[str, object] = {}
        for name, child in zip(names, node.values(), strict=True):
            kind = type(child)
            shape = f"str({len(child)})" if kind is str else _KINDS.get(kind)
            if shape is None:
                picture[name] = self._paint_child(child, depth + 1)
            else:
                picture[name] = shape
                self._room -= len(shape) + 2
            self._room -= len(name) + _FIELD_MIN_BYTES + _COMMA_BYTES
        # With the commas the two braces are counted, since the last entry has none.
        self._spend(0)
        return picture

    def _paint_key(self, key: object) -> str:
        if not isinstance(key, str):
            return type(key).__name__
        plain = _FIELD.fullmatch(key) and sum(map(str.isdigit, key)) <= _FIELD_MAX_DIGITS
        return key if plain and self._hide(key) == key else f"str({len(key)})"

    def _paint_list(self, node: list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any], depth: int) -> object:
        if depth >= self._detail.depth:
            return f"{type(node).__name__}({len(node)})"
        entries = self._entries(node, depth)
        self._drawn(depth, len(entries))
        if are_pairs(node):
            picture = [self._paint_pair(item, depth + 1) for item in entries]
        else:
            picture = [self._paint_child(item, depth + 1) for item in entries]
            self._spend(_COMMA_BYTES * max(0, len(picture) - 1))
        if len(node) > len(entries):
            picture.append(f"{MORE} {len(node) - len(entries)} more")
        return picture

    def _entries(self, node: Iterable[Any], depth: int) -> list[Any]:
        """Return the entries of a list that are drawn."""
        entries = list(islice(node, min(self._detail.entries, _SHAPES_MAX)))
        if depth + 1 < self._detail.depth:
            self._check_rows(entries, depth + 1)
        return entries

    def _check_rows(self, entries: list[Any], depth: int) -> None:
        """Give up before the first of many rows is drawn, where all that are like it could not fit."""
        first = entries[0] if entries else None
        if type(first) is not dict or (names := self._row_names(first)) is None:
            return
        keys = tuple(first)
        self._drawn(depth, max(len(keys), len(entries)))
        alike = sum(type(entry) is dict and tuple(entry) == keys for entry in entries)
        least = sum(map(len, names)) + len(names) * (_FIELD_MIN_BYTES + _EMPTY_BYTES + _COMMA_BYTES)
        if alike * least > self._room:
            raise _TooDetailedError

    def _paint_pair(self, item: object, depth: int) -> object:
        name, value = pair_of(item) or ("", None)
        shown = self._paint_key(name)
        # The pair's brackets and comma, and the name's quotes.
        self._spend(len(shown) + _EMPTY_BYTES + _COMMA_BYTES + 2)
        return [shown, MASK if self._names.hides(name, value) else self._paint(value, depth + 1)]

    def _paint_object(self, classname: str, data: object, depth: int) -> object:
        name = short_name(classname)
        if self._names.matches(name):
            return MASK
        shown = name if _FIELD.fullmatch(name) else "object"
        moment = iso_moment(classname, data)
        if moment is None and isinstance(data, (dict, list)):
            return {shown: self._paint(data, depth + 1)}
        return self._paint_data(classname, moment or data, shown, depth)

    def _paint_data(self, _classname: str, _data: object, shown: str, _depth: int) -> object:
        """Return an object whose data is one value."""
        return shown

    def _hide(self, text: str) -> str:
        """Return the text as it is. A renderer of values with secrets hides these here."""
        return text


def _free(name: str, taken: Iterable[str]) -> str:
    """Return the name, or the name with a number where two keys look the same."""
    if name not in taken:
        return name
    return next(
        numbered for numbered in (f"{name} #{count}" for count in range(2, 1 << 16)) if numbered not in taken
    )
