"""The ends of chains, packed where nothing follows, and lines read without `json` as `json` reads them."""

from __future__ import annotations

import json

import pytest

from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.chain_ends import AnchoredEnd, ChainEnds
from tests.support.access_logs import START, chain, text

A, B = "chain a", "chain b"


def end(following: int = 3, *, ended: bool = True) -> AnchoredEnd:
    """An end whose numbers all differ."""
    return AnchoredEnd(following, "0f" * 32, ended, text(START), 1, 20, 22)


@pytest.mark.parametrize("following", [1, 1 << 64, 10**30])
@pytest.mark.parametrize("ended", [True, False])
def test_an_end_is_read_back_as_it_was_noted(following: int, *, ended: bool) -> None:
    """Also one whose number does not fit into eight bytes, as a forged line's may not."""
    ends = ChainEnds()
    ends.set(A, end(following, ended=ended))
    assert ends.get(A) == end(following, ended=ended)
    assert (A in ends, B in ends, ends.get(B)) == (True, False, None)


def test_the_last_note_of_a_chain_counts() -> None:
    """Whether it ends the chain or opens it again, and each chain is there once."""
    ends = ChainEnds()
    for noted in (end(2, ended=False), end(3), end(4, ended=False), end(5)):
        ends.set(A, noted)
        assert list(ends.items()) == [(A, noted)]
        assert ends.get(A) == noted


def line(more: bytes) -> bytes:
    """An event's line with more fields at its end."""
    return chain(1, 2)[0][:-1] + b"," + more + b"}"


@pytest.mark.parametrize(
    "more",
    [
        b'"more":NaN',
        b'"more":"\xc3\xa9"',
        b'"more":"\\ud800"',
        b'"more":1e999',
        b'"sequence":"x","sequence":0',
        b'"action":7',
        b' "more" : [{}]',
    ],
)
def test_what_json_reads_is_an_entry(more: bytes) -> None:
    """An entry has the fields that `json` finds, whatever else the line holds."""
    record, entry = json.loads(line(more)), entries.read(line(more))
    assert entry is not None
    assert [entry.chain, entry.sequence, entry.previous, entry.time] == [
        record[name] for name in ("chain", "sequence", "previous", "time")
    ]


@pytest.mark.parametrize(
    "more",
    [
        b'"more":"\xff"',
        b'"more":' + b"9" * 4400,
        b'"more":01',
        b'"sequence":true',
        b'"sequence":-1',
        b'"sequence":0.0',
        b'"time":null',
        b'"chain":"a b"',
        b'"previous":["0"]',
    ],
)
def test_what_json_does_not_read_is_no_entry(more: bytes) -> None:
    """Nor is a line with a field of another type or form, the last of which counts."""
    assert entries.read(line(more)) is None
