"""Value <-> bytes. The head records the codec's name; an unknown one is refused (`CodecUnknown`).

Airflow's own serialization turns objects into plain structures and back, so every type that the stock backend
takes comes back as the same type; it is handed in, because the core runs without Airflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from secure_xcom.core.codecs.compression import (
    NO_COMPRESSION,
    STREAM_FROM_BYTES,
    ZSTD,
    compress,
    decompress,
)
from secure_xcom.core.codecs.plain_json import Parts, from_json, plain_parts, to_json
from secure_xcom.core.errors import SecureXComError, ValueNotDecodable, ValueNotSerialisable

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

    from secure_xcom.core.masking.sensitive_names import SensitiveNames


__all__ = [
    "NO_COMPRESSION",
    "ZSTD",
    "Codecs",
    "Decoded",
    "Encoded",
    "Parts",
    "compress",
    "decompress",
    "pack",
]


# What JSON has a form for, which is nearly everything that is pushed: no codec is looked up for these.
_PLAIN = frozenset({dict, list, tuple, set, frozenset, str, int, float, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded value.

    :ivar codec: the name for the head.
    :ivar buffers: joined, the bytes.
    :ivar structure: the value as plain structures (dict, list, str, numbers, None) or bytes, for masking.
    :ivar parts: what the structure is made of, where it is the value itself.
    """

    codec: str
    buffers: tuple[Buffer, ...] = field(repr=False)
    structure: object = field(repr=False)
    parts: Parts | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return sum(memoryview(buffer).nbytes for buffer in self.buffers)

    @property
    def data(self) -> bytes:
        """Return the bytes; a single buffer of them is not copied."""
        first = self.buffers[0] if self.buffers else b""
        return first if isinstance(first, bytes) and len(self.buffers) == 1 else b"".join(self.buffers)


class Decoded(NamedTuple):
    """A value again, its plain structure, and that structure's parts where it is the value itself."""

    value: Any
    structure: object
    parts: Parts | None = None


class Codecs:
    """Chooses a codec by the value's type on push, and by the head's name on pull.

    :param to_structure: Airflow's ``serialize``: any value -> plain structures.
    :param from_structure: its inverse.
    """

    def __init__(self, to_structure: Callable[[Any], Any], from_structure: Callable[[Any], Any]) -> None:
        self._to_structure = to_structure
        self._from_structure = from_structure
        self._names: SensitiveNames | None = None

    def with_names(self, names: SensitiveNames) -> Self:
        """Return the same codecs, whose errors show no keys below these names: they may be secret."""
        other = copy(self)
        other._names = names
        return other

    def encode(self, value: object, *, where: str = "") -> Encoded:
        """Turn a value into bytes.

        :param where: the coordinate, for errors.
        :raises ValueNotSerialisable: names the class and path of the part at fault, never the value.
        """
        if type(value) in (bytes, bytearray):
            # Airflow's serialization has no form for bytes at all; kept raw they cost nothing.
            data = bytes(value)  # type: ignore[call-overload]  # of one of these types
            return Encoded(type(value).__name__, (data,), data)
        try:
            if type(value) not in _PLAIN:
                from secure_xcom.core.codecs.registry import encode_by_type

                if (encoded := encode_by_type(value, where)) is not None:
                    return encoded
            return self._encode_json(value)
        except SecureXComError:
            raise
        except Exception as error:  # noqa: BLE001  # a class's own serialize may raise anything, and quote the value
            from secure_xcom.core.codecs import failing_part

            part = failing_part.find(value, self._encode_json, error, self._names, where)
            what = f"the value cannot be serialized at {part.text}"
            raise ValueNotSerialisable(what, where=where, remedy=part.remedy) from None

    def _encode_json(self, value: object) -> Encoded:
        parts = plain_parts(value)
        structure = self._to_structure(value) if parts is None else value
        return Encoded("json", (to_json(structure, parts),), structure, parts)

    def decode(self, codec: str, data: bytes, *, max_bytes: int, where: str = "") -> Decoded:
        """Turn bytes back into the value.

        :param max_bytes: to how many bytes what is compressed within them may unfold.
        :raises CodecUnknown: this release has no codec of this name.
        :raises ValueTooLarge: they would unfold to more.
        :raises ValueNotDecodable: the bytes are not of this codec, or a class is missing on this worker.
        """
        if codec == "bytes":
            return Decoded(data, data)
        if codec == "bytearray":
            return Decoded(bytearray(data), data)
        if codec != "json":
            from secure_xcom.core.codecs.registry import decode_by_name

            return decode_by_name(codec, data, max_bytes, where)
        try:
            structure = from_json(data)
        except (ValueError, RecursionError) as error:
            raise ValueNotDecodable(f"not JSON ({type(error).__name__})", where=where) from None
        if data[-1:].isspace():
            from secure_xcom.core.codecs.search_mark import is_marked

            if is_marked(data, self._names):
                return Decoded(structure, structure, Parts())
        parts = plain_parts(structure, decoded=True)
        return Decoded(self.restore(structure, where=where) if parts is None else structure, structure, parts)

    def restore(self, structure: object, *, where: str = "") -> Any:
        """Return Airflow's deserialization of a plain structure.

        :raises ValueNotDecodable: names the class that is missing or not allowed, when that is the cause.
        """
        try:
            return self._from_structure(structure)
        except ImportError as error:
            # Airflow's text names the class and the option that allows it, and no value.
            raise ValueNotDecodable(str(error), where=where) from None
        except Exception as error:  # noqa: BLE001  # a class's own deserialize may do so as well
            raise ValueNotDecodable(f"{type(error).__name__} while it was rebuilt", where=where) from None


def pack(encoded: Encoded, how: str, *, whole_to: int) -> tuple[str, Iterable[bytes | memoryview], int | None]:
    """Compress an encoded value: the head's name for it, the pieces to seal, and their size.

    From 1 MiB on, and over ``whole_to`` bytes, it is done while the pieces are taken, and the size is not known
    before: None.
    """
    if encoded.size <= max(STREAM_FROM_BYTES, whole_to):
        compression, whole = compress(encoded.data, how)
        return compression, (whole,), len(whole)
    from secure_xcom.core.codecs.compress_stream import compress_stream

    return *compress_stream(encoded.buffers, how), None
