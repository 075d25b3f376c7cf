"""A search finds what reading line by line finds, whoever wrote the lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.ops.audit_trail.entries import event_of
from secure_xcom.ops.audit_trail.pieces import BLOCK_BYTES
from secure_xcom.ops.audit_trail.read import source
from secure_xcom.ops.audit_trail.search.index import Index
from secure_xcom.ops.audit_trail.search.query import Matcher, Query
from secure_xcom.ops.audit_trail.search.scan import Scan
from secure_xcom.sinks.hashed_ids import IdHasher
from tests.support.access_logs import START, chain, event, text

HASHER = IdHasher(b"k" * 32)
DAGS = ("orders", "żluťý", 'quo"te', "a\\b", "r\x00n")


def canonical(dag: str, at: int = 0) -> bytes:
    """An event of a DAG, as a process writes it."""
    made = event(START + timedelta(seconds=at))
    made["producer"]["dag_id"] = dag
    return json.dumps(made, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def shuffled(line: bytes) -> bytes:
    """The same fields in another order and with spaces."""
    return json.dumps(dict(reversed(json.loads(line).items())), ensure_ascii=False).encode()


DISGUISES: tuple[Callable[[bytes], bytes], ...] = (
    lambda line: line,
    shuffled,
    lambda line: json.dumps(json.loads(line)).encode(),
    lambda line: line.replace(b'"dag_id"', b'"dag\\u005fid"'),
    lambda line: line.replace(b"orders", b"\\u006frders"),
    lambda line: line.replace(b"orders", b"refunds"),
    # The last of two equal names counts.
    lambda line: line[:-1] + b',"producer":{"dag_id":"orders"}}',
    lambda line: line[:-1] + b',"producer":null}',
    lambda line: line[:-1] + b',"time":"2026-11-22T10:00:09.000000Z"}',
    lambda line: line.replace(b"2026-11-22T", b"2026-11-22 "),
    lambda line: line.decode().encode("utf-16-le"),
    lambda line: b"\xef\xbb\xbf" + line,
    lambda line: line + b" " + line,
    lambda line: line + b"\r" + line,
    lambda line: line + b"\r",
    lambda line: line[: len(line) // 2],
    lambda line: line[:-1] + b',"more":"\xff"}',
    lambda line: line[:-1] + b',"more":NaN}',
    lambda line: line[:-1] + b',"more":' + b"7" * 5000 + b"}",
    lambda line: line[:-1] + b',"more":"' + b"x" * BLOCK_BYTES + b'"}',
    lambda line: line[:-1] + b',"map_index":true}',
    lambda line: line.replace(b'"map_index":-1', b'"map_index":-1.0'),
    lambda line: line.replace(b'"map_index":-1', b'"map_index":true'),
    lambda line: json.dumps(HASHER.fields(json.loads(line))).encode(),
    lambda line: b"",
    lambda line: b"[" * 3000,
)  # fmt: skip
LINES = st.builds(
    lambda dag, at, disguise: disguise(canonical(dag, at)),
    st.sampled_from(DAGS),
    st.integers(0, 9),
    st.sampled_from(DISGUISES),
)
TIMES = st.one_of(st.none(), st.integers(0, 9).map(lambda at: text(START + timedelta(seconds=at))))
QUERIES = st.builds(
    Query,
    dag=st.sampled_from((None, *DAGS)),
    task=st.sampled_from((None, "extract", "other")),
    run=st.sampled_from((None, "manual__1")),
    map_index=st.sampled_from((None, -1, 1)),
    consumer=st.sampled_from((None, "orders", "nobody")),
    outcome=st.sampled_from((None, "ok", "refused")),
    since=TIMES,
    until=TIMES,
)
PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
COMMON = b"".join(line + b"\n" for line in chain(1, 200))
"""Lines among which others are rare."""


def expected(content: bytes, query: Query) -> list[int]:
    """The numbers of the matching lines, each read for itself."""
    matcher = Matcher(query, HASHER)
    records = enumerate(map(event_of, content.split(b"\n")), 1)
    return [number for number, record in records if record is not None and matcher.matches(record)]


def content_of(lines: Sequence[bytes], *, rare: bool, ends: bool) -> bytes:
    """The lines of a file, among many others or not."""
    return (COMMON if rare else b"") + b"\n".join(lines) + (b"\n" if ends else b"")


@given(lines=st.lists(LINES, min_size=1, max_size=12), query=QUERIES, rare=st.booleans(), ends=st.booleans())
def test_a_search_finds_what_reading_line_by_line_finds(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], query: Query, rare: bool, ends: bool
) -> None:
    """Escapes, other encodings, two objects in a line, names given twice: no line hides itself or another."""
    path: Path = tmp_path_factory.mktemp("search") / "access-log.jsonl"
    path.write_bytes(content := content_of(lines, rare=rare, ends=ends))
    hits = list(Scan([source(path.as_uri())], query, HASHER).hits())
    assert [hit.line for hit in hits] == expected(content, query)
    assert [hit.record for hit in hits] == [event_of(content.split(b"\n")[hit.line - 1]) for hit in hits]


@given(
    lines=st.lists(LINES, min_size=1, max_size=12),
    query=QUERIES,
    rare=st.booleans(),
    ends=st.booleans(),
    cut=st.floats(0, 1),
    suffix=st.sampled_from(("", ".gz", ".zst")),
)
def test_an_index_changes_no_answer(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    query: Query,
    rare: bool,
    ends: bool,
    cut: float,
    suffix: str,
) -> None:
    """Whatever was indexed at whatever moment: a search finds the same, in the same lines."""
    folder = tmp_path_factory.mktemp("indexed")
    path = folder / f"access-log.jsonl{'.1' if suffix else ''}{suffix}"
    sink = source((folder / "access-log.jsonl").as_uri())
    content = content_of(lines, rare=rare, ends=ends)
    first = content[: int(cut * len(content))]
    with closing(Index(folder / "index.sqlite")) as index:
        for written in (content,) if suffix else (first, content):
            with path.open("ab") as file:
                file.write(PACKED[suffix](written[0 if suffix else path.stat().st_size :]))
            (piece,) = sink.pieces()
            found = [hit.line for hit in Scan([sink], query, HASHER, index=index).hits()]
            assert found == expected(written, query)
            index.update(sink.uri, piece)
            scan = Scan([sink], query, HASHER, index=index)
            assert [hit.line for hit in scan.hits()] == expected(written, query)
            assert scan.lines == written.count(b"\n") + (written[-1:] not in (b"\n", b""))
