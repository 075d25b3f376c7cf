"""The preview of a row for the page: bounded, and of JSON that every browser reads, whatever stands in the row."""

from __future__ import annotations

import math
import re
from typing import Any

DEPTH_MAX = 64
PARTS_MAX = 20_000
CHARACTERS_MAX = 64 << 10
# Larger whole numbers lose digits in JavaScript (ECMA-262, Number.MAX_SAFE_INTEGER).
_SAFE_INTEGER = (1 << 53) - 1
_FRAME_CODECS = ("arrow-", "npy")
_COLUMNS_MAX = 500
_MORE = re.compile(r"(\d{1,9}) more")


TOO_LARGE = object()
"""No preview: it is larger or deeper than a push of ours writes. (None is the preview of None.)"""


class _TooLargeError(Exception):
    """The preview has more than is shown."""


def bounded(preview: object) -> Any:
    """Return a preview as plain JSON, or `TOO_LARGE` where it has too many parts, levels or characters."""
    try:
        return _Copy().of(preview, 0)
    except _TooLargeError:
        return TOO_LARGE


class _Copy:
    def __init__(self) -> None:
        self._parts = PARTS_MAX
        self._characters = CHARACTERS_MAX

    def of(self, node: object, depth: int) -> Any:
        self._parts -= 1
        if self._parts < 0 or depth > DEPTH_MAX:
            raise _TooLargeError
        if isinstance(node, dict):
            return {self._text(str(name)): self.of(child, depth + 1) for name, child in node.items()}
        if isinstance(node, list):
            return [self.of(child, depth + 1) for child in node]
        if isinstance(node, str):
            return self._text(node)
        if isinstance(node, float) and not math.isfinite(node):
            return str(node)
        if isinstance(node, int) and not isinstance(node, bool) and abs(node) > _SAFE_INTEGER:
            return self._text(str(node))
        return node

    def _text(self, text: str) -> str:
        self._characters -= len(text)
        if self._characters < 0:
            raise _TooLargeError
        return text


def frame(codec: str, preview: object) -> dict[str, Any] | None:
    """Return the columns of a table, frame or array with their types, None where the preview does not tell them.

    :param preview: as `bounded` gives it.
    """
    if not codec.startswith(_FRAME_CODECS) or not isinstance(preview, dict) or len(preview) != 1:
        return None
    name, body = next(iter(preview.items()))
    columns = body.get("columns") if isinstance(body, dict) else None
    if not isinstance(columns, dict):
        return None
    rows = body.get("rows")
    columns_drawn, more = [], 0
    for label, cells in columns.items():
        cut = _MORE.fullmatch(cells) if label == "..." and isinstance(cells, str) else None
        if cut:
            more = int(cut[1])
        else:
            columns_drawn.append({"name": label, "type": _type(cells)})
    return {
        "type": name,
        "rows": rows if isinstance(rows, int) and not isinstance(rows, bool) else None,
        "columns": columns_drawn[:_COLUMNS_MAX],
        "more": more + max(0, len(columns_drawn) - _COLUMNS_MAX),
    }


def _type(cells: object) -> str:
    """Return what the cells of a column are, by the first that tells."""
    if not isinstance(cells, list):
        return "masked" if cells == "***" else "unknown"
    for cell in cells:
        if cell is None or cell in ("None", "..."):
            continue
        if not isinstance(cell, str):
            return {bool: "bool", int: "int", float: "float", list: "list", dict: "dict"}.get(
                type(cell), "unknown"
            )
        return "masked" if cell == "***" else _TYPES.get(cell.partition("(")[0], "str")
    return "unknown"


_TYPES = {name: name for name in ("int", "float", "bool", "bytes", "list", "dict", "date", "datetime", "Decimal")}
