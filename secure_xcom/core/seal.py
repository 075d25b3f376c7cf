"""Seal and open: plaintext bytes <-> sealed payload, with Cobblestone-256.

A sealed payload is a plain Cobblestone-256 message (C2SP chunked-encryption v1: AES-256-GCM, HKDF-SHA-512,
key-committing, 16 KiB chunks), made and opened by `secure_xcom.core.cobblestone`. Its context is the head of the
reference in canonical JSON, so nothing that a reader relies on can be changed. There is no cipher code here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from cryptography.exceptions import InvalidTag

from secure_xcom.core.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from secure_xcom.core.errors import HeadTampered, PayloadSwapped, PayloadTampered, PayloadTruncated
from secure_xcom.core.reference import HEADER_BYTES

_CHUNK_BYTES = 16_384
_TAG_BYTES = 16


def sealed_size(size: int) -> int:
    """Return the size in bytes of the sealed payload of ``size`` bytes of plaintext (C2SP, "Message chunking")."""
    return HEADER_BYTES + size + (size // _CHUNK_BYTES + 1) * _TAG_BYTES


def seal(key: bytes, context: bytes, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Seal the plaintext's pieces; the first piece that comes out starts with the whole header.

    :param key: the data key, 32 uniformly random bytes.
    :param context: the head in canonical JSON.
    """
    encryptor = Cobblestone256Encryptor(key, context)
    held = b""
    for piece in pieces:
        held += encryptor.update(piece)
        if len(held) > _CHUNK_BYTES:
            yield held
            held = b""
    # What is small comes out as one piece, and takes one write.
    yield held + encryptor.finalize()


def unseal(
    key: bytes, context: bytes, pieces: Iterable[bytes], *, header: bytes, size: int, where: str = ""
) -> Iterator[bytes]:
    """Open a sealed payload's pieces.

    Every piece that comes out is authentic, but only the end of the iteration proves that none is missing: the
    caller must not act on any of them before it. ``header`` and ``size`` (bytes) come from the reference and
    serve only to tell *what* was tampered with: whether the payload opens is decided by the message itself. Of a
    payload that is longer than its size, no more is taken than shows that it is.

    :raises PayloadSwapped: the payload starts with another header than the reference was made with.
    :raises PayloadTruncated: the payload has another length.
    :raises HeadTampered: the head or the data key is not the one that this payload was sealed with.
    :raises PayloadTampered: a byte of the payload was changed.
    """
    stream = iter(pieces)
    start = b""
    while len(start) < HEADER_BYTES:
        piece = next(stream, None)
        if piece is None:
            raise PayloadTruncated(f"the payload ends after {len(start)} of {size} bytes", where=where)
        start = bytes(piece) if not start else start + piece
    if start[:HEADER_BYTES] != header:
        raise PayloadSwapped("the store holds another payload than the reference was made for", where=where)

    decryptor = Cobblestone256Decryptor(key, context)
    try:
        decryptor.update(start[:HEADER_BYTES])
    except InvalidTag:
        raise HeadTampered(
            "the head of the reference, or its data key, is not the one that the payload was sealed with",
            where=where,
        ) from None

    seen = HEADER_BYTES
    rest = memoryview(start)[HEADER_BYTES:]
    try:
        for part in chain[bytes | memoryview]((rest,), stream):
            seen += len(part)
            if seen > size:
                break
            # Not kept here, so that its memory, still in the processor's cache, is that of the next piece.
            yield decryptor.update(part)
        last = b"" if seen > size else decryptor.finalize()
    except InvalidTag:
        for piece in stream:
            seen += len(piece)
            if seen > size:
                break
        if seen != size:
            raise _of_another_length(seen, size, where) from None
        raise PayloadTampered("the payload was changed after it was sealed", where=where) from None
    if seen != size:
        raise _of_another_length(seen, size, where)
    yield last


def _of_another_length(seen: int, size: int, where: str) -> PayloadTruncated:
    # One that is longer is not read to its end to say by how much: that may be for ever.
    length = f"{seen} bytes instead of {size}" if seen < size else f"more than the {size} bytes of its reference"
    return PayloadTruncated(f"the payload has {length}", where=where)


class Counted:
    """Count the bytes of the pieces as they are consumed."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size += len(piece)
            yield piece
