"""Read the YAML of an access policy: mappings, lists, strings, whole numbers, true and false.

It is read from the parser's events, so that anchors, tags and duplicate keys are refused before anything is built
from them, and depth and size are bounded while they grow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NoReturn

import yaml

from secure_xcom.core.policy_errors import PolicyInvalid

MAX_BYTES = 32 << 20
MAX_DEPTH = 12
MAX_NODES = 4_000_000

Path = tuple[str | int, ...]
Marks = dict[Path, tuple[int, int]]
"""Path of a value -> its line and column, from 1. The path of a key is that of its value and `KEY`."""

KEY = "\x00key"

# Tabs must not indent in YAML and are easily mistaken elsewhere; the others hide or reorder text on a screen.
_FORBIDDEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]"
    "|[\U000e0000-\U000e0fff]"
)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
# Plain scalars that YAML 1.1 does not read as strings (PyYAML, resolver.py): yes, off, 1_000, 1:30, .5, dates.
_IMPLICIT: dict[str, list[tuple[str, re.Pattern[str]]]] = yaml.SafeLoader.yaml_implicit_resolvers
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(raw: bytes, *, where: str) -> Any:
    """Return the document's data: dict, list, str, int, bool.

    :param where: the file's name, for errors.
    :raises PolicyInvalid: not YAML of this subset, with the line and column.
    """
    return _read(raw, _Builder(where))


def read_with_marks(raw: bytes, *, where: str) -> tuple[Any, Marks]:
    """Return the document's data and the place of each value, which takes more time and memory than `read`.

    :raises PolicyInvalid: as `read`.
    """
    marks: Marks = {}
    return _read(raw, _Builder(where, marks)), marks


def _read(raw: bytes, builder: _Builder) -> Any:
    where = builder.where
    text = _text(raw, where)
    try:
        return builder.document(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise refused(f"not YAML: {error.problem or error.context or 'unreadable'}", where, line, column) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise PolicyInvalid(f"not valid YAML ({type(error).__name__})", where=where) from None


def build(events: Iterable[Any], *, where: str) -> Any:
    """Return the data of a parser's events, as `read` does."""
    return _Builder(where).document(events)


def refused(what: str, where: str, line: int, column: int) -> PolicyInvalid:
    """Return the error for a place in the file. Lines and columns count from 1."""
    return PolicyInvalid(what, where=f"{where}, line {line}, column {column}")


def _text(raw: bytes, where: str) -> str:
    if len(raw) > MAX_BYTES:
        raise PolicyInvalid(f"the file has over {MAX_BYTES} bytes", where=where)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise refused("not UTF-8", where, line, column) from None
    text = text.replace("\r\n", "\n")
    if bad := _FORBIDDEN.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - (text.rfind("\n", 0, bad.start()) + 1) + 1
        name = "a tab" if bad.group() == "\t" else f"the control character U+{ord(bad.group()):04X}"
        raise refused(f"{name} is not allowed", where, line, column)
    return text


class _Builder:
    """Builds data from events with its own stack, so that its depth limit is not Python's."""

    def __init__(self, where: str, marks: Marks | None = None) -> None:
        self.where = where
        self._marks = marks

    def document(self, events: Iterable[Any]) -> Any:
        documents = nodes = 0
        root: list[Any] = []
        stack: list[Any] = [root]
        keys: list[str | None] = [None]
        path: list[str | int] = []
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                value: Any = None
            elif kind is yaml.MappingStartEvent:
                value = {}
            elif kind is yaml.SequenceStartEvent:
                value = []
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                stack.pop()
                keys.pop()
                if path:
                    path.pop()
                continue
            elif kind is yaml.AliasEvent:
                self._refuse(event, "anchors and aliases are not allowed")
            else:
                if kind is yaml.DocumentStartEvent:
                    documents += 1
                    if documents > 1 or event.version or event.tags:
                        self._refuse(event, "one document without directives is allowed")
                continue
            nodes += 1
            if nodes > MAX_NODES:
                self._refuse(event, f"over {MAX_NODES} values")
            if event.anchor is not None:
                self._refuse(event, "anchors and aliases are not allowed")
            if event.tag is not None:
                self._refuse(event, "tags are not allowed")
            parent = stack[-1]
            if type(parent) is dict and keys[-1] is None:
                key = self._key(event, kind, parent)
                keys[-1] = key
                if self._marks is not None:
                    mark, key_path = event.start_mark, (*path, key, KEY)
                    self._marks[key_path] = (mark.line + 1, mark.column + 1)
                continue
            if kind is yaml.ScalarEvent:
                value = self._scalar(event)
            place: str | int | None
            if type(parent) is dict:
                place = keys[-1]
                keys[-1] = None
                parent[place] = value
            else:
                place = len(parent) if parent is not root else None
                parent.append(value)
            here = path if place is None else [*path, place]
            if self._marks is not None:
                mark = event.start_mark
                self._marks[tuple(here)] = (mark.line + 1, mark.column + 1)
            if kind is not yaml.ScalarEvent:
                if len(stack) > MAX_DEPTH:
                    self._refuse(event, f"nested deeper than {MAX_DEPTH}")
                stack.append(value)
                keys.append(None)
                path = here
        if not root:
            raise PolicyInvalid("the file is empty", where=self.where)
        return root[0]

    def _key(self, event: Any, kind: type, parent: dict[str, Any]) -> str:
        key = self._scalar(event) if kind is yaml.ScalarEvent else None
        if not isinstance(key, str):
            self._refuse(event, "a key must be a string")
        if key in parent:
            self._refuse(event, f"the key {key!r:.60} occurs twice")
        return key

    def _scalar(self, event: Any) -> str | int | bool:
        value: str = event.value
        if not event.implicit[0]:
            # Quoted, or a block scalar: always a string.
            return value
        if value == "true" or value == "false":
            return value == "true"
        for tag, pattern in _IMPLICIT.get(value[:1], ()):
            if pattern.match(value):
                if tag.endswith(":int") and _INTEGER.fullmatch(value):
                    return int(value)
                if tag.endswith(":null"):
                    self._refuse(event, "a value is missing")
                self._refuse(
                    event, f"{value!r:.40} means different things to different YAML parsers; put it in quotes"
                )
        return value

    def _refuse(self, event: Any, what: str) -> NoReturn:
        mark = event.start_mark
        raise refused(what, self.where, mark.line + 1, mark.column + 1)
