"""Cobblestone-256 (C2SP chunked-encryption v1), from the library where it has it.

It came with cryptography 50. Where Airflow's constraints pin an older one, and only there, the same format is
composed of the library's AES-GCM and HKDF (docs/adr/0093).
"""

from __future__ import annotations

from secure_xcom.core.load_adapter import load

IMPLEMENTATIONS = {
    "encryptor": "secure_xcom.core.composed_cobblestone:Cobblestone256Encryptor",
    "decryptor": "secure_xcom.core.composed_cobblestone:Cobblestone256Decryptor",
}
"""What is loaded where the library does not have the format."""

try:
    from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
except ModuleNotFoundError:
    Cobblestone256Encryptor = load(IMPLEMENTATIONS, "encryptor")  # type: ignore[misc]  # the same methods
    Cobblestone256Decryptor = load(IMPLEMENTATIONS, "decryptor")  # type: ignore[misc]  # as above

__all__ = ["Cobblestone256Decryptor", "Cobblestone256Encryptor"]
