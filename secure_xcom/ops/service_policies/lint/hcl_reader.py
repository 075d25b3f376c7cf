"""Read the HCL of Vault policies: blocks with a path and fields, and their places.

Source: developer.hashicorp.com/vault/docs/concepts/policies. Any other HCL is refused,
because misreading a policy is worse than not reading it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_MAX_DEPTH = 12
_MAX_DIGITS = 18
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)"""
    r"""|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<word>[A-Za-z_][\w.-]*)|(?P<number>-?[0-9]+)|(?P<sign>[{}\[\]=,])""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One ``path "..." { ... }``.

    :ivar places: field -> line and column of its value, from 1.
    """

    path: str
    line: int
    column: int
    fields: dict[str, Any] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


class _Refused(Exception):
    """The text is not of this form; `read` returns its place and text."""

    def __init__(self, offset: int, text: str) -> None:
        super().__init__(text)
        self.at = offset


def read(text: str) -> tuple[list[Block], tuple[int, int, str] | None]:
    """Return the blocks, or the line, column and text of the first fault."""
    try:
        return list(_Reader(text).blocks()), None
    except _Refused as refused:
        return [], (*_place(text, refused.at), str(refused))


def _place(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._read())
        self._at = 0

    def _read(self) -> Iterator[_Token]:
        offset = 0
        while offset < len(self._text):
            token = _TOKEN.match(self._text, offset)
            if token is None:
                raise _Refused(offset, "not HCL as in Vault's policies")
            if token.lastgroup != "space":
                yield _Token(str(token.lastgroup), token.group(), offset)
            offset = token.end()
        yield _Token("end", "", len(self._text))

    def _take(self, kind: str, text: str | None = None) -> _Token:
        token = self._tokens[self._at]
        if token.kind != kind or (text is not None and token.text != text):
            raise _Refused(token.at, f"{text or f'a {kind}'} is missing")
        self._at += 1
        return token

    def _is(self, text: str) -> bool:
        token = self._tokens[self._at]
        if token.kind == "sign" and token.text == text:
            self._at += 1
            return True
        return False

    def blocks(self) -> Iterator[Block]:
        while self._tokens[self._at].kind != "end":
            begin = self._take("word", "path")
            path = self._string(self._take("string"))
            block = Block(path, *_place(self._text, begin.at))
            self._take("sign", "{")
            while not self._is("}"):
                name = self._name()
                if name in block.fields:
                    raise _Refused(self._tokens[self._at - 1].at, f"{name} stands twice")
                if not self._is("=") and self._tokens[self._at].text != "{":
                    raise _Refused(self._tokens[self._at].at, "= is missing")
                block.places[name] = _place(self._text, self._tokens[self._at].at)
                block.fields[name] = self._value(0)
            yield block

    def _name(self) -> str:
        token = self._tokens[self._at]
        return self._string(self._take("string")) if token.kind == "string" else self._take("word").text

    def _string(self, token: _Token) -> str:
        try:
            text = json.loads(token.text)
        except ValueError:
            raise _Refused(token.at, "a string with an unsupported escape") from None
        return str(text)

    def _value(self, depth: int) -> Any:
        token = self._tokens[self._at]
        if depth > _MAX_DEPTH:
            raise _Refused(token.at, "nested too deep")
        if self._is("["):
            listed = []
            while not self._is("]"):
                listed.append(self._value(depth + 1))
                if not self._is(",") and self._tokens[self._at].text != "]":
                    raise _Refused(self._tokens[self._at].at, "a comma is missing")
            return listed
        if self._is("{"):
            mapped: dict[str, Any] = {}
            while not self._is("}"):
                name = self._name()
                self._take("sign", "=")
                mapped[name] = self._value(depth + 1)
                self._is(",")
            return mapped
        self._at += 1
        if token.kind == "string":
            return self._string(token)
        if token.kind == "number":
            if len(token.text.lstrip("-")) > _MAX_DIGITS:
                # Python does not even read one of thousands of digits.
                raise _Refused(token.at, f"a number of over {_MAX_DIGITS} digits")
            return int(token.text)
        if token.kind == "word" and token.text in ("true", "false"):
            return token.text == "true"
        raise _Refused(token.at, "a value is missing")
