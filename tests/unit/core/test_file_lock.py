"""Locks on shared files: nobody waits for ever, and who gives up says who has the lock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from secure_xcom.core import lock_holder
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import AuditError, UriInvalid
from secure_xcom.core.keyring_errors import KeyringError
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.operator_errors import MaintenanceError
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.ops import keyring as ops_keyring
from secure_xcom.ops.jobs.gc_inventory import locked
from secure_xcom.sinks.access_log import AccessLog
from tests.support.world import coordinate

_HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(60)
"""


@contextmanager
def held(path: Path) -> Iterator[int]:
    """A second process that holds a file's lock; its id."""
    command = [sys.executable, "-c", _HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "locked\n"
        try:
            yield process.pid
        finally:
            process.kill()


def pipeline(folder: Path, sink: str) -> Pipeline:
    """A task's process that writes to a sink."""
    keyring, store = folder / "keys" / "keyring.json", folder / "store"
    if not keyring.exists():
        ops_keyring.create_keyring(str(keyring))
        store.mkdir(mode=0o700)
    return Pipeline(
        Settings(inline_max_bytes=0),
        AccessPolicy.single([f"local://{keyring}"], store.as_uri()),
        AccessLog.open([sink], version="test"),
        SensitiveNames(()),
        Codecs(lambda value: value, lambda structure: structure),
        register=lambda _: None,
    )


def test_a_log_that_another_process_locks_stops_pushes_and_pulls(tmp_path: Path) -> None:
    """After the wait nothing is pushed or pulled, the error names the holder, and all goes on when it has gone."""
    path = tmp_path / "log.jsonl"
    sink = f"{path.as_uri()}?lock_wait=1"
    pushed = pipeline(tmp_path, sink).push([Push(coordinate(), "before")])[0]
    written = path.read_bytes()
    objects = sorted((tmp_path / "store").rglob("*"))
    with held(path) as pid:
        for use in (
            lambda: pipeline(tmp_path, sink).push([Push(coordinate(), "during")]),
            lambda: pipeline(tmp_path, sink).pull([Row(pushed)]),
        ):
            began = time.monotonic()
            with pytest.raises(AuditError, match=rf"for 1 seconds: process {pid} \('python") as caught:
                use()
            assert 1 <= time.monotonic() - began < 10
            assert "lock_wait" in caught.value.remedy
    assert path.read_bytes() == written
    assert sorted((tmp_path / "store").rglob("*")) == objects
    assert pipeline(tmp_path, sink).pull([Row(pushed)]) == ["before"]
    assert path.read_bytes() != written


def test_a_lock_that_is_let_go_is_waited_for(tmp_path: Path) -> None:
    """A holder that is only slow costs time and no event."""
    path = tmp_path / "log.jsonl"
    path.touch()
    with ThreadPoolExecutor(1) as beside:
        with held(path):
            pushing = beside.submit(pipeline(tmp_path, path.as_uri()).push, [Push(coordinate(), "x")])
            time.sleep(0.5)
            assert not pushing.done()
            assert path.read_bytes() == b""
        assert len(pushing.result(timeout=20)) == 1
    assert b'"action":"push"' in path.read_bytes()


@pytest.mark.parametrize("wrong", ["0", "601", "-1", "x", "1.5", "", "9" * 5000, "\u0661"])
def test_the_wait_has_bounds(tmp_path: Path, wrong: str) -> None:
    """The option of the sink's URI is a whole number of seconds."""
    with pytest.raises(UriInvalid, match="lock_wait is not a whole number from 1 to 600"):
        AccessLog.open([f"{tmp_path.as_uri()}/log.jsonl?lock_wait={wrong}"], version="test")


def test_a_job_names_who_is_at_it(tmp_path: Path) -> None:
    """Maintenance waits for no lock: another process at the same job is named."""
    with held(tmp_path / "job.lock") as pid, pytest.raises(MaintenanceError, match=f"job: process {pid} "):  # noqa: SIM117
        with locked(tmp_path / "job"):
            raise AssertionError("the lock was had twice")


def test_a_rotation_names_who_holds_the_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyring's lock has the same bound, and its error names the holder as well."""
    monkeypatch.setattr(ops_keyring, "LOCK_WAIT_SECONDS", 0.2)
    path = tmp_path / "keys" / "keyring.json"
    ops_keyring.create_keyring(str(path))
    with held(path.with_name("keyring.json.lock")) as pid, pytest.raises(KeyringError, match=f"process {pid} "):
        ops_keyring.rotate_keyring(str(path))
    assert ops_keyring.rotate_keyring(str(path)) == 2


def test_a_holder_that_the_kernel_does_not_show(tmp_path: Path) -> None:
    """Of another container or machine the error says that it cannot be seen; waiting processes hold nothing."""
    path = tmp_path / "file"
    path.touch()
    status = path.stat()
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    lines = [
        f"1: FLOCK  ADVISORY  WRITE 0 {device}:{status.st_ino} 0 EOF",
        f"2: -> FLOCK  ADVISORY  WRITE 12 {device}:{status.st_ino} 0 EOF",
        f"3: POSIX  ADVISORY  WRITE 13 {device}:{status.st_ino} 0 EOF",
        f"4: FLOCK  ADVISORY  WRITE 14 {device}:{status.st_ino + 1} 0 EOF",
        "5: FLOCK",
    ]
    assert lock_holder._pids(lines, status) == []
    assert lock_holder._pids([*lines, f"6: FLOCK ADVISORY WRITE 15 ff:ff:{status.st_ino} 0 EOF"], status) == [15]
    with path.open() as file:
        assert "not visible from here" in lock_holder.holder(file.fileno())
