"""Compress and decompress whole values with zstd. Only a value that is compressed loads this, and the library."""

from __future__ import annotations

import threading

import zstandard

from secure_xcom.core.errors import ValueNotDecodable, ValueTooLarge

# The level at which zstd still outruns AES-GCM and a loopback store on one core.
LEVEL = 1


class _Here(threading.local):
    """What a thread compresses and decompresses with: to make it anew costs as much as 10 KB."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False)
        self.decompressor = zstandard.ZstdDecompressor()


_here = _Here()


def compress(data: bytes) -> bytes:
    """Return one frame, which says how much it holds."""
    return _here.compressor.compress(data)


def decompress(data: bytes, max_bytes: int, where: str) -> bytes:
    """Return what one frame holds.

    :raises ValueTooLarge: it holds more than the limit.
    :raises ValueNotDecodable: it is not exactly one frame that says its size (docs/reference/format.md).
    """
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
