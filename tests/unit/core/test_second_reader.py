"""What the product seals opens in the second reader, and the other way round."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_xcom.core.coordinate import Coordinate, context_bytes, encryption_context, object_path, path_segment
from secure_xcom.core.errors import HeadTampered, KeyServiceError, PayloadTampered, PayloadTruncated, SealError
from secure_xcom.core.reference import HEADER_BYTES, Head
from secure_xcom.core.seal import seal, sealed_size, unseal
from secure_xcom.keys import DataKey, Wrap
from secure_xcom.keys.local import LocalKeyring
from secure_xcom.ops.keyring import create_keyring
from tests.support import second_reader

# The lengths around which chunking could go wrong, in bytes.
SIZES = [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 32_767, 32_768, 32_769, 100_000]
ids = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=60)


def product_opens(key: bytes, context: bytes, message: bytes) -> bytes:
    """Open a message with the package, as it is."""
    return b"".join(unseal(key, context, (message,), header=message[:HEADER_BYTES], size=len(message)))


@pytest.mark.parametrize("size", SIZES)
def test_the_second_reader_opens_what_the_product_sealed(size: int) -> None:
    """Every length around a chunk's end opens to the same bytes, and has the size that is said beforehand."""
    key, context, plaintext = os.urandom(32), b'{"a":"b"}', os.urandom(size)
    message = b"".join(seal(key, context, (plaintext[: size // 3], plaintext[size // 3 :])))
    assert second_reader.unseal(key, context, message) == plaintext
    assert len(message) == sealed_size(size)


@pytest.mark.parametrize("size", SIZES)
def test_the_product_opens_what_the_second_reader_sealed(size: int) -> None:
    """The product opens messages of the other implementation, whole and in small pieces."""
    key, context, plaintext = os.urandom(32), os.urandom(40), os.urandom(size)
    message = second_reader.seal(key, context, plaintext, os.urandom(24))
    assert product_opens(key, context, message) == plaintext
    pieces = [message[at : at + 1000] for at in range(0, len(message), 1000)]
    opened = unseal(key, context, pieces, header=message[:HEADER_BYTES], size=len(message))
    assert b"".join(opened) == plaintext


@settings(deadline=None)
@given(
    plaintext=st.binary(max_size=200) | st.integers(16_300, 16_500).map(lambda size: b"\x5a" * size),
    cut=st.integers(0, 20_000),
    put=st.binary(max_size=40),
    drop=st.integers(0, 40),
)
def test_both_refuse_the_same_messages(plaintext: bytes, cut: int, put: bytes, drop: int) -> None:
    """An edited message is refused by both implementations, and an unchanged one is opened by both."""
    key, context = b"\x01" * 32, b"context"
    message = second_reader.seal(key, context, plaintext, b"\x02" * 24)
    at = cut % (len(message) + 1)
    edited = message[:at] + put + message[at + drop :]
    if edited == message:
        assert product_opens(key, context, edited) == second_reader.unseal(key, context, edited) == plaintext
        return
    with pytest.raises(second_reader.Refused):
        second_reader.unseal(key, context, edited)
    with pytest.raises(SealError):
        product_opens(key, context, edited)


def test_another_key_context_or_salt_is_refused_by_its_commitment() -> None:
    """A wrong key, a wrong context and a changed salt or commitment are refused before a byte is decrypted."""
    key, context = b"\x01" * 32, b"context"
    message = second_reader.seal(key, context, b"plaintext", b"\x02" * 24)
    for at in (0, 23, 24, 55):
        edited = bytearray(message)
        edited[at] ^= 1
        with pytest.raises(HeadTampered):
            product_opens(key, context, bytes(edited))
    for wrong_key, wrong_context in (
        (b"\x03" * 32, context),
        (key, b"contexT"),
        (key, b""),
        (key, b"context\x00"),
    ):
        with pytest.raises(HeadTampered):
            product_opens(wrong_key, wrong_context, message)
        with pytest.raises(second_reader.Refused, match="commitment"):
            second_reader.unseal(wrong_key, wrong_context, message)


def test_a_cut_at_a_chunks_end_is_no_shorter_message() -> None:
    """Whole chunks cannot be taken from the end, nor can chunks change places or stand twice."""
    key, context = b"\x01" * 32, b"context"
    message = second_reader.seal(key, context, b"\x5a" * 40_000, b"\x02" * 24)
    header, chunks = message[:56], [message[56:16_456], message[16_456:32_856], message[32_856:]]
    for body, error in (
        (chunks[:2], PayloadTruncated),
        (chunks[:1], PayloadTruncated),
        ([], PayloadTruncated),
        ([chunks[1], chunks[0], chunks[2]], PayloadTampered),
        ([chunks[0], chunks[0], chunks[2]], PayloadTampered),
    ):
        edited = header + b"".join(body)
        with pytest.raises(error):
            list(unseal(key, context, (edited,), header=header, size=len(message)))
        with pytest.raises(second_reader.Refused):
            second_reader.unseal(key, context, edited)


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=8))
def test_canonical_json_is_the_same(record: dict[str, str]) -> None:
    """Both write an object of strings to the same bytes (RFC 8785), whatever characters are in it."""
    assert second_reader.canonical(record) == context_bytes(record)
    assert json.loads(second_reader.canonical(record)) == record


@given(ids, ids, ids, st.integers(-1, 5000))
def test_paths_are_the_same(dag_id: str, run_id: str, task_id: str, map_index: int) -> None:
    """Both find the same folder for a coordinate."""
    coordinate = Coordinate(dag_id, run_id, task_id, map_index, "return_value")
    head = {"compartment": "finance", "dag_id": dag_id, "run_id": run_id, "task_id": task_id}
    head["map_index"] = str(map_index)
    assert second_reader.folder(head) == object_path("finance", coordinate, "")


@pytest.mark.parametrize(
    "text", ["..", ".", "a" * 200, "a" * 201, "ü" * 66, "ü" * 67, "x" * 149 + "ü" * 40, "~", "a/b"]
)
def test_unusual_segments_are_the_same(text: str) -> None:
    """Dots, long ids, escapes at the cut and tildes give the same segment in both."""
    assert second_reader.segment(text) == path_segment(text)
    for pad in range(148, 153):
        assert second_reader.segment("x" * pad + "ü" * 40) == path_segment("x" * pad + "ü" * 40)


def test_wraps_are_exchanged(tmp_path: Path) -> None:
    """A data key that one of them wrapped with a keyring is unwrapped by the other, in its own context only."""
    file = tmp_path / "keyring.json"
    create_keyring(str(file))
    service, keyring = LocalKeyring(f"local://{file}"), json.loads(file.read_bytes())
    context = encryption_context("finance", Coordinate("dag", "run", "töst", 3, "key"))
    data_key = DataKey.generate()
    assert second_reader.unwrap(keyring, service.wrap(data_key, context), context) == data_key.secret
    wrapped = second_reader.wrap(keyring, data_key.secret, context, os.urandom(24))
    assert service.unwrap_many([Wrap(wrapped, context)]) == [data_key]
    other = {**context, "task_id": "other"}
    assert isinstance(service.unwrap_many([Wrap(wrapped, other)])[0], KeyServiceError)
    with pytest.raises(second_reader.Refused):
        second_reader.unwrap(keyring, wrapped, other)


def test_the_head_is_canonical_json() -> None:
    """The product's context of a seal is the head as the second reader writes it, without absent fields."""
    head = Head(
        dag_id="d",
        run_id='r"\\\n',
        task_id="t\u2028",
        map_index="-1",
        key="\U0001f600",
        compartment="c",
        codec="json",
        compression="none",
        created="2026-11-22T10:00:00Z",
    )
    assert head.canonical() == second_reader.canonical(head.dump())
    assert b"object" not in head.canonical()


def test_the_second_readers_hkdf_is_the_standards() -> None:
    """Its HKDF-Expand gives what `cryptography`'s own gives for the same input (RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    key, salt, context = b"\x01" * 32, b"\x02" * 24, b"context"
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + salt + context
    assert b"".join(second_reader.derive(key, salt, context)) == HKDFExpand(SHA512(), 76, info).derive(key)
