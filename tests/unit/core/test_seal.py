"""Seal and open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.core import reference
from secure_xcom.core.errors import HeadTampered, PayloadSwapped, PayloadTampered, PayloadTruncated, SealError
from secure_xcom.core.reference import HEADER_BYTES
from secure_xcom.core.seal import Counted, seal, sealed_size, unseal

KEY = bytes(range(32))
CONTEXT = b'{"dag_id":"orders"}'


def sealed(plain: bytes, *, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    """A sealed payload in one piece."""
    return b"".join(seal(key, context, (plain,)))


def opened(message: bytes, of: bytes | None = None, *, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    """Open a message with the header and size of the one that the reference was made for."""
    of = message if of is None else of
    return b"".join(unseal(key, context, (message,), header=of[:HEADER_BYTES], size=len(of)))


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 100_000])
def test_round_trip_and_size(size: int) -> None:
    """What was sealed opens to the same bytes, and its size is known before."""
    plain = bytes(size)
    message = sealed(plain)
    assert len(message) == sealed_size(size)
    assert opened(message) == plain


@given(pieces=st.lists(st.binary(max_size=40_000), max_size=6), cuts=st.integers(1, 50_000))
def test_pieces_do_not_matter(pieces: list[bytes], cuts: int) -> None:
    """However the plaintext and the message are cut into pieces, the same bytes come out."""
    message = b"".join(seal(KEY, CONTEXT, pieces))
    parts = [message[start : start + cuts] for start in range(0, len(message), cuts)]
    out = unseal(KEY, CONTEXT, parts, header=message[:HEADER_BYTES], size=len(message))
    assert b"".join(out) == b"".join(pieces)


def test_two_seals_differ() -> None:
    """Sealing the same bytes twice gives two payloads that have nothing in common."""
    assert sealed(b"same") != sealed(b"same")


def test_another_context_is_named() -> None:
    """An edited head is told apart from an edited payload."""
    with pytest.raises(HeadTampered):
        opened(sealed(b"x"), context=b'{"dag_id":"other"}')


def test_another_key_is_named() -> None:
    """A data key that is not the payload's own does not open it."""
    with pytest.raises(HeadTampered):
        opened(sealed(b"x"), key=bytes(32))


def test_a_swapped_object_is_named() -> None:
    """Another payload of the same head and key is not the one that the reference was made for."""
    with pytest.raises(PayloadSwapped):
        opened(sealed(b"newer"), of=sealed(b"older"))


@given(position=st.integers(HEADER_BYTES, HEADER_BYTES + 20_000 + 31), bit=st.integers(0, 7))
def test_every_edited_bit_is_found(position: int, bit: int) -> None:
    """No bit of the chunks can be changed."""
    message = sealed(bytes(20_000))
    edited = bytearray(message)
    edited[position] ^= 1 << bit
    with pytest.raises(PayloadTampered):
        opened(bytes(edited), of=message)


@given(kept=st.integers(0, sealed_size(20_000) - 1))
def test_every_truncation_is_found(kept: int) -> None:
    """A payload that was cut short anywhere does not open; past the header it is called what it is."""
    message = sealed(bytes(20_000))
    with pytest.raises(SealError) as caught:
        opened(message[:kept], of=message)
    assert caught.type is PayloadTruncated


@given(extra=st.binary(min_size=1, max_size=40_000))
def test_every_extension_is_found(extra: bytes) -> None:
    """A payload that was made longer does not open."""
    message = sealed(bytes(20_000))
    with pytest.raises(PayloadTruncated):
        opened(message + extra, of=message)


@pytest.mark.parametrize("changed", [0, HEADER_BYTES + 5, -1])
def test_a_payload_without_end_is_refused(changed: int) -> None:
    """Of a payload that is longer than it is to be, no more is read than shows it, whatever else was changed."""
    message = bytearray(sealed(bytes(20_000)))
    size, header = len(message), bytes(message[:HEADER_BYTES])
    message[changed] ^= changed != 0
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield bytes(message)
        while True:
            taken += 1
            yield bytes(1000)

    with pytest.raises(PayloadTruncated, match=f"more than the {size} bytes"):
        list(unseal(KEY, CONTEXT, endless(), header=header, size=size))
    assert taken == 1


def test_a_cut_payload_that_was_also_changed_is_called_cut() -> None:
    """Its length is what an operator can check at the store, so the error says it."""
    message = bytearray(sealed(bytes(20_000)))
    message[HEADER_BYTES + 5] ^= 1
    with pytest.raises(PayloadTruncated, match=f"{len(message) - 1} bytes instead of {len(message)}"):
        opened(bytes(message[:-1]), of=bytes(message))


def test_a_changed_payload_with_more_behind_its_end_is_called_longer() -> None:
    """Also where the store's pieces end exactly where the payload was to end."""
    message = bytearray(sealed(bytes(20_000)))
    message[HEADER_BYTES + 5] ^= 1
    header, size = bytes(message[:HEADER_BYTES]), len(message)
    pieces = [bytes(message[:17_000]), bytes(message[17_000:]), b"x"]
    with pytest.raises(PayloadTruncated, match=f"more than the {size} bytes"):
        list(unseal(KEY, CONTEXT, pieces, header=header, size=size))


def test_a_payload_without_a_whole_header_says_how_much_there_is() -> None:
    """An object that was cut short in its header is told apart from one that is not there."""
    message = sealed(b"x")
    with pytest.raises(PayloadTruncated, match=f"ends after 3 of {len(message)} bytes"):
        opened(message[:3], of=message)


def test_large_values_are_sealed_as_they_come() -> None:
    """Chunks come out while the plaintext goes in, so that no value is in memory twice."""
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(8):
            taken += 1
            yield bytes(40_000)

    stream = seal(KEY, CONTEXT, pieces())
    next(stream)
    assert taken == 1
    assert len(list(stream)) == 8


def test_small_values_are_sealed_in_one_piece() -> None:
    """What is small takes one write to the store."""
    assert len(list(seal(KEY, CONTEXT, [b"a", b"b", b"c"]))) == 1


def test_pieces_are_counted_as_they_are_taken() -> None:
    """The size of what was sealed is known at the end, and is nothing before."""
    counted = Counted([b"abc", b"de"])
    assert counted.size == 0
    assert b"".join(counted) == b"abcde"
    assert counted.size == 5


def test_the_formats_constants_agree() -> None:
    """The reference's room knows the payload's limits without importing the seal."""
    assert (HEADER_BYTES, sealed_size(0)) == (reference.HEADER_BYTES, reference.SMALLEST_BYTES)
    assert sealed_size((1 << 52) - 1) == reference.LARGEST_BYTES
