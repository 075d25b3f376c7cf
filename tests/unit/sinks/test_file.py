"""The file sink of the access log, where it cannot write."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from secure_xcom.core.errors import AuditError
from secure_xcom.core.event import Line
from secure_xcom.sinks.file import FileSink
from secure_xcom.sinks.sink_uri import SinkUri


def file_sink(uri: str) -> FileSink:
    """The file sink of a URI."""
    return FileSink(SinkUri.parse(uri))


def lines(*records: dict[str, Any]) -> list[Line]:
    """These records as lines."""
    return [Line(record, json.dumps(record).encode()) for record in records]


def test_a_full_disk_is_told_as_one() -> None:
    """The error says what the system said of the write: no space left."""
    with pytest.raises(AuditError, match="No space left on device"):
        file_sink("file:///dev/full").write(lines({"action": "push"}))


def test_a_part_of_an_event_is_taken_back(tmp_path: Path) -> None:
    """Where only a part of a batch fits, none of it stays, and the lines before it are whole."""
    sink = file_sink((tmp_path / "log.jsonl").as_uri())
    sink.write(lines({"number": 1}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(AuditError, match="only partly written"):
            sink.write(lines({"text": "x" * 100}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    sink.write(lines({"number": 2}))
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        {"number": 1},
        {"number": 2},
    ]


def test_a_child_that_is_forked_within_a_write_keeps_no_lock(tmp_path: Path) -> None:
    """A child that a thread forks while another one writes does not keep every process of the machine from it."""
    children: list[int] = []

    def fork_within(_frame: FrameType, event: str, function: object) -> None:
        if event == "c_call" and function is os.write and not children:
            sys.setprofile(None)
            children.append(os.fork())
            if not children[0]:
                signal.pause()

    sink = file_sink((tmp_path / "log.jsonl").as_uri())
    sys.setprofile(fork_within)
    try:
        sink.write(lines({"number": 1}))
    finally:
        sys.setprofile(None)
    (child,) = children
    try:
        with (tmp_path / "log.jsonl").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
