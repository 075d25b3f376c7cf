"""Whether a value holds anything that a name says is secret."""

from __future__ import annotations

from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.walk import leaves


def holds_sensitive(structure: object, *, names: SensitiveNames, key: str) -> bool:
    """Whether a value is, by its XCom's key, or holds something under a sensitive name."""
    return names.matches(key) or any(
        leaf.sensitive for leaf in leaves(structure, names=names, sensitive=False, only_sensitive=True)
    )
