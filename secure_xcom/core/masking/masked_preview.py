"""Draw the masked picture of a value: as its shape, with the values that are not secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import islice
from typing import Any

from secure_xcom.core.masking.preview_render import MASK, MORE, Detail
from secure_xcom.core.masking.preview_secrets import HidingRenderer, number_text
from secure_xcom.core.masking.secrets_in_text import scrub
from secure_xcom.core.masking.texts import PACKED, looks_like_json, parse_json

# A longer text is shown by its length only, so that the cost stays bounded whatever is pushed.
_TEXT_MAX_CHARACTERS = 8192
# PostgreSQL's JSONB refuses NUL, and lone surrogates cannot be UTF-8.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class MaskedRenderer(HidingRenderer):
    """Draws values as well."""

    def same_at(self, _poorer: Detail) -> bool:
        return False  # Its texts are shorter.

    def _paint_constant(self, node: bool | None) -> object:
        return node

    def _paint_number(self, node: float) -> object:
        number = number_text(node)
        text = str(number)
        return number if self._hide(text) == text else MASK

    def _paint_text(self, text: str, depth: int) -> object:
        if not self._detail.characters or len(text) > _TEXT_MAX_CHARACTERS:
            return f"str({len(text)})"
        parsed = parse_json(text)
        if parsed is not None:
            return self._cut(json.dumps(self._paint(parsed, depth + 1), ensure_ascii=False))
        if looks_like_json(text) and text.rstrip()[-1:] in ("}", "]"):
            # It may be JSON of a kind that the guesses at free text do not know.
            return f"str({len(text)})"
        return self._scrub(text)

    def _paint_child(self, node: object, depth: int) -> object:
        return self._paint(node, depth)

    def _paint_key(self, key: object) -> str:
        return self._scrub(key) if isinstance(key, str) and self._detail.characters else super()._paint_key(key)

    def _entries(self, node: Iterable[Any], _depth: int) -> list[Any]:
        return list(islice(node, self._detail.entries))

    def _paint_data(self, classname: str, data: object, shown: str, depth: int) -> object:
        if data is None or classname.startswith(PACKED):
            return shown
        return self._paint(data, depth + 1)

    def _scrub(self, text: str) -> str:
        return self._cut(self._hide(scrub(text, self._names, MASK)))

    def _cut(self, text: str) -> str:
        limit = self._detail.characters
        return _UNSTORABLE.sub("\ufffd", text if len(text) <= limit else text[:limit] + MORE)
