"""Compression before sealing: whole for what is small, in a stream for what is large.

The head says which, ``none`` or ``zstd``; a zstd frame always says how much it holds (docs/reference/format.md).
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from secure_xcom.core.errors import CodecUnknown, ValueNotDecodable, ValueTooLarge

if TYPE_CHECKING:
    import zstandard

NO_COMPRESSION = "none"
ZSTD = "zstd"

STREAM_FROM_BYTES = 1 << 20
"""From here on a value is compressed, sealed and put in pieces, and collected in pieces when it is opened."""

# The level at which zstd still outruns AES-GCM and a loopback store on one core.
ZSTD_LEVEL = 1
# Under this a frame's own header eats what compression saves.
_COMPRESS_FROM_BYTES = 256


class _Here(threading.local):
    """What a thread compresses and decompresses whole values with: to make it anew costs as much as 10 KB."""

    @cached_property
    def compressor(self) -> zstandard.ZstdCompressor:
        import zstandard

        return zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=False)

    @cached_property
    def decompressor(self) -> zstandard.ZstdDecompressor:
        import zstandard

        return zstandard.ZstdDecompressor()


_here = _Here()


def compress(data: bytes, how: str) -> tuple[str, bytes]:
    """Compress where it shrinks. Gives the name for the head and the bytes."""
    if how == ZSTD and len(data) >= _COMPRESS_FROM_BYTES:
        smaller = _here.compressor.compress(data)
        if len(smaller) < len(data):
            return ZSTD, smaller
    return NO_COMPRESSION, data


def decompress(pieces: Iterable[bytes], how: str, *, max_bytes: int, where: str = "") -> bytes:
    """Undo either, giving at most ``max_bytes``.

    :raises ValueTooLarge: the value is over the limit.
    :raises ValueNotDecodable: the bytes are not exactly one frame that says its size (docs/reference/format.md).
    :raises CodecUnknown: this release has no compression of this name.
    """
    if how == NO_COMPRESSION:
        return _collect(pieces, max_bytes, where)
    if how != ZSTD:
        raise CodecUnknown(f"no compression is named {how!r:.40}", where=where)
    return _decompressed(_collect(pieces, max_bytes, where), max_bytes, where)


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
        raise ValueTooLarge(f"the value has over {max_bytes} bytes, which are allowed", where=where)
    # The buffer's own bytes are given, without a copy.
    return first if held is None else held.getvalue()


def _decompressed(data: bytes, max_bytes: int, where: str) -> bytes:
    import zstandard

    try:
        size = zstandard.frame_content_size(data)
        if size > max_bytes:
            raise ValueTooLarge(f"the value has {size} bytes, {max_bytes} are allowed", where=where)
        if size < 1:
            # Without a size the library allocates the whole limit, and at size 0 it looks at nothing more.
            raise ValueNotDecodable("a zstd frame that does not say what it holds", where=where)
        # Undone whole, not in a stream: so the size that the frame says is what is allocated, and what more than
        # it unfolds, or what comes after it, is an error of the library's.
        return _here.decompressor.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError:
        raise ValueNotDecodable(
            "not one whole zstd frame: no frame, another size than it says, or something after it", where=where
        ) from None
