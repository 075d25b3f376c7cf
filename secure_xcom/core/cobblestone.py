"""Cobblestone-256 (C2SP chunked-encryption v1), from the library where it has it.

It came with cryptography 50. Where Airflow's constraints pin an older one, and only there, the same format is
composed of the library's AES-GCM and HKDF (docs/adr/0093).
"""

from __future__ import annotations

try:
    from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
except ModuleNotFoundError:
    from secure_xcom.core.composed_cobblestone import (  # type: ignore[assignment]  # the same methods
        Cobblestone256Decryptor,
        Cobblestone256Encryptor,
    )

__all__ = ["Cobblestone256Decryptor", "Cobblestone256Encryptor"]
