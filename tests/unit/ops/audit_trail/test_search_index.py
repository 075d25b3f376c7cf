"""The index of the access log: it saves reading, follows what happens to files, and is never believed."""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.core.event import Line
from secure_xcom.core.file_lock import acquire, release
from secure_xcom.core.operator_errors import StateInvalid
from secure_xcom.ops.audit_trail.pieces import BLOCK_BYTES, Piece, Source
from secure_xcom.ops.audit_trail.read import source
from secure_xcom.ops.audit_trail.search import index_files
from secure_xcom.ops.audit_trail.search.index import Index
from secure_xcom.ops.audit_trail.search.index_blocks import Lookup
from secure_xcom.ops.audit_trail.search.query import Query
from secure_xcom.ops.audit_trail.search.scan import Scan
from secure_xcom.sinks.file import FileSink
from secure_xcom.sinks.sink_uri import SinkUri
from tests.support.access_logs import START, chain, write

MANY = 800
REFUNDS = {"dag_id": "refunds", "run_id": "r1", "task_id": "load", "map_index": -1, "key": "return_value"}
QUERY = Query(dag="refunds", run="r1", task="load")


class Log:
    """A file sink with its index."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "access-log.jsonl"
        self.index = Index(folder / "index.sqlite")
        self.sink: Source = source(self.path.as_uri())

    def update(self) -> int:
        """Index what is new."""
        return sum(self.index.update(self.sink.uri, piece) for piece in self.sink.pieces())

    def read(self, query: Query = QUERY) -> int:
        """How many bytes a search reads."""
        lookup = Lookup(query, query.wanted())
        pieces = self.sink.pieces()
        return sum(len(data) for piece in pieces for _, data in self.index.blocks(self.sink.uri, piece, lookup))

    def lines(self, query: Query = QUERY) -> list[int]:
        """The lines that a search finds, which are those that it finds without the index."""
        found = [hit.line for hit in Scan([self.sink], query, index=self.index).hits()]
        assert found == [hit.line for hit in Scan([self.sink], query).hits()]
        return found


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """A log of about ten blocks, in one of which another XCom is pulled, that is indexed."""
    made = Log(tmp_path)
    write(made.path, [*chain(1, MANY), *chain(2, 2, producer=REFUNDS), *chain(3, MANY)])
    assert made.update() == made.path.stat().st_size
    with closing(made.index):
        yield made


def test_only_blocks_that_can_match_are_read(log: Log) -> None:
    """One XCom, a time, an event's id: a block each; nobody's DAG: nothing; what is everywhere: everything."""
    size = log.path.stat().st_size
    assert log.lines() == [MANY + 1]
    assert 0 < log.read() <= BLOCK_BYTES
    assert log.read(Query(dag="nobody")) == 0
    assert log.read(Query(task="extract")) > size - 2 * BLOCK_BYTES
    hour = (START + timedelta(hours=1)).isoformat()[:19]
    assert log.read(Query(since=hour)) == 0
    (hit,) = Scan([log.sink], QUERY).hits()
    assert 0 < log.read(Query(event=hit.record["id"])) < size / 2
    assert log.lines(Query(event=hit.record["id"])) != []


def test_lines_that_are_excluded_count_as_searched(log: Log) -> None:
    """What a search says of its reach does not depend on the index."""
    scan = Scan([log.sink], Query(dag="nobody"), index=log.index)
    assert list(scan.hits()) == []
    assert scan.lines == 2 * MANY + 2


def test_what_was_added_since_is_read_and_then_indexed(log: Log) -> None:
    """A new event is found before it is indexed and afterwards, and only what is new is indexed."""
    with log.path.open("ab") as file:
        file.writelines(line + b"\n" for line in chain(4, 2, producer=REFUNDS))
    assert log.lines() == [MANY + 1, 2 * MANY + 3]
    assert 0 < log.update() < BLOCK_BYTES
    assert log.update() == 0
    assert log.lines() == [MANY + 1, 2 * MANY + 3]


def test_half_a_line_is_not_indexed(log: Log) -> None:
    """A line is indexed once it is whole, and found in either state of the index."""
    before = log.path.stat().st_size
    line = chain(4, 2, producer=REFUNDS)[0]
    with log.path.open("ab") as file:
        file.write(line[:100])
    assert log.update() == 0
    with log.path.open("ab") as file:
        file.write(line[100:] + b"\n")
    assert log.lines()[-1] == 2 * MANY + 3
    assert log.update() == log.path.stat().st_size - before


def test_a_rotation_keeps_the_index(log: Log) -> None:
    """A renamed file is the same file; a compressed one is indexed again, and then only where it must be read."""
    log.path.rename(log.path.with_name("access-log.jsonl.1"))
    assert log.read() <= BLOCK_BYTES
    write(log.path, chain(5, 3))
    assert log.lines() == [MANY + 1]
    packed = log.path.with_name("access-log.jsonl.1.gz")
    packed.write_bytes(gzip.compress(log.path.with_name("access-log.jsonl.1").read_bytes()))
    log.path.with_name("access-log.jsonl.1").unlink()
    assert log.lines() == [MANY + 1]
    log.update()
    packed.rename(log.path.with_name("access-log.jsonl.2.gz"))
    assert log.read() <= BLOCK_BYTES
    assert log.lines() == [MANY + 1]


def test_retention_removes_a_files_index(log: Log) -> None:
    """What the index says of a file that was deleted is deleted; another sink's files stay."""
    log.index.update("file:///other", log.sink.pieces()[0])
    log.path.rename(log.path.with_name("archived"))
    write(log.path, chain(5, 3))
    log.index.forget_others(log.sink.uri, log.sink.pieces())
    rows = log.index._connection.execute("SELECT sink FROM file").fetchall()
    blocks = log.index._connection.execute("SELECT count(DISTINCT file) FROM block").fetchone()
    assert (rows, blocks) == ([("file:///other",)], (1,))


@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_file_that_was_written_anew_is_read_anew(log: Log, place: float) -> None:
    """Lines that were put in between, taken out or exchanged: the old blocks are not believed."""
    lines = log.path.read_bytes().splitlines()
    at = int(place * len(lines))
    new = [*lines[:at], chain(6, 2, producer=REFUNDS)[0], *lines[at:]]
    for content in (new, new[: len(new) // 3], [*reversed(new), *chain(7, 9)]):
        # The same file, as an editor or a restore leaves it.
        with log.path.open("r+b") as file:
            file.write(b"".join(line + b"\n" for line in content))
            file.truncate()
        assert log.lines() == [hit.line for hit in Scan([log.sink], QUERY).hits()]
        log.update()
        assert log.lines() == [hit.line for hit in Scan([log.sink], QUERY).hits()]


def test_while_a_process_writes_nothing_is_indexed(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is there in part may be removed again, and other lines take its place."""
    monkeypatch.setattr(index_files, "LOCK_WAIT_SECONDS", 0)
    descriptor = os.open(log.path, os.O_RDWR | os.O_APPEND)
    acquire(descriptor)
    os.write(descriptor, chain(4, 2)[0] + b"\n")
    assert log.update() == 0
    os.ftruncate(descriptor, log.path.stat().st_size - len(chain(4, 2)[0]) - 1)
    os.write(descriptor, b"".join(line + b"\n" for line in chain(4, 2, producer=REFUNDS)))
    release(descriptor)
    log.update()
    assert log.lines() == [MANY + 1, 2 * MANY + 3]


@pytest.mark.file_times
def test_where_readers_cannot_lock_only_quiet_files_are_indexed(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """On NFS, a file counts once nobody has written to it for a while; until then it is read."""

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.EBADF, "no lock for a reader")

    monkeypatch.setattr(fcntl, "flock", flock)
    with log.path.open("ab") as file:
        file.writelines(line + b"\n" for line in chain(4, 2, producer=REFUNDS))
    assert log.update() == 0
    assert len(log.lines()) == 2
    an_hour_ago = time.time() - 3600
    os.utime(log.path, (an_hour_ago, an_hour_ago))
    assert log.update() > 0
    assert len(log.lines()) == 2


def test_writers_rotations_and_updates_at_once(tmp_path: Path) -> None:
    """Whatever moment a search and an update fall into, every event that was written before is found."""
    log = Log(tmp_path)
    log.path.touch()
    written, stop = 0, threading.Event()

    def work() -> None:
        nonlocal written
        sink = FileSink(SinkUri.parse(log.path.as_uri()))
        for number in range(40):
            lines = chain(number, 30, producer=REFUNDS)
            sink.write([Line({}, line) for line in lines])
            written += 29
            if number % 10 == 9:
                log.path.rename(log.path.with_name(f"access-log.jsonl.{number}"))
        stop.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        done, hits = False, 0
        while not done:
            done = stop.is_set()
            before = written
            hits = sum(1 for _ in Scan([log.sink], QUERY, index=log.index).hits())
            assert hits >= before
            log.update()
    finally:
        thread.join()
        log.index.close()
    assert hits == 40 * 29


def test_a_damaged_index_hides_nothing(log: Log, tmp_path: Path) -> None:
    """With broken pages a search reads the log, and the command says how to make the index anew."""
    log.index.close()
    path = tmp_path / "index.sqlite"
    content = path.read_bytes()
    path.write_bytes(content[:16384] + b"\xff" * (len(content) - 16384))
    log.index = Index(path)
    assert log.lines() == [MANY + 1]
    with pytest.raises(StateInvalid, match="index cannot be used"):
        log.update()


def test_an_index_of_others_is_not_used(log: Log, tmp_path: Path) -> None:
    """Whoever can change the index could hide events: a search then reads the log, and says why."""
    log.index.close()
    path = tmp_path / "index.sqlite"
    words = ["audit", "search", "--dag", "refunds", "--sink", log.sink.uri, "--index-file", str(path), "--json"]
    assert CliRunner().invoke(app, words).stderr.strip() == ""
    path.chmod(0o660)
    shown = CliRunner().invoke(app, words)
    assert (shown.exit_code, f'"line": {MANY + 1}' in shown.stdout) == (0, True)
    assert "the whole log is read: " in shown.stderr
    assert "others can change the index" in shown.stderr
    path.chmod(0o600)
    tmp_path.chmod(0o777)
    try:
        with pytest.raises(StateInvalid, match="others can change"):
            Index(path)
    finally:
        tmp_path.chmod(0o700)


def test_objects_and_rows_are_not_indexed(log: Log) -> None:
    """Where there is no file, a search reads as without an index."""
    piece = Piece("s3://bucket/events/1", 10, log.sink.pieces()[0].open)
    assert log.index.pending("s3://bucket", piece) == 0
    assert log.index.update("s3://bucket", piece) == 0
    blocks = log.index.blocks("s3://bucket", piece, Lookup(QUERY, QUERY.wanted()))
    assert sum(len(data) for _, data in blocks) == log.path.stat().st_size


def test_the_command_indexes_and_says_what_is_left(log: Log, tmp_path: Path) -> None:
    """What was added is indexed; half a line is left for later, and a deleted file is forgotten."""
    words = ["audit", "index", "--sink", log.sink.uri, "--index-file", str(tmp_path / "index.sqlite"), "--json"]
    half = chain(4, 2)[0][:50]
    size = log.path.stat().st_size
    with log.path.open("ab") as file:
        file.write(chain(4, 2)[0] + b"\n" + half)
    added = log.path.stat().st_size - size
    planned = CliRunner().invoke(app, [*words, "--dry-run"])
    assert (planned.exit_code, json.loads(planned.stdout)["left_bytes"]) == (1, added)
    done = json.loads(CliRunner().invoke(app, words).stdout)
    assert (done["indexed_bytes"], done["left_bytes"], done["files"]) == (added - 50, 50, 1)
    log.path.rename(log.path.with_name("archived"))
    write(log.path, chain(5, 3))
    CliRunner().invoke(app, words)
    assert log.index._connection.execute("SELECT count(*) FROM file").fetchone() == (1,)
