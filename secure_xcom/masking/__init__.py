"""Sensitive names, the preview of a value, and what Airflow's secrets masker is told of it.

A value comes here as plain structures, the way Airflow's serialisation leaves it: dict, list, str, int, float,
bool and None, with ``__classname__``/``__data__`` around everything else; or as raw bytes.
"""

from __future__ import annotations

from secure_xcom.masking.clean import is_clean
from secure_xcom.masking.collect import Secrets, secrets_of, secrets_of_all
from secure_xcom.masking.names import DEFAULT_NAMES, SensitiveNames
from secure_xcom.masking.painter import MASK
from secure_xcom.masking.picture import preview
from secure_xcom.masking.registration import compile_once, register
from secure_xcom.masking.sensitive import holds_sensitive

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
