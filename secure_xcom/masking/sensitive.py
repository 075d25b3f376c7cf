"""Whether a value holds anything that a name says is secret."""

from __future__ import annotations

from secure_xcom.masking.leaves import leaves
from secure_xcom.masking.names import SensitiveNames


def holds_sensitive(structure: object, *, names: SensitiveNames, key: str) -> bool:
    """Whether a value is, by its XCom's key, or holds something under a sensitive name."""
    return names.matches(key) or any(
        leaf.sensitive for leaf in leaves(structure, names=names, sensitive=False, only_sensitive=True)
    )
