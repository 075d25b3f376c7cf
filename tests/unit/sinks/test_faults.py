"""What can go wrong on the way to the access log: nothing is lost silently, and nothing is given out unlogged."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import AuditError, KeyServiceUnavailable
from secure_xcom.core.event import Event
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.keys.local import LocalKeyring
from secure_xcom.ops.keyring import create_keyring
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.sinks.interface import sink
from secure_xcom.stores import store
from tests.support.audit_reading import read_chain, read_chains
from tests.support.doubles import MemorySink
from tests.support.each_step import killed_at
from tests.support.world import World, coordinate

Wrap = Callable[[Any], Any]
LOG = "log.jsonl"


def pipeline(folder: Path, wrap: Wrap) -> Pipeline:
    """A pipeline on files, each of whose edges may be watched."""
    keys = f"local://{folder}/keys/keyring.json"
    return Pipeline(
        Settings(),
        AccessPolicy.single([keys], (folder / "store").as_uri()),
        AccessLog([wrap(sink((folder / LOG).as_uri()))], version="1"),
        SensitiveNames(()),
        Codecs(lambda value: value, lambda structure: structure),
        register=lambda _secrets: None,
        services=lambda uri: wrap(LocalKeyring(uri)),
        stores=lambda uri: wrap(store(uri)),
    )


def make_places(folder: Path) -> None:
    """A keyring and a folder for payloads."""
    create_keyring(str(folder / "keys" / "keyring.json"))
    (folder / "store").mkdir()


def push(folder: Path, wrap: Wrap) -> None:
    """Push a value, and keep the reference where it was given."""
    [reference] = pipeline(folder, wrap).push([Push(coordinate(), {"a": 1})])
    (folder / "given").write_text(json.dumps(reference))


def pull(folder: Path, wrap: Wrap) -> None:
    """Pull it, and say that the value was given."""
    row = json.loads((folder / "reference").read_text())
    assert pipeline(folder, wrap).pull([Row(row)]) == [{"a": 1}]
    (folder / "given").write_text("a value")


@pytest.mark.parametrize("job", [push, pull])
def test_killed_at_any_step(job: Callable[[Path, Wrap], None], tmp_path: Path) -> None:
    """Killed before or after any call to a key, a store or a sink, nothing is given that has no event."""
    make_places(tmp_path)
    push(tmp_path, lambda edge: edge)
    (tmp_path / "given").rename(tmp_path / "reference")
    seen = []
    killed, step = True, 1
    while killed:
        (tmp_path / LOG).unlink()
        killed = killed_at(step, partial(job, tmp_path))
        step += 1
        [events] = read_chains((tmp_path / LOG).read_bytes()).values() if (tmp_path / LOG).exists() else [[]]
        given = (tmp_path / "given").exists()
        (tmp_path / "given").unlink(missing_ok=True)
        (tmp_path / LOG).touch()
        assert [event["action"] for event in events] in ([], [job.__name__])
        assert events or not given
        seen.append((bool(events), given))
    # Before the event, between the event and what is given, and to the end.
    assert set(seen) == {(False, False), (True, False), (True, True)}


def test_two_processes_and_a_rotation_lose_nothing(tmp_path: Path) -> None:
    """Processes that write to one file while it is rotated have whole chains in its pieces, each event once."""
    path = tmp_path / LOG
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            log = AccessLog.open([path.as_uri()], version="1")
            for number in range(150):
                log.record([Event("push", "ok", coordinate=coordinate(map_index=number))] * 2)
            log.close()
            os._exit(0)
        children.append(pid)
    pieces = 0
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            assert status == 0
            children.remove(pid)
        elif path.exists() and path.stat().st_size > 20_000:
            pieces += 1
            path.rename(tmp_path / f"rotated.{pieces:06}")
    assert pieces > 1
    path.touch()
    whole = b"".join(found.read_bytes() for found in sorted(tmp_path.glob("rotated.*"))) + path.read_bytes()
    assert [len(chain) for chain in read_chains(whole).values()] == [301, 301, 301]


def test_a_half_written_line_stays_by_itself(tmp_path: Path) -> None:
    """Behind what a killed process left of a line the next event begins on a line of its own."""
    path = tmp_path / LOG
    AccessLog.open([path.as_uri()], version="1").record([Event("push", "ok")])
    path.write_bytes(path.read_bytes() + b'{"action":"pu')
    AccessLog.open([path.as_uri()], version="1").record([Event("pull", "ok")])
    first, half, second = path.read_bytes().splitlines()
    assert half == b'{"action":"pu'
    assert [read_chain([line])[0]["action"] for line in (first, second)] == ["push", "pull"]


@pytest.mark.parametrize("down", ["start", "middle", "end"])
def test_a_sink_that_is_down(down: str, caplog: pytest.LogCaptureFixture) -> None:
    """With one of two sinks down nothing is given; the other says so, and both have all of it later."""
    world = World()
    other = MemorySink()
    log = AccessLog([world.sink, other], version="1")
    world.pipeline.access_log = log
    if down == "start":
        other.full = True
        with pytest.raises(AuditError):
            world.push({"a": 1})
        assert list(world.store.list()) == []
        other.full = False
    reference = world.push({"a": 1})
    if down == "middle":
        other.full = True
        with pytest.raises(AuditError):
            world.pipeline.pull([Row(reference)])
        assert [(event["action"], event["outcome"]) for event in world.sink.records[-2:]] == [
            ("pull", "ok"),
            ("pull", "failed"),
        ]
        assert world.sink.records[-1]["error"] == "AuditError"
        # One unwrap is told of once, as the key service's log has it once.
        assert ["opened_by" in event for event in world.sink.records[-2:]] == [True, False]
        other.full = False
    assert world.pipeline.pull([Row(reference)]) == [{"a": 1}]
    other.full = down == "end"
    log.close()
    ended = [event["action"] for event in read_chain(line.data for line in other.lines)][-1] == "chain_end"
    assert ended == (down != "end")
    assert ("stays open" in caplog.text) == (down == "end")
    assert read_chain(line.data for line in world.sink.lines)[-1]["action"] == "chain_end"


def test_a_full_disk_gives_nothing(tmp_path: Path) -> None:
    """While the log's file cannot grow nothing is given, and what was not written is written after that."""
    make_places(tmp_path)
    process = pipeline(tmp_path, lambda edge: edge)
    [reference] = process.push([Push(coordinate(), {"a": 1})])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / LOG).stat().st_size + 100, before[1]))
    try:
        with pytest.raises(AuditError, match="full"):
            process.pull([Row(reference)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert process.pull([Row(reference)]) == [{"a": 1}]
    [events] = read_chains((tmp_path / LOG).read_bytes()).values()
    assert [(event["action"], event["outcome"]) for event in events] == [
        ("push", "ok"),
        ("pull", "ok"),
        ("pull", "failed"),
        ("pull", "ok"),
    ]


def test_what_was_unwrapped_has_an_event() -> None:
    """Where one of several pulled values fails, the others whose keys were unwrapped are recorded as well."""
    policy = AccessPolicy.single(["memory-key://one"], "memory://faults")
    world = World(policy=policy, store_uri="memory://faults")
    rows = [Row(world.push({"a": 1}, coordinate(task_id=f"t{number}"))) for number in range(3)]
    last = rows[1].value
    assert isinstance(last, dict)
    world.service("memory-key://one").failures[last["keys"][0]["wrapped"]] = KeyServiceUnavailable("told to")
    world.sink.lines.clear()
    with pytest.raises(KeyServiceUnavailable):
        world.process().pull(rows)
    found = world.sink.records
    assert [(event["producer"]["task_id"], event["outcome"], "opened_by" in event) for event in found] == [
        ("t0", "failed", True),
        ("t2", "failed", True),
        ("t1", "failed", False),
    ]  # fmt: skip


def test_a_pull_that_is_broken_off_has_an_event() -> None:
    """A time-out that Airflow raises while a key is asked for is recorded, and stays the error."""

    class TimedOut(BaseException):
        """As AirflowTaskTimeout is: no Exception."""

    def slow(uri: str) -> Any:
        raise TimedOut

    world = World()
    reference = world.push({"a": 1})
    with pytest.raises(TimedOut):
        world.process(slow).pull([Row(reference)])
    assert (world.sink.records[-1]["outcome"], world.sink.records[-1]["error"]) == ("failed", "TimedOut")


ENDS = {
    "the end of the program": ("pass", True),
    "an exception": ("raise ValueError", True),
    "sys.exit": ("sys.exit(3)", True),
    "os._exit": ("os._exit(0)", False),
    "kill -9": ("os.kill(os.getpid(), 9)", False),
}


@pytest.mark.parametrize("how", ENDS)
def test_how_a_process_ends(how: str, tmp_path: Path) -> None:
    """A process that ends in order closes its chain; one that is killed leaves it open."""
    code, closed = ENDS[how]
    text = f"""\
        import os, sys
        from secure_xcom.sinks.access_log import AccessLog; from secure_xcom.core.event import Event
        log = AccessLog.open([{(tmp_path / LOG).as_uri()!r}], version="1")
        log.record([Event("push", "ok")])
        {code}
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(text)], capture_output=True, check=False)
    [events] = read_chains((tmp_path / LOG).read_bytes()).values()
    assert (events[-1]["action"] == "chain_end") == closed


def in_child(uri: str) -> None:
    """What a child of multiprocessing does."""
    global child_log  # noqa: PLW0603  # it must live as long as the process
    child_log = AccessLog.open([uri], version="1")
    child_log.record([Event("push", "ok")])


child_log: AccessLog


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing_closes_its_chain(method: str, tmp_path: Path) -> None:
    """A child that multiprocessing ends has closed its chain, although it ends with os._exit."""
    child = multiprocessing.get_context(method).Process(target=in_child, args=((tmp_path / LOG).as_uri(),))  # type: ignore[attr-defined]
    child.start()
    child.join(60)
    [events] = read_chains((tmp_path / LOG).read_bytes()).values()
    assert [event["action"] for event in events] == ["push", "chain_end"]
