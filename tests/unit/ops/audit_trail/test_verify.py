"""The tamper table: what is done to an access log, before and after it was sealed, and what verify says of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from secure_xcom.core.event_chain import Chain
from secure_xcom.core.findings import Finding
from secure_xcom.ops.audit_trail.anchor import Anchored, anchor
from secure_xcom.ops.audit_trail.log_findings import is_tampering
from secure_xcom.ops.audit_trail.log_findings import where as where_of
from secure_xcom.ops.audit_trail.read import source
from secure_xcom.ops.audit_trail.tlog.anchor_record import Anchor, ChainEnd
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.tlog.checkpoint import Checkpoint
from secure_xcom.ops.audit_trail.tlog.merkle import leaf_hash
from secure_xcom.ops.audit_trail.tlog.note import Verifier
from secure_xcom.ops.audit_trail.tlog.signer_file import FileSigner
from secure_xcom.ops.audit_trail.verify import Verified, verify
from secure_xcom.stores import store
from tests.support.access_logs import START, chain, event, mixed, text, uuid7_at, write

NAME = "audit.example.com/airflow"
LATER = START + timedelta(hours=2)
A, B, C = (uuid7_at(START, number) for number in (1, 2, 3))
FORGED = uuid7_at(START + timedelta(seconds=30), 9)
DOCS = Path(__file__).parents[4] / "docs" / "how-to" / "anchor-and-verify.md"


class Deployment:
    """A file sink with three processes' events in turns (the third was killed), a key and a anchored log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "access-log.jsonl"
        self.log_folder = folder / "log"
        self.log_folder.mkdir()
        self.signer = FileSigner((folder / "key.pem").as_uri())
        self.signer.create()
        self.log = AnchoredLog(store(self.log_folder.as_uri()), [Verifier(NAME, self.signer.public_key())])
        before = chain(0, 2, start=START - timedelta(minutes=5))
        write(self.file, [*before, *mixed(chain(1), chain(2), chain(3, 4, ended=False))])

    def seal(self, *, hours: float = 1) -> Anchored:
        """Seal what there is, so many hours after the beginning."""
        return anchor(
            self.log, [source(self.file.as_uri())], self.signer, now=lambda: START + timedelta(hours=hours)
        )

    def verify(self, *trusted: bytes) -> Verified:
        """Verify everything."""
        return verify(
            [source(self.file.as_uri())],
            self.log if self.log.numbers("checkpoints") else None,
            trusted=[("elsewhere", note) for note in trusted],
            now=lambda: LATER,
        )

    @property
    def lines(self) -> list[bytes]:
        return self.file.read_bytes().split(b"\n")[:-1]

    def change(self, how: Callable[[list[bytes]], None]) -> None:
        """Do something to the lines of the file."""
        lines = self.lines
        how(lines)
        write(self.file, lines)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """A deployment of its own for each test."""
    return Deployment(tmp_path)


def place(lines: list[bytes], of: str, sequence: int) -> int:
    """At which index of the lines an event of a chain is."""
    wanted = (of, sequence)
    found = [(json.loads(line)["chain"], json.loads(line)["sequence"]) for line in lines]
    return found.index(wanted)


def edited(lines: list[bytes]) -> None:
    """An event in the middle says another task."""
    at = place(lines, A, 2)
    lines[at] = lines[at].replace(b'"task_id":"load"', b'"task_id":"ship"')


def edited_last(lines: list[bytes]) -> None:
    """The last event of a chain says another process."""
    at = place(lines, A, 5)
    lines[at] = lines[at].replace(b'"pid":4711', b'"pid":4712')


def rewritten(lines: list[bytes]) -> None:
    """One who knows how chains are made edits an event and makes all that follow anew."""
    made = Chain(A)
    for at, line in enumerate(lines):
        record = json.loads(line)
        if record["chain"] == A:
            record = {
                name: value for name, value in record.items() if name not in ("previous", "sequence", "chain")
            }
            if "consumer" in record:
                record["consumer"]["task_id"] = "ship"
            lines[at] = made.add(record).data


def removed(lines: list[bytes]) -> None:
    """An event in the middle is gone."""
    del lines[place(lines, B, 3)]


def reordered(lines: list[bytes]) -> None:
    """An event stands before others of its chain that came first."""
    lines.insert(place(lines, A, 1), lines.pop(place(lines, A, 4)))


def duplicated(lines: list[bytes]) -> None:
    """An event stands there once more, at the end."""
    lines.append(lines[place(lines, B, 2)])


def inserted(lines: list[bytes]) -> None:
    """A forged event with the number of another stands behind that."""
    at = place(lines, B, 2)
    forged = json.loads(lines[at])
    forged["consumer"]["task_id"] = "innocent"
    lines.insert(at + 1, json.dumps(forged, separators=(",", ":"), sort_keys=True).encode())


def inserted_behind_the_end(lines: list[bytes]) -> None:
    """A forged event continues a chain that has ended."""
    made = Chain(A)
    for line in [line for line in lines if json.loads(line)["chain"] == A]:
        record = json.loads(line)
        made.add({name: value for name, value in record.items() if name not in ("previous", "sequence", "chain")})
    lines.append(made.add(event(START + timedelta(seconds=9))).data)


def a_chain_of_their_own(lines: list[bytes]) -> None:
    """A whole forged chain, sound in itself, says that it is old."""
    lines.extend(chain(9, start=START + timedelta(seconds=30)))


def cut_in_order(lines: list[bytes]) -> None:
    """A chain's last two events are gone."""
    del lines[place(lines, A, 5)]
    del lines[place(lines, A, 4)]


def whole_chain(lines: list[bytes]) -> None:
    """All events of a process are gone."""
    for line in [line for line in lines if json.loads(line)["chain"] == B]:
        lines.remove(line)


def young_line_in_front(lines: list[bytes]) -> None:
    """A forged chain of now stands first, as if everything older had been rotated away."""
    lines[:0] = chain(8, 2, start=LATER - timedelta(minutes=1))


def whole_behind_a_young_line(lines: list[bytes]) -> None:
    """All events of a process are gone, and the first line of the file says that it begins later."""
    whole_chain(lines)
    young_line_in_front(lines)


def head_behind_a_young_line(lines: list[bytes]) -> None:
    """The first events of a process are gone, and the first line of the file says that it begins later."""
    for number in range(3):
        del lines[place(lines, B, number)]
    young_line_in_front(lines)


def far_number(lines: list[bytes]) -> None:
    """A forged event has a number that no process comes to."""
    forged = json.loads(lines[place(lines, B, 2)])
    forged["sequence"] = 10**15
    lines.append(json.dumps(forged, separators=(",", ":"), sort_keys=True).encode())


def no_event(lines: list[bytes]) -> None:
    """A line of something else."""
    lines.insert(4, b'{"hello": 1}')


def nothing(lines: list[bytes]) -> None:
    """The file stays as it is: the third process was killed, and that is no tampering."""


@dataclass(frozen=True)
class Case:
    """One way of tampering.

    :ivar before: what verify says where nothing was sealed; :ivar after: the same with a seal. Each is a kind and
        where: the chain and the event; None where nothing can be found.
    """

    name: str
    how: Callable[[list[bytes]], None]
    before: tuple[str, str | None, int | None] | None
    after: tuple[str, str | None, int | None] | None


FILES = (
    Case("an event edited", edited, ("edited", A, 2), ("edited", A, 2)),
    Case("the last event of a chain edited", edited_last, None, ("edited", A, 5)),
    Case("an event edited and the chain behind it made anew", rewritten, None, ("edited", A, 0)),
    Case("an event removed", removed, ("removed", B, 3), ("removed", B, 3)),
    Case("an event put elsewhere", reordered, ("reordered", A, 4), ("reordered", A, 4)),
    Case("an event there twice", duplicated, ("duplicated", B, 2), ("duplicated", B, 2)),
    Case("a forged event in a chain", inserted, ("inserted", B, 2), ("inserted", B, 2)),
    Case("a forged event behind a chain's end", inserted_behind_the_end, ("inserted", A, 6), ("inserted", A, 6)),
    Case("a forged chain, dated back", a_chain_of_their_own, None, ("unsealed", FORGED, 0)),
    Case("a chain cut short", cut_in_order, ("interrupted", A, 3), ("truncated", A, 4)),
    Case("a whole chain removed", whole_chain, None, ("removed", B, 0)),
    Case("a whole chain removed, behind a forged first line", whole_behind_a_young_line, None, ("removed", B, 0)),
    Case("a chain's head removed, behind a forged first line", head_behind_a_young_line, None, ("removed", B, 0)),
    Case("a forged event with a number far off", far_number, ("removed", B, 6), ("removed", B, 6)),
    Case("a line that is no event", no_event, ("malformed", None, None), ("malformed", None, None)),
    Case("a process killed (kill -9)", nothing, ("interrupted", C, 3), ("interrupted", C, 3)),
)  # fmt: skip


def said(found: list[Finding]) -> list[tuple[str, str | None, int | None]]:
    """All findings but that the third process was killed."""
    known = ("interrupted", C, 3)
    every = [(one.rule, one.details["chain"], one.details["sequence"]) for one in found]
    return [one for one in every if one != known] or [one for one in every if one == known]


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
@pytest.mark.parametrize("sealed", [False, True], ids=["unsealed", "sealed"])
def test_tampering_with_files_is_found_where_it_is(deployment: Deployment, case: Case, sealed: bool) -> None:
    """What was done to the file is named with the chain and the event, and the line is that one's."""
    if sealed:
        assert deployment.seal().entries == 18
    deployment.change(case.how)
    expected = case.after if sealed else case.before
    result = deployment.verify()
    first = said(result.found)[0]
    if expected is None:
        # Nothing but the interrupted third chain: the page says so, and what to do about it.
        assert first == ("interrupted", C, 3)
        return
    assert first == expected
    (one,) = [
        found
        for found in result.found
        if (found.rule, found.details["chain"], found.details["sequence"]) == expected
    ][:1]
    if one.line is not None and one.rule in ("edited", "duplicated", "inserted", "reordered", "interrupted"):
        record = json.loads(deployment.lines[one.line - 1])
        assert (record["chain"], record["sequence"]) == (one.details["chain"], one.details["sequence"])
    if one.rule == "malformed":
        assert one.line == 5
    if one.rule == "removed" and one.line is not None:
        numbers = sorted(
            json.loads(line)["sequence"]
            for line in deployment.lines
            if json.loads(line)["chain"] == one.details["chain"]
        )
        behind = min(number for number in numbers if number > (one.details["sequence"] or 0))
        assert json.loads(deployment.lines[one.line - 1])["sequence"] == behind


@pytest.mark.parametrize(
    "case", [case for case in FILES if case.how in (edited, removed, reordered, duplicated, inserted)],
    ids=lambda case: case.name,
)  # fmt: skip
def test_one_change_is_one_finding(deployment: Deployment, case: Case) -> None:
    """What follows a changed event in its chain is not reported as changed too, sealed or not."""
    deployment.change(case.how)
    assert said(deployment.verify().found) == [case.before]
    shutil.rmtree(deployment.folder)
    deployment.folder.mkdir()
    fresh = Deployment(deployment.folder)
    fresh.seal()
    fresh.change(case.how)
    assert said(fresh.verify().found) == [case.after]


def test_what_was_rotated_away_is_no_finding(deployment: Deployment) -> None:
    """Chains that are gone with the older part of a file or begin in it are sound, also beside an event of a clock
    that was far back.
    """
    with deployment.file.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in chain(6, 2, start=START - timedelta(days=9000))))
    deployment.seal()

    def rotated(lines: list[bytes]) -> None:
        del lines[:7]

    deployment.change(rotated)
    assert [(one.rule, one.details["chain"]) for one in deployment.verify().found] == [("interrupted", C)]


def test_seals_of_several_hosts_cover_one_bucket(deployment: Deployment) -> None:
    """What is removed from a bucket, or dated back in it, is found though each seal ran in another container; also
    where an older release wrote the containers' names.
    """
    uri = f"memory://{deployment.folder.name}"
    bucket, log = store(uri), deployment.log
    later = START + timedelta(minutes=5)
    gone = uuid7_at(later, 2)
    for name, lines in ((A, chain(1)), (gone, chain(2, start=later))):
        bucket.put(f"events/2026-11-22/{name}/000000000.jsonl", [b"".join(line + b"\n" for line in lines)])
    # The first seal was made elsewhere, by a process that wrote its host's name and its connection.
    end = ChainEnd(6, hashlib.sha256(chain(1)[-1]).hexdigest(), True)
    elsewhere, until = f"pod-1:memory://elsewhere@{uri[9:]}", text(START + timedelta(hours=1))
    first = Anchor(1, 0, 6, text(START), {A: end}, (elsewhere,), until)
    log.begin(first, chain(1))
    log.finish(first, chain(1), deployment.signer)
    anchor(log, [source(uri)], deployment.signer, now=lambda: START + timedelta(hours=1))
    assert log.anchor(2).sources == (uri,)

    def found() -> list[tuple[str, str | None]]:
        return [(one.rule, one.details["chain"]) for one in verify([source(uri)], log, now=lambda: LATER).found]

    assert found() == []
    forged = b"".join(line + b"\n" for line in chain(9, start=START + timedelta(seconds=30)))
    bucket.put(f"events/2026-11-22/{FORGED}/000000000.jsonl", [forged])
    bucket.delete_many([f"events/2026-11-22/{gone}/000000000.jsonl"])
    assert set(found()) == {("unsealed", FORGED), ("removed", gone)}


def test_an_untouched_log_has_nothing_but_the_killed_process(deployment: Deployment) -> None:
    """A chain without its end is told from a tampered one, and the half-written last line is named as such."""
    with deployment.file.open("ab") as file:
        file.write(b'{"action":"pull","cach')
    deployment.seal()
    result = deployment.verify()
    assert (result.events, result.chains, result.sealed) == (18, 4, 18)
    assert [one.rule for one in result.found] == ["half_written", "interrupted"]
    assert not any(is_tampering(one) for one in result.found)
    assert result.found[0].line == 19


def test_chains_that_are_being_written_are_not_reported(deployment: Deployment) -> None:
    """A chain without an end whose last event is young is open, and nothing is said of it."""
    result = verify([source(deployment.file.as_uri())], None, now=lambda: START + timedelta(seconds=10))
    assert (result.open, result.found) == (1, [])


def test_a_chain_is_quiet_once_the_quiet_time_is_over(deployment: Deployment) -> None:
    """At that moment, and not before, a chain without an end is reported."""
    last = START + timedelta(seconds=3)

    def at(moment: timedelta) -> tuple[int, list[str | None]]:
        files = [source(deployment.file.as_uri())]
        result = verify(files, None, quiet_seconds=60, now=lambda: last + moment)
        assert (result.sealed, result.pruned) == (0, 0)
        return result.open, [one.rule for one in result.found]

    assert at(timedelta(seconds=60, microseconds=-1)) == (1, [])
    assert at(timedelta(seconds=60)) == (0, ["interrupted"])


def test_a_copy_in_another_place_is_held_against_the_same_anchors(deployment: Deployment, tmp_path: Path) -> None:
    """Whoever verifies a copy of the only sink finds what was added behind the last anchor and dated back."""
    deployment.seal()
    deployment.change(a_chain_of_their_own)
    copy = tmp_path / "elsewhere.jsonl"
    shutil.copy(deployment.file, copy)
    found = verify([source(copy.as_uri())], deployment.log, now=lambda: LATER).found
    assert ("unsealed", FORGED) in [(one.rule, one.details["chain"]) for one in found]


# --- the anchored log ---------------------------------------------------------------------------------------


def entry_edited(one: Deployment) -> None:
    """An entry in its bundle says another task."""
    bundle = one.log_folder / "tile/entries/000.p/18"
    bundle.write_bytes(bundle.read_bytes().replace(b'"task_id":"load"', b'"task_id":"ship"', 1))


def entry_and_tile_edited(one: Deployment) -> None:
    """The same, and its hash in the tile is made to fit."""
    entry_edited(one)
    bundle = (one.log_folder / "tile/entries/000.p/18").read_bytes()
    size = int.from_bytes(bundle[:2], "big")
    tile = one.log_folder / "tile/0/000.p/18"
    tile.write_bytes(leaf_hash(bundle[2 : 2 + size]) + tile.read_bytes()[32:])


def bundle_removed(one: Deployment) -> None:
    """The entries are gone."""
    (one.log_folder / "tile/entries/000.p/18").unlink()


def tile_removed(one: Deployment) -> None:
    """The hashes of the entries are gone."""
    (one.log_folder / "tile/0/000.p/18").unlink()


def checkpoint_edited(one: Deployment) -> None:
    """A checkpoint says another size."""
    path = one.log_folder / "checkpoints/000000000001"
    path.write_bytes(path.read_bytes().replace(b"\n18\n", b"\n17\n"))


def other_key(one: Deployment) -> None:
    """Whoever has another key signs the same tree."""
    other = FileSigner((one.folder / "other.pem").as_uri())
    other.create()
    path = one.log_folder / "checkpoints/000000000001"
    path.write_bytes(one.log.checkpoint(1).signed(other))


def forked(one: Deployment) -> None:
    """Who has the key signs another tree of the same size."""
    note = Checkpoint(NAME, 18, leaf_hash(b"another")).signed(one.signer)
    (one.log_folder / "checkpoints/000000000002").write_bytes(note)


def begun_anew(one: Deployment) -> None:
    """Who has the key throws the log away and makes another from an edited file."""
    one.change(rewritten)
    shutil.rmtree(one.log_folder)
    one.log_folder.mkdir()
    one.seal()


def shortened(one: Deployment) -> None:
    """Who has the key makes the log anew from fewer events."""
    one.change(whole_chain)
    shutil.rmtree(one.log_folder)
    one.log_folder.mkdir()
    one.seal()


LOGS: tuple[tuple[str, Callable[[Deployment], None], str, str], ...] = (
    ("an entry edited", entry_edited, "entry_changed", "entry 0"),
    ("an entry and its hash edited", entry_and_tile_edited, "tree_changed", "log"),
    ("a bundle of entries removed", bundle_removed, "entry_missing", "entry 0"),
    ("a tile removed", tile_removed, "tree_changed", "tile/0/000"),
    ("a checkpoint edited", checkpoint_edited, "bad_signature", "checkpoints/000000000001"),
    ("a checkpoint signed by another key", other_key, "bad_signature", "checkpoints/000000000001"),
    ("two trees of one size signed (a fork)", forked, "forked", "log"),
    ("a log made anew with the key, against a kept checkpoint", begun_anew, "not_extending", "elsewhere"),
    ("a log made shorter with the key, against a kept checkpoint", shortened, "not_extending", "elsewhere"),
)


@pytest.mark.parametrize(("name", "how", "kind", "where"), LOGS, ids=[one[0] for one in LOGS])
def test_tampering_with_the_sealed_log_is_found(
    deployment: Deployment, name: str, how: Callable[[Deployment], None], kind: str, where: str
) -> None:
    """What was done to the log is named with the entry or the object."""
    deployment.seal()
    kept = deployment.log.note(1)
    how(deployment)
    result = deployment.verify(kept)
    found = [one for one in result.found if one.rule == kind]
    assert found, result.found
    assert any(where in where_of(one) for one in found)


def test_a_log_that_grew_extends_the_kept_checkpoint(deployment: Deployment) -> None:
    """More seals after the kept checkpoint are no finding, and a checkpoint that is not signed is refused."""
    deployment.seal()
    kept = deployment.log.note(1)
    with deployment.file.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in chain(4, 300, start=START + timedelta(minutes=80), step=0.1)))
    assert deployment.seal(hours=2).entries == 300
    result = deployment.verify(kept)
    assert [one.rule for one in result.found] == ["interrupted"]
    assert (result.events, result.sealed) == (318, 318)


def table() -> str:
    """The tamper table of docs/how-to/anchor-and-verify.md."""
    rows = ["| tampering | chain alone | after a seal | where |", "|---|---|---|---|"]
    for case in FILES:
        cells = [f"`{one[0]}`" if one else "not found" for one in (case.before, case.after)]
        place = "file, line" if case.how is no_event else "file, line, chain, event"
        if case.how in (whole_chain, whole_behind_a_young_line):
            place = "sink, chain"
        rows.append(f"| {case.name} | {cells[0]} | {cells[1]} | {place} |")
    for name, _, kind, where in LOGS:
        said_where = {"log": "the anchored log", "elsewhere": "the kept checkpoint", "entry 0": "object, entry"}
        rows.append(f"| anchored log: {name} | | `{kind}` | {said_where.get(where, 'object')} |")
    return "\n".join(rows)


def test_the_page_has_the_tamper_table(record_property: Callable[[str, object], None]) -> None:
    """anchor-and-verify.md shows the table that the tests above hold true; it is printed with every run."""
    record_property("tampering", table())
    assert table() in DOCS.read_text()
