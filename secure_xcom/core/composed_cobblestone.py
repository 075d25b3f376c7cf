"""Compose Cobblestone-256 of the library's AES-GCM and HKDF, for a cryptography without ``cobblestone``.

The only file of the package that touches a cipher, and no task loads it where the library has the format:
docs/adr/0093 says why. Every step stands in C2SP chunked-encryption v1 (https://c2sp.org/chunked-encryption);
its sections are named beside the code. The two classes have the methods of ``cryptography.cobblestone`` that this
package calls, raise what those raise, and buffer as little.
"""

from __future__ import annotations

import os
from io import BytesIO
from typing import NoReturn

from cryptography.exceptions import AlreadyFinalized, InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

# "Key derivation": the sizes of AEAD_AES_256_GCM (RFC 5116, section 5.2), the salt and the commitment.
_KEY_BYTES = 32
_NONCE_BYTES = 12
_SALT_BYTES = 24
_COMMITMENT_BYTES = 32
_INFO = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
# "Message chunking": the last chunk is always shorter, so a full one is never the last.
_CHUNK_BYTES = 16 * 1024
_TAG_BYTES = 16
_MAX_CHUNKS = 2**38

Buffer = bytes | bytearray | memoryview


class _Chunks:
    """Encrypt or decrypt one message's chunks, each under the next nonce ("AEAD usage")."""

    __slots__ = ("_aead", "_base", "_number", "commitment")

    def __init__(self, key: bytes, salt: bytes, context: bytes) -> None:
        length = _KEY_BYTES + _NONCE_BYTES + _COMMITMENT_BYTES
        derived = HKDFExpand(SHA512(), length, _INFO + salt + context).derive(key)
        self._aead = AESGCM(derived[:_KEY_BYTES])
        self._base = int.from_bytes(derived[_KEY_BYTES : _KEY_BYTES + _NONCE_BYTES], "big")
        self._number = 0
        self.commitment = derived[_KEY_BYTES + _NONCE_BYTES :]

    def require_room_for(self, count: int) -> None:
        """Raise ValueError where ``count`` more chunks would exceed the 2**38 of a message."""
        if count > _MAX_CHUNKS - self._number:
            raise ValueError(f"a message has at most {_MAX_CHUNKS} chunks")

    def encrypt(self, chunk: Buffer) -> bytes:
        return self._aead.encrypt(self._next_nonce(), chunk, None)

    def decrypt(self, chunk: Buffer) -> bytes:
        return self._aead.decrypt(self._next_nonce(), chunk, None)

    def _next_nonce(self) -> bytes:
        self.require_room_for(1)
        nonce = (self._base ^ self._number).to_bytes(_NONCE_BYTES, "big")
        self._number += 1
        return nonce


class _OneMessage:
    """Hold what the encryptor and the decryptor share: less than a chunk of input, and no way into a pickle."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle a {type(self).__name__}: it holds a key")

    def _full(self, data: memoryview, size: int) -> list[Buffer]:
        """Return the full chunks of ``size`` bytes that ``data`` completes, and hold the rest."""
        full: list[Buffer] = []
        start = 0
        if self._held:
            start = min(size - len(self._held), len(data))
            self._held += data[:start]
            if len(self._held) == size:
                full.append(self._held)
                self._held = bytearray()
        # Slices of a view: nothing is copied but the rest.
        while len(data) - start >= size:
            full.append(data[start : start + size])
            start += size
        self._held += data[start:]
        return full


class Cobblestone256Encryptor(_OneMessage):
    """Encrypt one message under a key of 32 random bytes and a context.

    :raises ValueError: a key of another length.
    """

    __slots__ = ("_chunks", "_header")

    def __init__(self, key: Buffer, context: Buffer) -> None:
        super().__init__()
        salt = os.urandom(_SALT_BYTES)
        chunks = _Chunks(_checked(key), salt, _bytes(context))
        self._chunks: _Chunks | None = chunks
        self._header = salt + chunks.commitment

    @staticmethod
    def generate_key() -> bytes:
        """Return a new random key."""
        return AESGCM.generate_key(bit_length=8 * _KEY_BYTES)

    def update(self, data: Buffer) -> bytes:
        """Take more plaintext, and return what became whole; the first call returns the header too."""
        view = memoryview(data).cast("B")
        chunks = self._active()
        chunks.require_room_for((len(self._held) + len(view)) // _CHUNK_BYTES)
        # A stream hands out its buffer without a copy, so that a large piece is not in memory twice.
        out = BytesIO()
        out.write(self._take_header())
        for chunk in self._full(view, _CHUNK_BYTES):
            out.write(chunks.encrypt(chunk))
        return out.getvalue()

    def finalize(self) -> bytes:
        """Return the last chunk, which may be empty."""
        chunks = self._active()
        self._chunks = None
        return self._take_header() + chunks.encrypt(self._held)

    def _active(self) -> _Chunks:
        if self._chunks is None:
            raise AlreadyFinalized("Context was already finalized.")
        return self._chunks

    def _take_header(self) -> bytes:
        header, self._header = self._header, b""
        return header


class Cobblestone256Decryptor(_OneMessage):
    """Decrypt one message; only a `finalize` that returns says that nothing of it is missing.

    :raises ValueError: a key of another length.
    """

    __slots__ = ("_chunks", "_inputs")

    def __init__(self, key: Buffer, context: Buffer) -> None:
        super().__init__()
        # The key and the context until the header is there; neither once the message failed or ended.
        self._inputs: tuple[bytes, bytes] | None = (_checked(key), _bytes(context))
        self._chunks: _Chunks | None = None

    def update(self, data: Buffer) -> bytes:
        """Take more of the message, and return what is authentic.

        :raises InvalidTag: another key or context, or a changed byte. The decryptor is of no use after it.
        """
        view = memoryview(data).cast("B")
        self._require_active()
        try:
            rest = self._after_header(view)
            return b"" if self._chunks is None else self._decrypted(self._chunks, rest)
        except BaseException:
            self._end()
            raise

    def finalize(self) -> bytes:
        """Return the end of the plaintext.

        :raises InvalidTag: the message is cut, or its last chunk was changed.
        """
        self._require_active()
        chunks = self._chunks
        self._end()
        # What is held is shorter than a full chunk, as the last one has to be.
        if chunks is None or len(self._held) < _TAG_BYTES:
            raise InvalidTag
        return chunks.decrypt(self._held)

    def _after_header(self, data: memoryview) -> memoryview:
        """Take what the header lacks, check it once it is whole, and return the rest of ``data``."""
        if self._inputs is None:
            return data
        missing = _SALT_BYTES + _COMMITMENT_BYTES - len(self._held)
        self._held += data[:missing]
        if len(data) >= missing:
            salt, commitment = bytes(self._held[:_SALT_BYTES]), bytes(self._held[_SALT_BYTES:])
            chunks = _Chunks(self._inputs[0], salt, self._inputs[1])
            # "Key derivation": checked before any chunk is decrypted.
            if not bytes_eq(commitment, chunks.commitment):
                raise InvalidTag
            self._held, self._inputs, self._chunks = bytearray(), None, chunks
        return data[missing:]

    def _decrypted(self, chunks: _Chunks, data: memoryview) -> bytes:
        size = _CHUNK_BYTES + _TAG_BYTES
        chunks.require_room_for((len(self._held) + len(data)) // size)
        out = BytesIO()
        for chunk in self._full(data, size):
            out.write(chunks.decrypt(chunk))
        return out.getvalue()

    def _require_active(self) -> None:
        if self._inputs is None and self._chunks is None:
            raise AlreadyFinalized("Context was already finalized.")

    def _end(self) -> None:
        self._inputs = self._chunks = None


def _bytes(data: Buffer) -> bytes:
    # `bytes` of a number would be that many zeros.
    return bytes(memoryview(data))


def _checked(key: Buffer) -> bytes:
    if len(_bytes(key)) != _KEY_BYTES:
        raise ValueError(f"key must be {_KEY_BYTES} bytes.")
    return _bytes(key)
