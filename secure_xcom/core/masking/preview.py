"""Draw the preview: a picture of a value for people, without its secrets.

Two pictures: the shape has types, lengths and field names and no value at all; the masked one has values, and
gives up and becomes a shape where it cannot be sure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from secure_xcom.core.masking.preview_render import MASK, MORE, UNDRAWN, Detail, PreviewRenderer
from secure_xcom.core.masking.sensitive_names import SensitiveNames

if TYPE_CHECKING:
    from secure_xcom.core.masking.walk import Leaves

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


def preview(
    structure: object, *, mode: str, names: SensitiveNames, key: str, max_bytes: int, known: Leaves = None
) -> object | None:
    """Return a JSON-able picture of a value, None if there is none.

    :param mode: ``none``, ``shape`` or ``masked``.
    :param key: the XCom's own key; if it is sensitive, the whole picture is ``***``.
    :param known: what in the value is secret by a name, where it has been looked for, so that a shape need not.
    :param max_bytes: what ``json.dumps`` of the picture has at the most.
    """
    if mode == "none":
        return None
    if names.matches(key):
        return MASK if _fits(MASK, max_bytes) else None
    renderer = _renderer(structure, names, masked=mode == "masked", known=known)
    drawn: PreviewRenderer | None = None
    for detail in _DETAILS:
        if drawn and drawn.same_at(detail):
            continue
        drawn = renderer(names, detail, room=max_bytes)
        picture = drawn.draw(structure)
        if picture is not UNDRAWN and _fits(picture, max_bytes):
            return picture
    return MORE if _fits(MORE, max_bytes) else None


def _fits(picture: object, max_bytes: int) -> bool:
    return len(json.dumps(picture)) <= max_bytes


def _renderer(
    structure: object, names: SensitiveNames, *, masked: bool, known: Leaves
) -> Callable[..., PreviewRenderer]:
    """Return what draws the picture, without the secrets that it must not show."""
    if known == () and not masked:
        return PreviewRenderer
    from secure_xcom.core.masking.preview_secrets import HidingRenderer, first_secrets, secrets_of_picture

    if masked and (secrets := secrets_of_picture(structure, names)) is not None:
        from secure_xcom.core.masking.masked_preview import MaskedRenderer

        return partial(MaskedRenderer, secrets)
    return partial(HidingRenderer, first_secrets(structure, names, known))
