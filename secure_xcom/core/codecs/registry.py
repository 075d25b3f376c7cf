"""Which codec takes which type. Those of this package by name, those of others by entry point.

A package adds a codec so, and its name then stands in the head of every XCom that it encoded::

    [project.entry-points."secure_xcom.codecs"]
    "acme.mesh" = "acme.xcom:MeshCodec"

The name has a dot, so that none of ours is ever replaced. The class is made without arguments and is a `Codec`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from secure_xcom.core.codecs import Decoded, Encoded
from secure_xcom.core.errors import (
    CodecUnknown,
    SecureXComError,
    ValueNotDecodable,
    ValueNotSerialisable,
    ValueTooLarge,
)
from secure_xcom.core.load_adapter import load

if TYPE_CHECKING:
    from typing_extensions import Buffer

GROUP = "secure_xcom.codecs"

IMPLEMENTATIONS = {
    "arrow-pandas": "secure_xcom.core.codecs.pandas_frames:PandasCodec",
    "arrow-polars": "secure_xcom.core.codecs.arrow:PolarsCodec",
    "arrow-table": "secure_xcom.core.codecs.arrow:TableCodec",
    "npy": "secure_xcom.core.codecs.numpy_arrays:NpyCodec",
}
"""The codec of each name in a head, besides JSON and bytes."""

# The full names of the types that each takes. They are named, not imported: no push of a dict waits for pandas.
_OURS_BY_TYPE = {
    **dict.fromkeys(
        ("pandas.DataFrame", "pandas.core.frame.DataFrame", "pandas.Series", "pandas.core.series.Series"),
        "arrow-pandas",
    ),
    **dict.fromkeys(("polars.dataframe.frame.DataFrame", "polars.series.series.Series"), "arrow-polars"),
    **dict.fromkeys(("pyarrow.lib.Table", "pyarrow.lib.RecordBatch"), "arrow-table"),
    "numpy.ndarray": "npy",
}


class Codec(Protocol):
    """Encode values of some types as bytes, and decode them.

    :ivar types: the full names (``module.qualname``) of the types that the codec encodes, matched exactly,
        because an instance of a subclass would come back as another type.
    """

    types: Sequence[str]

    def encode(self, value: Any) -> Sequence[Buffer] | None:
        """Return the value as buffers, whose concatenation is the payload before it is sealed.

        Return None if the value would not come back equal and with the same type; Airflow's own serialization then
        encodes it. A view of the value's own memory avoids a copy. Any error becomes `ValueNotSerialisable`.
        """

    def decode(self, data: bytes) -> Any:
        """Return the value. The bytes are authentic: exactly those that `encode` returned.

        Any error becomes `ValueNotDecodable`.
        """

    def picture(self, value: Any) -> object:
        """Return the value, or its beginning, as dicts, lists, strings and numbers, for masking and previews."""


@runtime_checkable
class Unfolding(Codec, Protocol):
    """A codec that compresses, and that can report the decompressed size before it decompresses."""

    def unfolded(self, data: bytes) -> int:
        """Return how many bytes of memory `decode` needs for decompressed data, in addition to `data`."""


def codec_for(value: object) -> tuple[str, Codec] | None:
    """Return the codec for a value's type and its name; None where Airflow's serialization is to take it."""
    kind = type(value)
    full_name = f"{kind.__module__}.{kind.__qualname__}"
    if full_name in _OURS_BY_TYPE:
        name = _OURS_BY_TYPE[full_name]
        return name, _codec(name)
    for name in _others():
        codec = _codec(name)
        if full_name in codec.types:
            return name, codec
    return None


def codec_named(name: str, *, where: str = "") -> Codec:
    """Return the codec that a head names.

    :raises CodecUnknown: neither this release nor an installed package has one of this name.
    """
    if name not in IMPLEMENTATIONS and name not in _others():
        raise CodecUnknown(f"no codec is named {name!r:.40}", where=where)
    return _codec(name)


def encode_by_type(value: object, where: str) -> Encoded | None:
    """Encode a value with the codec for its type; None where Airflow's serialization is to take it.

    :param where: the coordinate, for errors.
    :raises ValueNotSerialisable: the codec fails.
    """
    chosen = codec_for(value)
    if chosen is None:
        return None
    name, codec = chosen
    try:
        buffers = codec.encode(value)
        return None if buffers is None else Encoded(name, tuple(buffers), codec.picture(value))
    except SecureXComError:
        raise
    except Exception as error:  # noqa: BLE001  # a library's own error may quote the value
        raise ValueNotSerialisable(
            f"a value of type {type(value).__module__}.{type(value).__qualname__} cannot be encoded by codec "
            f"{name!r:.40} ({type(error).__name__})",
            where=where,
        ) from None


def decode_by_name(name: str, data: bytes, max_bytes: int, where: str) -> Decoded:
    """Decode bytes with the codec that their head names.

    :param max_bytes: to how many bytes what is compressed within them may unfold.
    :raises CodecUnknown, ValueTooLarge, ValueNotDecodable: as `Codecs.decode`.
    """
    codec = codec_named(name, where=where)
    try:
        if isinstance(codec, Unfolding):
            _check_unfolded(codec.unfolded(data), max_bytes, where)
        value = codec.decode(data)
        return Decoded(value, codec.picture(value))
    except ValueTooLarge:
        raise
    except ImportError as error:
        raise ValueNotDecodable(
            f"the codec {name!r:.40} needs a library that this worker does not have: {error.name}", where=where
        ) from None
    except Exception as error:  # noqa: BLE001  # a library's own error may quote the value
        raise ValueNotDecodable(f"not of the codec {name!r:.40} ({type(error).__name__})", where=where) from None


def _check_unfolded(size: int, max_bytes: int, where: str) -> None:
    if size > max_bytes:
        raise ValueTooLarge(f"the value decompresses to {size} bytes, {max_bytes} are allowed", where=where)


def forget() -> None:
    """Look for installed codecs anew."""
    _others.cache_clear()
    _codec.cache_clear()


@lru_cache(maxsize=1)
def _others() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if "." in point.name}


@lru_cache
def _codec(name: str) -> Codec:
    ours: type[Codec] | None = load(IMPLEMENTATIONS, name)
    if ours is not None:
        return ours()
    try:
        made: Codec = _others()[name].load()()
    except Exception as error:  # noqa: BLE001  # a foreign package may raise anything
        raise CodecUnknown(
            f"the codec {name!r:.40} is installed but cannot be loaded ({type(error).__name__})",
            where=f"entry point {GROUP}",
        ) from None
    return made
