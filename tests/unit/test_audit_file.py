"""The file sink of the access log, where it cannot write."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from secure_xcom.audit.file import FileSink
from secure_xcom.errors import AuditError


def test_a_full_disk_is_told_as_one() -> None:
    """The error says what the system said of the write: no space left."""
    with pytest.raises(AuditError, match="No space left on device"):
        FileSink("file:///dev/full").write([{"action": "push"}])


def test_a_part_of_an_event_is_taken_back(tmp_path: Path) -> None:
    """Where only a part of a batch fits, none of it stays, and the lines before it are whole."""
    sink = FileSink((tmp_path / "log.jsonl").as_uri())
    sink.write([{"number": 1}])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(AuditError, match="only a part"):
            sink.write([{"text": "x" * 100}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    sink.write([{"number": 2}])
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        {"number": 1},
        {"number": 2},
    ]
