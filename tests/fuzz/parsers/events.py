"""The access log: lines of a file that others can write to, plain or compressed, read, searched and verified."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import get_args

import zstandard

from secure_xcom.core.access_policy.alarms import Alarm, When
from secure_xcom.core.operator_errors import AccessLogUnreadable, CommandError
from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.alarm_windows import Evaluator, State
from secure_xcom.ops.audit_trail.pieces import Source
from secure_xcom.ops.audit_trail.rotated_files import FileSource
from secure_xcom.ops.audit_trail.search.query import Query
from secure_xcom.ops.audit_trail.search.scan import Scan
from secure_xcom.ops.audit_trail.verify import verify
from secure_xcom.sinks.sink_uri import SinkUri
from tests.fuzz import vectors
from tests.fuzz.harness import Harness
from tests.fuzz.scratch import file_of

_SUFFIXES = ("", ".1", ".1.gz", ".1.zst")
_QUERIES = (Query(), Query(dag="orders", map_index=-1), Query(since="2026-01-01", action="pull"))


def _source(data: bytes) -> Source:
    """Return a sink of one file; the first byte says how it is kept."""
    suffix = _SUFFIXES[data[0] % len(_SUFFIXES)] if data else ""
    path = file_of(data[1:], f"log.jsonl{suffix}")
    for ending in _SUFFIXES:
        if (other := path.with_name(f"log.jsonl{ending}")) != path:
            other.unlink(missing_ok=True)
    return FileSource(SinkUri.parse(f"file://{path.with_name('log.jsonl')}"))


def _verify(data: bytes) -> None:
    done = verify([_source(data)], None)
    assert done.chains <= done.events


def _search(data: bytes) -> None:
    source = _source(data)
    for query in _QUERIES:
        for hit in Scan([source], query).hits():
            assert hit.line > 0


def _evaluate(data: bytes) -> None:
    evaluator = Evaluator(_alarms(), State())
    for line in data[1:].split(b"\n"):
        record = entries.event_of(line)
        if record is not None:
            list(evaluator.take(record))
        entry = entries.read(line)
        if entry is not None:
            entries.begun(entry.chain)
    evaluator.bursts()


@lru_cache
def _alarms() -> list[Alarm]:
    notify = [{"log": "info"}]
    return [
        Alarm.model_validate({"name": when.replace("_", "-"), "when": when, "over": 1, "notify": notify})
        for when in get_args(When)
    ]


def _load(data: bytes) -> None:
    State.load(file_of(data[1:], "alarms.json"))


_STATE = {
    "since": "2026-11-22T10:00:00.000000Z",
    "chains": {"019ab9a0-0000-7000-8000-0000000000ff": [3, "2026-11-22T10:00:00.000000Z"]},
    "refusals": {"many": [["2026-11-22T10:00:00.000000Z", "019ab9a0-0000-7000-8000-000000000000"]]},
    "sounding": ["many"],
    "consumers": [["finance", "orders", "report", "load"]],
    "viewers": [["finance", "somebody"]],
}


def _seeds() -> Iterator[bytes]:
    yield b"\x00" + json.dumps(_STATE).encode()
    for log in vectors.chains():
        yield b"\x00" + log
        yield b"\x02" + gzip.compress(log, mtime=0)
        yield b"\x03" + zstandard.ZstdCompressor(write_content_size=False).compress(log)
        yield from (b"\x01" + line for line in log.splitlines()[:8])


HARNESS = Harness(
    (_verify, _search, _evaluate, _load),
    (AccessLogUnreadable, CommandError),
    _seeds,
    words=(
        "action",
        "chain_end",
        "sequence",
        "previous",
        "producer",
        "consumer",
        "time",
        "9223372036854775808",
        "1e999",
    ),
    longest=16_384,
)
