"""The secrets of a value that its picture must not show, and the shape without them."""

from __future__ import annotations

import math
from itertools import islice

from secure_xcom.core.masking.preview_render import MASK, Detail, PreviewRenderer
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.texts import cut_out, decoded
from secure_xcom.core.masking.walk import Leaf, Leaves, leaves

_DIGITS_MAX_BITS = 128
# A secret shorter than this is hidden where it stands alone, not inside other words.
_PART_MIN_CHARACTERS = 3
# A text with more places to hide than this is hidden whole.
_FOUND_MAX = 2000
# A masked picture compares every text with every secret of the value. Beyond these it is a shape instead, so that
# the cost stays bounded whatever is pushed.
_LEAVES_MAX = 200_000
_SECRETS_MAX = 500
# A shape shows field names only, and looks for secrets of just the beginning among them.
_FIRST_LEAVES = 5_000


class HidingRenderer(PreviewRenderer):
    """Draws the shape of a value that has secrets.

    :param secrets: the texts that no field's name may show.
    """

    def __init__(self, secrets: frozenset[str], names: SensitiveNames, detail: Detail, *, room: int) -> None:
        super().__init__(names, detail, room=room)
        self._secrets = secrets
        self._inside = sorted((text for text in secrets if len(text) >= _PART_MIN_CHARACTERS), key=len)

    def _hide(self, text: str) -> str:
        """Return the text without what is secret elsewhere in the value."""
        if text in self._secrets:
            return MASK
        places: list[tuple[int, int]] = []
        for secret in self._inside:
            if len(secret) > len(text):
                break
            start = text.find(secret)
            while start >= 0:
                places.append((start, start + len(secret)))
                start = text.find(secret, start + 1)
            if len(places) > _FOUND_MAX:
                return MASK
        return cut_out(text, places, MASK) if places else text


def number_text(value: float) -> int | float | str:
    """Return a number as JSON has it; one that JSON does not have, or that is over-long, as text."""
    if isinstance(value, int):
        return value if value.bit_length() <= _DIGITS_MAX_BITS else f"int({value.bit_length()} bits)"
    return value if math.isfinite(value) else str(value)


def secrets_of_picture(structure: object, names: SensitiveNames) -> frozenset[str] | None:
    """Return every secret text of the value, None if there is too much to compare with."""
    secrets: set[str] = set()
    for count, leaf in enumerate(leaves(structure, names=names, sensitive=False)):
        if leaf.sensitive:
            secrets.update(_texts(leaf))
        if count >= _LEAVES_MAX or len(secrets) > _SECRETS_MAX:
            return None
    return frozenset(secrets)


def first_secrets(structure: object, names: SensitiveNames, known: Leaves = None) -> frozenset[str]:
    """Return the first secret texts of the value, as many as a shape compares its field names with."""
    first = islice(leaves(structure, names=names, sensitive=False), _FIRST_LEAVES) if known is None else known
    return frozenset(islice((text for leaf in first if leaf.sensitive for text in _texts(leaf)), _SECRETS_MAX))


def _texts(leaf: Leaf) -> set[str]:
    value = decoded(leaf.value) if isinstance(leaf.value, bytes) else leaf.value
    if isinstance(value, str):
        return {text for text in (value, value.strip()) if text}
    text = number_text(value)
    return {text} if isinstance(text, str) else {str(text)}
