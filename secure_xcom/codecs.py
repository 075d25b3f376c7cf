"""Value <-> bytes. The codec's name is recorded in the head, and a codec that is not known is refused by name.

Airflow's own serialisation turns objects into plain structures and back, so every type that the stock backend
takes comes back as the same type; it is handed in, because the core runs without Airflow.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from secure_xcom.errors import CodecUnknown, ValueNotDecodable, ValueNotSerialisable, ValueTooLarge

NO_COMPRESSION = "none"
ZSTD = "zstd"

# The level at which zstd still outruns AES-GCM and a loopback store on one core.
_ZSTD_LEVEL = 1
# Under this a frame's own header eats what compression saves.
_COMPRESS_FROM_BYTES = 256


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded value.

    :ivar codec: the name for the head.
    :ivar data: the bytes.
    :ivar structure: the value as plain structures (dict, list, str, numbers, None) or bytes, for masking.
    """

    codec: str
    data: bytes = field(repr=False)
    structure: object = field(repr=False)


class Codecs:
    """Chooses a codec by the value's type on push, and by the head's name on pull.

    :param to_structure: Airflow's ``serialize``: any value -> plain structures.
    :param from_structure: its inverse.
    """

    def __init__(self, to_structure: Callable[[Any], Any], from_structure: Callable[[Any], Any]) -> None:
        self._to_structure = to_structure
        self._from_structure = from_structure

    def encode(self, value: object, *, where: str = "") -> Encoded:
        """Turn a value into bytes.

        :raises ValueNotSerialisable: names the type, never the value.
        """
        if type(value) in (bytes, bytearray):
            # Airflow's serialisation has no form for bytes at all; kept raw they cost nothing.
            return Encoded(type(value).__name__, bytes(value), bytes(value))  # type: ignore[call-overload]
        try:
            structure = self._to_structure(value)
            text = json.dumps(structure, ensure_ascii=False, separators=(",", ":"))
            # Python strings may hold lone surrogates, which strict UTF-8 refuses and JSON's escapes keep.
            data = text.encode("utf-8", "surrogatepass")
        except (TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueNotSerialisable(
                f"a value of type {type(value).__module__}.{type(value).__qualname__} cannot be serialised "
                f"({type(error).__name__})",
                where=where,
            ) from None
        return Encoded("json", data, structure)

    def decode(self, codec: str, data: bytes, *, where: str = "") -> tuple[Any, object]:
        """Turn bytes back into the value and its plain structure.

        :raises CodecUnknown: this release has no codec of this name.
        :raises ValueNotDecodable: the bytes are not of this codec, or a class is missing on this worker.
        """
        if codec == "bytes":
            return data, data
        if codec == "bytearray":
            return bytearray(data), data
        if codec != "json":
            raise CodecUnknown(f"no codec is named {codec!r:.40}", where=where)
        try:
            structure = json.loads(data.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError) as error:
            raise ValueNotDecodable(f"not JSON ({type(error).__name__})", where=where) from None
        return self.restore(structure, where=where), structure

    def restore(self, structure: object, *, where: str = "") -> Any:
        """Airflow's deserialisation of a plain structure.

        :raises ValueNotDecodable: names the class that is missing or not allowed, when that is the cause.
        """
        try:
            return self._from_structure(structure)
        except ImportError as error:
            # Airflow's text names the class and the option that allows it, and no value.
            raise ValueNotDecodable(str(error), where=where) from None
        except Exception as error:  # noqa: BLE001  # a class's own deserialize may raise anything, and quote the value
            raise ValueNotDecodable(f"{type(error).__name__} while it was built anew", where=where) from None


def compress(data: bytes, how: str) -> tuple[str, bytes]:
    """Compress where it shrinks. Gives the name for the head and the bytes."""
    if how == ZSTD and len(data) >= _COMPRESS_FROM_BYTES:
        import zstandard

        smaller = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=False).compress(data)
        if len(smaller) < len(data):
            return ZSTD, smaller
    return NO_COMPRESSION, data


def decompress(data: bytes, how: str, *, max_bytes: int, where: str = "") -> bytes:
    """Undo `compress`, giving at most ``max_bytes``.

    :raises ValueTooLarge: the value is over the limit.
    :raises ValueNotDecodable: the bytes are not exactly one frame that says its size (docs/spec.md).
    :raises CodecUnknown: this release has no compression of this name.
    """
    if how == NO_COMPRESSION:
        plain = data
    elif how == ZSTD:
        import zstandard

        try:
            size = zstandard.frame_content_size(data)
            if size > max_bytes:
                raise ValueTooLarge(f"the value has {size} bytes, {max_bytes} are allowed", where=where)
            if size < 1:
                # Without a size the library allocates the whole limit, and at size 0 it looks at nothing more.
                raise ValueNotDecodable("a zstd frame that does not say what it holds", where=where)
            # The size that the frame says is what is allocated, and what more than it unfolds is an error.
            plain = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
        except zstandard.ZstdError:
            raise ValueNotDecodable(
                "not one whole zstd frame: no frame, another size than it says, or something after it", where=where
            ) from None
    else:
        raise CodecUnknown(f"no compression is named {how!r:.40}", where=where)
    if len(plain) > max_bytes:
        raise ValueTooLarge(f"the value has {len(plain)} bytes, {max_bytes} are allowed", where=where)
    return plain
