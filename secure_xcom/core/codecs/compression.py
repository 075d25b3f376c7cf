"""Compression before sealing: whole for what is small, in a stream for what is large.

The head says which, ``none`` or ``zstd``; a zstd frame always says how much it holds (docs/reference/format.md).
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import chain

from secure_xcom.core.errors import CodecUnknown, ValueTooLarge

NO_COMPRESSION = "none"
ZSTD = "zstd"

STREAM_FROM_BYTES = 1 << 20
"""From here on a value is compressed, sealed and put in pieces, and collected in pieces when it is opened."""

# Under this a frame's own header eats what compression saves.
_COMPRESS_FROM_BYTES = 256


def compress(data: bytes, how: str) -> tuple[str, bytes]:
    """Compress where it shrinks. Gives the name for the head and the bytes."""
    if how == ZSTD and len(data) >= _COMPRESS_FROM_BYTES:
        from secure_xcom.core.codecs import zstd

        smaller = zstd.compress(data)
        if len(smaller) < len(data):
            return ZSTD, smaller
    return NO_COMPRESSION, data


def decompress(pieces: Iterable[bytes], how: str, *, max_bytes: int, where: str = "") -> bytes:
    """Decompress, and refuse more than ``max_bytes``.

    :raises ValueTooLarge: the value is over the limit.
    :raises ValueNotDecodable: the bytes are not exactly one frame that says its size (docs/reference/format.md).
    :raises CodecUnknown: this release has no compression of this name.
    """
    if how == NO_COMPRESSION:
        return _collect(pieces, max_bytes, where)
    if how != ZSTD:
        raise CodecUnknown(f"no compression is named {how!r:.40}", where=where)
    from secure_xcom.core.codecs import zstd

    return zstd.decompress(_collect(pieces, max_bytes, where), max_bytes, where)


def _collect(pieces: Iterable[bytes], max_bytes: int, where: str) -> bytes:
    """Return all pieces as one, with none of them kept beside it."""
    stream = (piece for piece in pieces if piece)
    first, second = next(stream, b""), next(stream, b"")
    size = len(first)
    # What is small comes in one piece, and is not copied.
    held = io.BytesIO(first) if second else None
    if held is not None:
        held.seek(0, io.SEEK_END)
        for piece in chain((second,), stream):
            size += len(piece)
            if size > max_bytes:
                break
            held.write(piece)
    if size > max_bytes:
        raise ValueTooLarge(f"the value has over {max_bytes} bytes, the maximum", where=where)
    # The buffer's own bytes are given, without a copy.
    return first if held is None else held.getvalue()
