"""Former path of `secure_xcom.core.codecs.registry`, kept for code that imports it."""

from secure_xcom.core.codecs.registry import Codec

__all__ = ["Codec"]
