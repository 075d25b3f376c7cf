"""Draw the preview: a picture of a value for people, without its secrets.

Two pictures: the shape has types, lengths and field names and no value at all; the masked one has values, and
gives up and becomes a shape where it cannot be sure.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

from secure_xcom.core.masking.preview_render import MASK, MORE, UNDRAWN, Detail, PreviewRenderer, number_text
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.structure import decoded

if TYPE_CHECKING:
    from secure_xcom.core.masking.walk import Leaf

# From rich to poor, until the picture fits.
_DETAILS = (
    Detail(6, 40, 200),
    Detail(5, 24, 80),
    Detail(4, 12, 40),
    Detail(3, 6, 24),
    Detail(2, 4, 12),
    Detail(1, 2, 8),
    Detail(0, 0, 0),
)
# A masked picture compares every text with every secret of the value. Beyond these it is a shape instead, so that
# the cost stays bounded whatever is pushed.
_LEAVES_MAX = 200_000
_SECRETS_MAX = 500
# A shape shows field names only, and looks for secrets of just the beginning among them.
_FIRST_LEAVES = 5_000


def preview(
    structure: object, *, mode: str, names: SensitiveNames, key: str, max_bytes: int, clean: bool = False
) -> object | None:
    """Return a JSON-able picture of a value, None if there is none.

    :param mode: ``none``, ``shape`` or ``masked``.
    :param key: the XCom's own key; if it is sensitive, the whole picture is ``***``.
    :param clean: nothing in the value is secret by a name (`secure_xcom.core.masking.clean_check`), so that a
        shape need not look.
    :param max_bytes: what ``json.dumps`` of the picture has at the most.
    """
    if mode == "none":
        return None
    if names.matches(key):
        return MASK if _fits(MASK, max_bytes) else None
    secrets = _secrets(structure, names) if mode == "masked" else None
    masked = secrets is not None
    if secrets is None:
        secrets = frozenset() if clean else _first_secrets(structure, names)
    for detail in _DETAILS:
        picture = PreviewRenderer(names, secrets, detail, masked=masked, room=max_bytes).draw(structure)
        if picture is not UNDRAWN and _fits(picture, max_bytes):
            return picture
    return MORE if _fits(MORE, max_bytes) else None


def _fits(picture: object, max_bytes: int) -> bool:
    return len(json.dumps(picture)) <= max_bytes


def _secrets(structure: object, names: SensitiveNames) -> frozenset[str] | None:
    """Return every secret text of the value, None if there is too much to compare with."""
    from secure_xcom.core.masking.walk import leaves

    secrets: set[str] = set()
    for count, leaf in enumerate(leaves(structure, names=names, sensitive=False)):
        if leaf.sensitive:
            secrets.update(_texts(leaf))
        if count >= _LEAVES_MAX or len(secrets) > _SECRETS_MAX:
            return None
    return frozenset(secrets)


def _first_secrets(structure: object, names: SensitiveNames) -> frozenset[str]:
    from secure_xcom.core.masking.walk import leaves

    first = islice(leaves(structure, names=names, sensitive=False), _FIRST_LEAVES)
    return frozenset(islice((text for leaf in first if leaf.sensitive for text in _texts(leaf)), _SECRETS_MAX))


def _texts(leaf: Leaf) -> set[str]:
    value = decoded(leaf.value) if isinstance(leaf.value, bytes) else leaf.value
    if isinstance(value, str):
        return {text for text in (value, value.strip()) if text}
    text = number_text(value)
    return {text} if isinstance(text, str) else {str(text)}
