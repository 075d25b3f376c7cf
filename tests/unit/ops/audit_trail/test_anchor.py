"""Sealing, proving and pruning: each event once, whatever is cut in between, and provable when it is gone."""

from __future__ import annotations

import gzip
import json
import os
import random
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from secure_xcom.core.event import Line
from secure_xcom.core.operator_errors import AccessLogUnreadable, CommandError, SealRaced
from secure_xcom.core.store_errors import StoreUnavailable
from secure_xcom.ops.audit_trail.anchor import Anchored, anchor
from secure_xcom.ops.audit_trail.prove import consistency, find, inclusion
from secure_xcom.ops.audit_trail.prune import prune
from secure_xcom.ops.audit_trail.read import source
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.tlog.checkpoint import Checkpoint
from secure_xcom.ops.audit_trail.tlog.note import Verifier
from secure_xcom.ops.audit_trail.tlog.signer_file import FileSigner
from secure_xcom.ops.audit_trail.tlog.tiles import Tiles
from secure_xcom.ops.audit_trail.verify import verify
from secure_xcom.sinks.database import DDL
from secure_xcom.sinks.interface import sink
from secure_xcom.stores import Store, StoredObject, store
from tests.support import second_log_reader as second
from tests.support.access_logs import START, chain, mixed, text, write

NAME = "audit.example.com/airflow"


class World:
    """A sink's file, a key, and a anchored log in a folder; the clock is one's own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "access-log.jsonl"
        self.folder = folder / "log"
        self.folder.mkdir()
        self.signer = FileSigner((folder / "key.pem").as_uri())
        self.signer.create()
        self.verifier = Verifier(NAME, self.signer.public_key())
        self.log = self.through(store(self.folder.as_uri()))

    def through(self, place: Store) -> AnchoredLog:
        """The log, seen through a store."""
        return AnchoredLog(place, [self.verifier])

    def seal(
        self, at: datetime = START + timedelta(hours=1), log: AnchoredLog | None = None, batch: int = 512
    ) -> Anchored:
        """One run."""
        sources = [source(self.file.as_uri())]
        return anchor(log or self.log, sources, self.signer, batch_entries=batch, now=lambda: at)

    def entries(self) -> list[bytes]:
        """All that is sealed, as the second reader sees it."""
        head = second.head((self.folder / "checkpoint").read_bytes(), str(self.verifier))
        found = second.entries(self.folder, head.size)
        assert second.tree([second.leaf(entry) for entry in found]) == head.root
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world of its own for each test."""
    return World(tmp_path)


def test_every_event_is_sealed_once(world: World) -> None:
    """What is there is sealed in batches, in each chain's order; a second run finds nothing to do."""
    lines = mixed(*(chain(number, 40) for number in range(20)))
    write(world.file, lines)
    done = world.seal(batch=300)
    assert (done.entries, done.seals, done.size, done.waiting) == (800, 3, 800, 0)
    assert sorted(world.entries()) == sorted(lines)
    again = world.seal()
    assert (again.entries, again.seals, again.size) == (0, 0, 800)
    with world.file.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in chain(77, 3)))
    assert world.seal().entries == 3


def test_young_events_of_open_chains_wait(world: World) -> None:
    """A chain that has ended is sealed at once; of an open one what is older than the quiet time, in order."""
    write(world.file, [*chain(1, 3), *chain(2, 60, step=10, ended=False)])
    done = world.seal(START + timedelta(seconds=600))
    # The quiet time is 300 seconds, so the event of that very moment is the last to be sealed.
    assert (done.entries, done.waiting) == (3 + 31, 29)
    assert world.seal(START + timedelta(seconds=1000)).entries == 29
    assert sorted(world.entries()) == sorted(world.file.read_bytes().split())


def test_rotated_and_compressed_files_are_read(world: World, tmp_path: Path) -> None:
    """A chain that goes on across rotated files, compressed ones too, is sealed as one."""
    lines = chain(1, 30)
    (tmp_path / "access-log.jsonl.2.gz").write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines[:10])))
    write(tmp_path / "access-log.jsonl.1", lines[10:20])
    write(world.file, lines[20:])
    (tmp_path / "access-log.jsonl.lock").write_text("not a part of it")
    assert world.seal().entries == 30
    assert world.entries() == lines
    (tmp_path / "access-log.jsonl.2.gz").unlink()
    result = verify([source(world.file.as_uri())], world.log, now=lambda: START + timedelta(hours=2))
    assert result.found == []


def test_a_rotation_while_files_are_read_loses_nothing(world: World, tmp_path: Path) -> None:
    """Files are read by what they were when the reading began; one that is gone by then is said."""
    lines = chain(1, 30)
    write(tmp_path / "access-log.jsonl.1", lines[:10])
    write(world.file, lines[10:])
    pieces = source(world.file.as_uri()).pieces()
    (tmp_path / "access-log.jsonl.1").rename(tmp_path / "access-log.jsonl.2")
    world.file.rename(tmp_path / "access-log.jsonl.1")
    write(world.file, chain(2))
    assert [line.data for piece in pieces for line in piece.lines()] == lines
    (tmp_path / "access-log.jsonl.2").unlink()
    with pytest.raises(AccessLogUnreadable, match="rotated away"):
        list(pieces[0].lines())


def test_a_rotation_while_files_are_listed_loses_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is renamed between the listing of the folder and its own status is found under its new name."""
    lines = chain(1, 30)
    write(tmp_path / "access-log.jsonl.1", lines[:10])
    write(world.file, lines[10:])
    listdir = os.listdir

    def rotating(folder: Path) -> list[str]:
        names = listdir(folder)
        if not (tmp_path / "access-log.jsonl.2").exists():
            (tmp_path / "access-log.jsonl.1").rename(tmp_path / "access-log.jsonl.2")
            world.file.rename(tmp_path / "access-log.jsonl.1")
            write(world.file, chain(2))
        return names

    monkeypatch.setattr(os, "listdir", rotating)
    pieces = source(world.file.as_uri()).pieces()
    assert sorted(line.data for piece in pieces for line in piece.lines()) == sorted([*lines, *chain(2)])


def test_a_damaged_rotated_file_is_said(world: World, tmp_path: Path) -> None:
    """What cannot be decompressed ends the run with its name."""
    write(world.file, chain(1))
    (tmp_path / "access-log.jsonl.1.gz").write_bytes(gzip.compress(b"x" * 1000)[:-9])
    with pytest.raises(AccessLogUnreadable, match=r"access-log\.jsonl\.1\.gz"):
        world.seal()


def test_what_does_not_continue_its_chain_is_not_sealed(world: World) -> None:
    """A broken chain is sealed up to the break, the break is said once, and other chains go on."""
    first, other = chain(1), chain(2)
    del first[3]
    write(world.file, mixed(first, other))
    done = world.seal()
    assert done.entries == 3 + 6
    (one,) = done.unsealable
    assert (one.line, one.text) == (7, "event 4 does not continue its chain")


class Dying:
    """A store in which the n-th writing step is the last: what a process sees that is killed there."""

    def __init__(self, inner: Store, steps: int) -> None:
        self.inner = inner
        self.uri = inner.uri
        self.steps = steps

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise StoreUnavailable("killed")

    def put(self, path: str, payload: object) -> None:
        self._step()
        self.inner.put(path, payload)  # type: ignore[arg-type]  # handed on as it came

    def get(self, path: str) -> Iterator[bytes]:
        return self.inner.get(path)

    def get_many(self, paths: object, sizes: object = None) -> Iterator[object]:
        return iter(self.inner.get_many(paths, sizes))  # type: ignore[arg-type]  # handed on as it came

    def delete_many(self, paths: object) -> list[object]:
        self._step()
        return list(self.inner.delete_many(paths))  # type: ignore[arg-type]  # handed on as it came

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        return self.inner.list(prefix)


@pytest.mark.parametrize("steps", range(14))
def test_a_seal_that_is_killed_anywhere_is_finished_by_the_next(world: World, steps: int) -> None:
    """After a kill at any write, the next run leaves each event in the log exactly once."""
    lines = mixed(chain(1, 200), chain(2, 150))
    write(world.file, lines[:180])
    world.seal()
    write(world.file, lines)
    try:
        world.seal(log=world.through(Dying(world.log.store, steps)))  # type: ignore[arg-type]  # a double
    except StoreUnavailable:
        pass
    else:
        assert steps >= 10
    world.seal()
    assert sorted(world.entries()) == sorted(lines)
    assert list((world.folder / "pending").glob("*")) == []
    assert verify([source(world.file.as_uri())], world.log).found == []


class Overtaken:
    """A store whose first pending object of ours comes after another process has sealed everything."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.inner = world.log.store
        self.uri = self.inner.uri
        self.overtaken = False

    def put(self, path: str, payload: object) -> None:
        if path.startswith("pending/") and not self.overtaken:
            self.overtaken = True
            self.world.seal()
        self.inner.put(path, payload)  # type: ignore[arg-type]  # handed on as it came

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def test_one_of_two_that_seal_at_once_says_so(world: World) -> None:
    """Of two runs the slower one stops with a named error, and no event is in the log twice."""
    write(world.file, chain(1, 20))
    with pytest.raises(SealRaced, match="another process anchored first"):
        world.seal(log=world.through(Overtaken(world)))  # type: ignore[arg-type]  # a double
    assert world.entries() == chain(1, 20)
    assert world.log.begun() is None


def test_chains_of_many_days_are_sealed_from_where_they_were(world: World) -> None:
    """Seals are read back as far as the oldest chain in the files goes, also when it is days old."""
    days = [START + timedelta(days=day) for day in range(5)]
    long = chain(1, 50, start=START, step=86_400 / 10, ended=False)
    for day, moment in enumerate(days):
        write(world.file, [*long[: (day + 1) * 10], *chain(2 + day, 5, start=moment)])
        world.seal(moment + timedelta(days=1, hours=1))
    assert len(world.entries()) == 50 + 5 * 5
    assert [entry for entry in world.entries() if entry in long] == long


def test_proofs_convince_the_second_verifier(world: World) -> None:
    """Exported proofs of inclusion and of consistency hold by RFC 9162's steps and the signed checkpoint alone."""
    lines = chain(1, 700)
    write(world.file, lines[:300])
    world.seal()
    kept = world.log.note(1)
    write(world.file, lines)
    world.seal()
    key = str(world.verifier)
    for at in (0, 255, 299, 300, 699):
        index, line = find(world.log, event_id=json.loads(lines[at])["id"])
        assert (index, line) == (at, lines[at])
        assert find(world.log, chain=json.loads(line)["chain"], sequence=at) == (at, line)
        proof = second.read_proof(inclusion(world.log, index))
        head = second.head(proof.checkpoint, key)
        assert (proof.index, head.size) == (at, 700)
        assert second.includes(head.root, head.size, proof.index, second.leaf(line), proof.hashes)
        assert not second.includes(head.root, head.size, proof.index, second.leaf(line + b" "), proof.hashes)
    old = second.head(kept, key)
    text_of_proof = consistency(world.log, Checkpoint.open(kept, [world.verifier], "kept"))
    said, hashes, note = second.read_extension(text_of_proof)
    new = second.head(note, key)
    assert (said, old.size, new.size) == (300, 300, 700)
    assert second.extends(old.root, old.size, new.root, new.size, hashes)
    assert not second.extends(second.leaf(b"other"), old.size, new.root, new.size, hashes)


def test_what_cannot_be_proved_is_said(world: World) -> None:
    """An event that is not sealed, an index beyond the log and a larger checkpoint are named errors."""
    write(world.file, chain(1))
    world.seal()
    with pytest.raises(CommandError, match="no such event"):
        find(world.log, event_id="nobody")
    with pytest.raises(CommandError, match="has 6 entries"):
        inclusion(world.log, 6)
    with pytest.raises(CommandError, match="the kept checkpoint has 7"):
        consistency(world.log, Checkpoint(NAME, 7, bytes(32)))


def test_pruned_entries_leave_everything_else_provable(world: World) -> None:
    """Old bundles go and a signed note says so: verify is content, checkpoints hold, kept lines can be proved."""
    old = chain(1, 600, step=1)
    new = chain(2, 200, start=START + timedelta(days=10))
    write(world.file, old)
    world.seal()
    kept = world.log.note(1)
    write(world.file, [*old, *new])
    world.seal(START + timedelta(days=11))
    before = text(START + timedelta(days=1))
    assert prune(world.log, before, None).entries == 512
    done = prune(world.log, before, world.signer)
    # The third bundle holds new events as well, so it stays.
    assert (done.below, done.entries) == (512, 512)
    assert not (world.folder / "tile/entries/000").exists()
    sources = [source(world.file.as_uri())]
    result = verify(sources, world.log, trusted=[("kept", kept)], now=lambda: START + timedelta(days=12))
    assert (result.found, result.pruned, result.sealed) == ([], 512, 800)
    write(world.file, new)
    assert verify(sources, world.log, trusted=[("kept", kept)]).found == []
    proof = second.read_proof(inclusion(world.log, 17))
    head = second.head(proof.checkpoint, str(world.verifier))
    assert second.includes(head.root, head.size, 17, second.leaf(old[17]), proof.hashes)
    assert prune(world.log, before, world.signer).entries == 0
    with pytest.raises(CommandError, match="no such event"):
        find(world.log, event_id=json.loads(old[17])["id"])
    assert world.seal(START + timedelta(days=13)).entries == 0


def test_entries_that_are_gone_without_a_signed_prune_are_missing(world: World) -> None:
    """A note that another key signed is no prune."""
    write(world.file, chain(1, 300))
    world.seal()
    (world.folder / "tile/entries/000").unlink()
    result = verify([source(world.file.as_uri())], world.log, now=lambda: START + timedelta(hours=2))
    assert [finding.rule for finding in result.found] == ["entry_missing"]
    assert "no prune was signed" in result.found[0].text


def test_a_prune_that_was_cut_is_finished_by_the_next(world: World) -> None:
    """The note is written before anything is removed, and what is left over goes with the next prune."""
    write(world.file, chain(1, 600))
    world.seal()
    with pytest.raises(StoreUnavailable):
        prune(world.through(Dying(world.log.store, 1)), text(START + timedelta(days=1)), world.signer)  # type: ignore[arg-type]
    assert (world.folder / "tile/entries/000").exists()
    assert verify([source(world.file.as_uri())], world.log, now=lambda: START + timedelta(hours=2)).found == []
    prune(world.log, text(START + timedelta(days=1)), world.signer)
    assert not (world.folder / "tile/entries/000").exists()


def test_tiles_can_be_grown_in_any_steps(tmp_path: Path) -> None:
    """However entries come, the tree is the same."""
    rng = random.Random(7)
    entries = [b"%d" % at for at in range(2000)]
    tiles = Tiles(store(tmp_path.as_uri()), 0)
    while tiles.size < len(entries):
        tiles, _ = tiles.extended(entries[tiles.size : tiles.size + rng.randint(1, 400)])
    second.check_tiles(tmp_path, 2000, [second.leaf(entry) for entry in entries])
    assert second.entries(tmp_path, 2000) == entries


@pytest.mark.parametrize("kind", ["db", "objects", "folder"])
def test_every_sink_that_can_be_read_back_is(world: World, kind: str, tmp_path: Path) -> None:
    """What a database sink, an object sink and a folder of files hold is sealed and verified like one file."""
    (tmp_path / "many").mkdir()
    uri = {
        "db": f"db+sqlite:///{tmp_path}/audit.db",
        "objects": f"memory://{tmp_path.name}",
        "folder": f"file://{tmp_path}/many/",
    }[kind]
    if kind == "db":
        with sqlite3.connect(tmp_path / "audit.db") as made:
            made.execute(DDL)
    target = sink(uri)
    for lines in (chain(1, 30), chain(2, 20)):
        for start in range(0, len(lines), 7):
            batch = lines[start : start + 7]
            target.write([Line(json.loads(line), line) for line in batch])
    sources = [source(uri)]
    done = anchor(world.log, sources, world.signer, now=lambda: START + timedelta(hours=1))
    assert (done.entries, done.unsealable) == (50, [])
    assert sorted(world.entries()) == sorted([*chain(1, 30), *chain(2, 20)])
    result = verify(sources, world.log, now=lambda: START + timedelta(hours=2))
    assert (result.events, result.found) == (50, [])
