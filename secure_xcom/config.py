"""Former path of `secure_xcom.core.config`, kept for code that imports it."""

from secure_xcom.core.config import Settings

__all__ = ["Settings"]
