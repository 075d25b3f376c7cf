"""Match sensitive names, preview values, and register secrets with Airflow's masker.

A value comes here as plain structures, the way Airflow's serialisation leaves it: dict, list, str, int, float,
bool and None, with ``__classname__``/``__data__`` around everything else; or as raw bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_xcom.core.masking.clean_check import is_clean
from secure_xcom.core.masking.preview import preview
from secure_xcom.core.masking.preview_render import MASK
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames

if TYPE_CHECKING:
    from secure_xcom.core.masking.masker_registration import compile_once, register
    from secure_xcom.core.masking.secrets_of_value import Secrets, secrets_of, secrets_of_all
    from secure_xcom.core.masking.walk import holds_sensitive

__all__ = [
    "DEFAULT_NAMES",
    "MASK",
    "Secrets",
    "SensitiveNames",
    "compile_once",
    "holds_sensitive",
    "is_clean",
    "preview",
    "register",
    "secrets_of",
    "secrets_of_all",
]


def __getattr__(name: str) -> object:
    # Most values hold nothing that has to be registered.
    if name in ("compile_once", "register"):
        from secure_xcom.core.masking import masker_registration

        return getattr(masker_registration, name)
    if name in ("Secrets", "secrets_of", "secrets_of_all"):
        from secure_xcom.core.masking import secrets_of_value

        return getattr(secrets_of_value, name)
    if name == "holds_sensitive":
        from secure_xcom.core.masking.walk import holds_sensitive

        return holds_sensitive
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
