"""Read JSON with the place of each value and its duplicate names, which `json` accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from secure_xcom.core.access_policy.yaml_reader import Marks, Path

Trouble = tuple[Path, str]
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


class Read(NamedTuple):
    """A JSON document as it was read.

    :ivar marks: the line and column of each value, from 1.
    :ivar twice: the duplicate names.
    :ivar fault: the line, column and text of a syntax error; then there is nothing else.
    """

    data: Any = None
    marks: Marks = {}  # noqa: RUF012  # never written to
    twice: Sequence[Trouble] = ()
    fault: tuple[int, int, str] | None = None


def read(text: str) -> Read:
    """Read a document, whatever is wrong with it."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        return Read(fault=(error.lineno, error.colno, error.msg))
    except ValueError:
        # The one other error: a whole number of more digits than Python reads (sys.set_int_max_str_digits).
        return Read(fault=(1, 1, "a number of thousands of digits"))
    except RecursionError:
        return Read(fault=(1, 1, "nested too deep"))
    return Read(data, *_marks_of(text))


def _marks_of(text: str) -> tuple[Marks, list[Trouble]]:
    marks: Marks = {}
    twice: list[Trouble] = []
    # For each open object or list: its path, and the next key or index.
    stack: list[tuple[Path, list[str | int | None]]] = [((), [None])]
    line, line_begins, counted_to = 1, 0, 0
    for token in _TOKEN.finditer(text):
        sign, offset = token.group(), token.start()
        line += text.count("\n", counted_to, offset)
        line_begins = text.rfind("\n", 0, offset) + 1 if "\n" in text[counted_to:offset] else line_begins
        counted_to = offset
        path, following = stack[-1]
        if sign in "}]":
            stack.pop()
        elif sign == ",":
            following[0] = following[0] + 1 if isinstance(following[0], int) else None
        elif sign != ":":
            part = following[0]
            if sign.startswith('"') and part is None and len(stack) > 1:
                key = json.loads(sign)
                following[0] = key
                if (*path, key) in marks:
                    twice.append(((*path, key), f"{key!r:.60} occurs twice"))
                continue
            value_path = path if part is None else (*path, part)
            marks[value_path] = (line, offset - line_begins + 1)
            if sign in "{[":
                stack.append((value_path, [0 if sign == "[" else None]))
    return marks, twice
