"""Former path of `secure_xcom.claims.exclusive`, kept for code that imports it."""

from secure_xcom.claims.exclusive import exclusive

__all__ = ["exclusive"]
