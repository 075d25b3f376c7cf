"""The composed Cobblestone-256 against the published vectors, the second reader and the library's own."""

from __future__ import annotations

import base64
import copy
import hashlib
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.exceptions import AlreadyFinalized, InvalidTag
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secure_xcom.core import cobblestone as chosen
from secure_xcom.core import composed_cobblestone as composed
from tests.support import second_reader
from tests.vectors.generate import FOLDER

# Before cryptography 50 there is none: then the vectors and the second reader hold the composition.
HAS_LIBRARY = importlib.util.find_spec("cryptography.cobblestone") is not None
library: ModuleType = importlib.import_module("cryptography.cobblestone") if HAS_LIBRARY else composed

KEY, CONTEXT = b"\x07" * 32, b"context"
CHUNK, WIRE_CHUNK, HEADER = 16_384, 16_400, 56
PUBLISHED = json.loads((FOLDER / "c2sp" / "chunked-encryption-sha256.json").read_text())["vectors"]
# Sizes that lie beside every boundary, and any others.
SIZES = st.one_of(
    st.builds(lambda chunks, beside: max(0, chunks * CHUNK + beside), st.integers(0, 4), st.integers(-17, 17)),
    st.integers(0, 5 * CHUNK),
)
CUTS = st.lists(st.integers(0, 5 * WIRE_CHUNK + HEADER), max_size=6)


def plaintext_of(size: int) -> bytes:
    """Return plaintext whose chunks all differ."""
    return hashlib.shake_128(b"plaintext").digest(size)


def split(data: bytes, cuts: Sequence[int]) -> list[memoryview]:
    """Return the data in pieces that end at the cuts."""
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [memoryview(data)[start:end] for start, end in pairwise(ends)]


def sealed(module: ModuleType, plaintext: bytes, cuts: Sequence[int] = ()) -> bytes:
    """Return the message that a module's encryptor makes."""
    encryptor = module.Cobblestone256Encryptor(KEY, CONTEXT)
    return b"".join([*map(encryptor.update, split(plaintext, cuts)), encryptor.finalize()])


def opened(
    module: ModuleType, message: bytes, cuts: Sequence[int] = (), key: bytes = KEY, context: bytes = CONTEXT
) -> tuple[list[bytes], str]:
    """Return what a module's decryptor gives out piece by piece, and the name of the error that ends it."""
    given_out = []
    try:
        decryptor = module.Cobblestone256Decryptor(key, context)
        for piece in split(message, cuts):
            given_out.append(decryptor.update(piece))
        given_out.append(decryptor.finalize())
    except (InvalidTag, ValueError) as error:
        return given_out, type(error).__name__
    return given_out, ""


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["name"]) for vector in PUBLISHED])
def test_published_vectors(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message that `cryptography` publishes opens to its plaintext or is refused, as it says.

    They are of the same construction over SHA-256; Cobblestone-256 is the one over SHA-512.
    """
    monkeypatch.setattr(composed, "SHA512", SHA256)
    message = base64.b64decode(vector["ciphertext"] or "")
    if vector.get("compressed"):
        message = zlib.decompress(message)
    key, context = bytes.fromhex(vector["key"]), vector["context"].encode()
    given_out, error = opened(composed, message, (HEADER,), key, context)
    plaintext = b"".join(given_out)
    if vector["expect"] == "success":
        assert error == ""
        assert len(plaintext) == vector["payload_length"]
        assert hashlib.sha256(plaintext).hexdigest() == vector["payload_sha256"]
    else:
        assert error == ("ValueError" if len(key) != 32 else "InvalidTag")


@pytest.mark.on_request
@pytest.mark.skipif("SECURE_XCOM_WYCHEPROOF" not in os.environ, reason="SECURE_XCOM_WYCHEPROOF names no checkout")
@pytest.mark.parametrize("module", [composed, chosen], ids=["composed", "chosen"])
def test_wycheproof(module: ModuleType) -> None:
    """Every message of Wycheproof's for Cobblestone-256 opens or is refused as it says."""
    path = "testvectors_v1/c2sp_chunked_encryption_aes_256_gcm_test.json"
    groups = json.loads((Path(os.environ["SECURE_XCOM_WYCHEPROOF"]) / path).read_text())["testGroups"]
    vectors = [vector for group in groups for vector in group["tests"]]
    assert len(vectors) >= 35
    for vector in vectors:
        message, key, context = (bytes.fromhex(vector[name]) for name in ("ct", "key", "ctx"))
        given_out, error = opened(module, zlib.decompress(message), (HEADER,), key, context)
        if vector["result"] == "valid":
            plaintext = b"".join(given_out)
            assert (error, len(plaintext)) == ("", vector["msgLength"]), vector["tcId"]
            assert hashlib.sha512(plaintext).hexdigest() == vector["msgSha512"], vector["tcId"]
        else:
            assert error == ("ValueError" if len(key) != 32 else "InvalidTag"), vector["tcId"]


@given(size=SIZES, cuts=CUTS)
@example(size=0, cuts=[])
@example(size=CHUNK, cuts=[CHUNK])
@settings(max_examples=60, deadline=None)
def test_each_opens_what_the_other_seals(size: int, cuts: list[int]) -> None:
    """Whatever the size and the pieces, the message is the specified one, and both ways open it alike."""
    plaintext = plaintext_of(size)
    for sealing, opening in ((composed, library), (library, composed)):
        message = sealed(sealing, plaintext, cuts)
        assert second_reader.seal(KEY, CONTEXT, plaintext, message[:24]) == message
        given_out, error = opened(opening, message, cuts)
        assert (b"".join(given_out), error) == (plaintext, "")
        # The same bytes at the same call: the buffering is the library's, too.
        assert given_out == opened(sealing, message, cuts)[0]


MUTATIONS: dict[str, Callable[[bytes, int], bytes]] = {
    "truncated": lambda message, at: message[: at % len(message)],
    "truncated at a chunk": lambda message, at: message[: HEADER + at % 5 * WIRE_CHUNK],
    "truncated beside a chunk": lambda message, at: message[: HEADER + at % 5 * WIRE_CHUNK + at % 33 - 16],
    "extended": lambda message, at: message + plaintext_of(1 + at % (WIRE_CHUNK + 20)),
    "extended by its own end": lambda message, at: message + message[-(1 + at % WIRE_CHUNK) :],
    "a bit flipped": lambda message, at: _flipped(message, at % (8 * len(message))),
    "a bit of the header flipped": lambda message, at: _flipped(message, at % (8 * HEADER)),
    "chunks exchanged": lambda message, at: _rearranged(message, lambda chunks: chunks[::-1]),
    "a chunk twice": lambda message, at: _rearranged(message, lambda chunks: chunks[:1] + chunks),
    "a chunk dropped": lambda message, at: _rearranged(message, lambda chunks: chunks[1:]),
    "unchanged": lambda message, at: message,
}


def _flipped(message: bytes, bit: int) -> bytes:
    changed = bytearray(message)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _rearranged(message: bytes, order: Callable[[list[bytes]], list[bytes]]) -> bytes:
    body = message[HEADER:]
    return message[:HEADER] + b"".join(
        order([body[at : at + WIRE_CHUNK] for at in range(0, len(body), WIRE_CHUNK)])
    )


@pytest.mark.parametrize("mutation", MUTATIONS)
@given(size=SIZES, at=st.integers(0, 2**20), cuts=CUTS)
@settings(max_examples=25, deadline=None)
def test_both_refuse_the_same(mutation: str, size: int, at: int, cuts: list[int]) -> None:
    """A changed message is refused by the same error after the same plaintext; a whole one opens."""
    message = sealed(library, plaintext_of(size))
    changed = MUTATIONS[mutation](message, at)
    answer = opened(composed, changed, cuts)
    assert answer == opened(library, changed, cuts)
    assert (answer[1] == "") == (changed == message)


@pytest.mark.parametrize("module", [composed, library], ids=["composed", "library"])
def test_nothing_follows_an_end_or_a_failure(module: ModuleType) -> None:
    """After the end, and after a failure, encryptor and decryptor refuse every call."""
    encryptor = module.Cobblestone256Encryptor(KEY, CONTEXT)
    message = encryptor.finalize()
    ended = module.Cobblestone256Decryptor(KEY, CONTEXT)
    assert ended.update(message) + ended.finalize() == b""
    failed = module.Cobblestone256Decryptor(KEY, b"another context")
    with pytest.raises(InvalidTag):
        failed.update(message)
    early = module.Cobblestone256Decryptor(KEY, CONTEXT)
    with pytest.raises(InvalidTag):
        early.finalize()
    for used in (encryptor, ended, failed, early):
        with pytest.raises(AlreadyFinalized):
            used.update(b"")
        with pytest.raises(AlreadyFinalized):
            used.finalize()


@pytest.mark.parametrize("module", [composed, library], ids=["composed", "library"])
def test_what_is_no_key_or_no_bytes_is_refused(module: ModuleType) -> None:
    """A key of another length and what is no buffer are refused, and a buffer of any type is taken."""
    for name in ("Cobblestone256Encryptor", "Cobblestone256Decryptor"):
        for key in (b"", b"k" * 16, b"k" * 31, b"k" * 33):
            with pytest.raises(ValueError, match="key must be 32 bytes"):
                getattr(module, name)(key, CONTEXT)
        unfit: list[tuple[Any, Any]] = [("k" * 32, CONTEXT), (KEY, "text"), (32, CONTEXT), (KEY, 7)]
        for arguments in unfit:
            with pytest.raises(TypeError):
                getattr(module, name)(*arguments)
    encryptor = module.Cobblestone256Encryptor(bytearray(KEY), memoryview(CONTEXT))
    message = encryptor.update(bytearray(b"ab")) + encryptor.update(memoryview(b"c")) + encryptor.finalize()
    assert opened(composed, message) == ([b"", b"abc"], "")
    assert len({module.Cobblestone256Encryptor.generate_key() for _ in range(3)}) == 3
    assert len(module.Cobblestone256Encryptor.generate_key()) == 32


@pytest.mark.parametrize("module", [composed, library], ids=["composed", "library"])
def test_neither_is_shown_or_copied(module: ModuleType) -> None:
    """A key cannot leave by a repr, a pickle or a copy."""
    for made in (module.Cobblestone256Encryptor(KEY, CONTEXT), module.Cobblestone256Decryptor(KEY, CONTEXT)):
        assert repr(KEY)[2:-1] not in repr(made)
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle"):
                way(made)


def test_a_salt_is_used_once() -> None:
    """Two messages of one key and context have two salts."""
    assert len({sealed(composed, b"")[:24] for _ in range(50)}) == 50


def test_a_message_has_at_most_two_to_the_38_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk too many is refused before any of its piece is encrypted (C2SP, 'Message chunking')."""
    assert composed._MAX_CHUNKS == 2**38
    too_long = sealed(library, plaintext_of(3 * CHUNK))
    monkeypatch.setattr(composed, "_MAX_CHUNKS", 2)
    assert opened(composed, sealed(composed, plaintext_of(2 * CHUNK - 1)))[1] == ""
    encryptor = composed.Cobblestone256Encryptor(KEY, CONTEXT)
    with pytest.raises(ValueError, match="at most 2 chunks"):
        encryptor.update(plaintext_of(3 * CHUNK))
    encryptor.update(plaintext_of(2 * CHUNK))
    with pytest.raises(ValueError, match="at most 2 chunks"):
        encryptor.finalize()
    assert opened(composed, too_long)[1] == "ValueError"


def test_a_large_piece_is_in_memory_once() -> None:
    """Sealing and opening 8 MiB takes the memory of the result and an eighth, and holds less than a chunk."""
    plaintext = plaintext_of(8 * 1024 * 1024)
    message = sealed(library, plaintext)
    tracemalloc.start()
    try:
        for used, data in (
            (composed.Cobblestone256Encryptor(KEY, CONTEXT), plaintext),
            (composed.Cobblestone256Decryptor(KEY, CONTEXT), message),
        ):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            used.update(data)
            after, peak = tracemalloc.get_traced_memory()
            assert peak - before < 1.2 * len(data)
            assert after - before < 2 * WIRE_CHUNK
    finally:
        tracemalloc.stop()


def test_the_composition_is_loaded_only_where_the_library_has_none() -> None:
    """A process whose cryptography has the format never loads the composition; one without it gets it."""
    for hide, loaded in ((False, not HAS_LIBRARY), (True, True)):
        code = (
            "import sys\n"
            f"if {hide}: sys.modules['cryptography.cobblestone'] = None\n"
            "import secure_xcom.core.seal, secure_xcom.keys.local\n"
            "print('secure_xcom.core.composed_cobblestone' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(loaded)
    assert Path(composed.__file__).name == "composed_cobblestone.py"
