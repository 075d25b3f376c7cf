"""The strings of one value that are registered with a masker."""

from __future__ import annotations

from secure_xcom.core.masking.secrets_of_value import Secrets, secrets_of_all
from secure_xcom.core.masking.sensitive_names import SensitiveNames


def secrets_of(structure: object, *, names: SensitiveNames, key: str, mode: str, cap: int) -> Secrets:
    """Return the strings of one value to register.

    :param key: the XCom's own key; if it is sensitive, the whole value is.
    """
    return secrets_of_all(((structure, key, None),), names=names, mode=mode, cap=cap)
