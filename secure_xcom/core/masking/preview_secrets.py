"""The secrets of a value that its picture must not show."""

from __future__ import annotations

import math
from itertools import islice

from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.structure import decoded
from secure_xcom.core.masking.walk import Leaf, Leaves, leaves

_DIGITS_MAX_BITS = 128
# A masked picture compares every text with every secret of the value. Beyond these it is a shape instead, so that
# the cost stays bounded whatever is pushed.
_LEAVES_MAX = 200_000
_SECRETS_MAX = 500
# A shape shows field names only, and looks for secrets of just the beginning among them.
_FIRST_LEAVES = 5_000


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
