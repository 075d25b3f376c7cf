"""Decide whether an XCom's row says that its value holds a secret, without opening it."""

from __future__ import annotations

from secure_xcom.core.masking.preview_render import MASK
from secure_xcom.core.masking.sensitive_names import SensitiveNames

# Far more parts than any push writes within the bytes that a preview may have.
_PARTS_MAX = 20_000


def has_sensitive_name(key: str, preview: object, names: SensitiveNames) -> bool:
    """Return whether the XCom's key or a field in its preview has a sensitive name.

    The preview is not authenticated, and whoever can write to Airflow's database can remove it; the key is in the
    authenticated head. A preview that is larger than any push writes counts as sensitive.

    :param preview: the reference's ``preview``, as parsed from the row; None where there is none.
    """
    if names.matches(key):
        return True
    # No recursion: the row of a database writer can be nested deeply.
    parts = [preview]
    count = 0
    while parts:
        part = parts.pop()
        count += 1
        if part == MASK or count > _PARTS_MAX:
            return True
        if isinstance(part, dict):
            if any(names.matches(name) for name in part):
                return True
            parts.extend(part.values())
        elif isinstance(part, list):
            parts.extend(part)
    return False
