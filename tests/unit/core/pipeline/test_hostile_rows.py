"""Rows, claims and objects that anybody may write never stop a job of maintenance, and never steer it.

Each job is run twice on the same deployment: as it is, and with thousands of hostile rows in it, some of them
beside the honest ones in their own task instances. What becomes of everything else is the same both times, and the
hostile ones are in the report.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.sql.positions import TaskPosition
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate, TaskTry, encryption_context
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.core.reference import Head, Reference, WrappedKey
from secure_xcom.core.seal import seal
from secure_xcom.keys import DataKey, key_service
from secure_xcom.ops.jobs.break_glass import break_glass
from secure_xcom.ops.jobs.doctor_rows import examine_payloads, examine_rows
from secure_xcom.ops.jobs.expire import expire
from secure_xcom.ops.jobs.gc import collect
from secure_xcom.ops.jobs.migrate_rows import seal_existing, unseal_all
from secure_xcom.ops.jobs.opener import Opener
from secure_xcom.ops.jobs.rewrap import rewrap
from secure_xcom.ops.jobs.rewrap_plan import Plan
from secure_xcom.ops.jobs.stock_objects import NoObjects
from secure_xcom.ops.keyring import create_keyring, rotate_keyring
from secure_xcom.ops.xcom_table import Database
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import store
from tests.support.doubles import MemorySink
from tests.support.hostile_rows import ODD, TEXTS, WHOLE, several, variants
from tests.support.upkeep_world import ZERO, long_ago, settle, unique_of
from tests.support.world import coordinate, own_task
from tests.support.xcom_table import XComTable

SEED = 20261201
ROWS = 3000
MORE = ("expires", "readers", "exclusive", "object", "shredded", "payload", "followed", "x")
EVIL = {"task_id": "evil"}
BEFORE, AFTER = "2026-11-01 00:00:00.000000", "2026-11-02 00:00:00.000000"


@dataclass
class Land:
    """Two compartments with a keyring and a file store each, honest XComs of every kind, and room for others."""

    folder: Path
    honest: dict[Coordinate, Any] = field(default_factory=dict)
    sink: MemorySink = field(default_factory=MemorySink)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        for name in ("pay", "other"):
            create_keyring(f"{self.folder}/keys/{name}.json")
            (self.folder / name).mkdir(mode=0o700)
        self.url = f"sqlite:///{self.folder}/airflow.db"
        self.table = XComTable(self.url)
        self.policy = AccessPolicy.parse(
            (
                "version: 1\ncompartments:\n"
                f"  - {{name: pay, dags: ['orders*'], key_uris: ['{self.key('pay')}'], exclusive: [once], "
                f"store_uri: 'file://{self.folder}/pay'}}\n"
                f"  - {{name: other, dags: ['other*'], key_uris: ['{self.key('other')}'], "
                f"store_uri: 'file://{self.folder}/other'}}\n"
            ).encode(),
            where="policy",
        )
        for number, dag in enumerate(("orders", "orders", "orders", "other-dag", "other-dag")):
            self.push({"n": number, "text": "t" * 300}, coordinate(dag_id=dag, key=f"k{number}"))
        self.push("small", coordinate(key="inline"), inline=4096)
        for dag in ("orders", "other-dag"):
            over = self.push("over", coordinate(dag_id=dag, key="over"))
            value = self.table.value(over)
            self.table.put(over, {**value, "head": {**value["head"], "expires": "2020-01-01T00:00:00Z"}})
            orphan = coordinate(dag_id=dag, key="orphan")
            self.pipeline().push([Push(orphan, "orphan" * 100)], producer=own_task(orphan))
            plain = coordinate(dag_id=dag, key="plain")
            self.honest[plain] = {"plain": dag}
            self.table.put(plain, {"plain": dag})
        self.model = self.table_value(self.push("evil" * 100, coordinate(**EVIL, key="model"), honest=False))
        self.inline = self.table_value(self.push("e", coordinate(**EVIL, key="inline"), inline=4096, honest=False))
        self.table.execute("DELETE FROM xcom WHERE task_id = 'evil'")
        self.table.execute("UPDATE xcom SET timestamp = :before", [{"before": BEFORE}])
        self.table.close()
        settle()

    def key(self, compartment: str) -> str:
        """The compartment's key URI."""
        return f"local://{self.folder}/keys/{compartment}.json"

    def table_value(self, at: Coordinate) -> Any:
        """A row's value."""
        return self.table.value(at)

    def push(self, value: Any, at: Coordinate, *, inline: int = 0, honest: bool = True) -> Coordinate:
        """Push a value as a task does."""
        self.table.put(at, self.pipeline(inline).push([Push(at, value)], producer=own_task(at))[0])
        if honest:
            self.honest[at] = value
        return at

    def pipeline(self, inline: int = 0) -> Pipeline:
        """A process of the deployment."""
        return Pipeline(
            Settings(inline_max_bytes=inline, key_cache_seconds=0),
            self.policy,
            AccessLog([self.sink], version="test"),
            SensitiveNames(()),
            Codecs(lambda value: value, lambda structure: structure),
            register=lambda _: None,
        )

    def opener(self) -> Opener:
        """What opens for operators."""
        return Opener(lambda value: value, services=key_service, stores=store, max_bytes=1 << 20)

    def log(self) -> AccessLog:
        """The access log."""
        return AccessLog([self.sink], version="test")

    def objects(self) -> set[str]:
        """All payloads but the hostile author's own."""
        found = (
            str(path.relative_to(self.folder))
            for name in ("pay", "other")
            for path in (self.folder / name).rglob("*")
        )
        return {path for path in found if (self.folder / path).is_file() and "/evil/" not in path}

    def rows(self) -> dict[tuple[Any, ...], Any]:
        """The honest rows, without the wraps that a rewrap renews."""
        found = {}
        for row in self.database().rows():
            if row.task_id != "evil" and not row.key.startswith("evil"):
                value = row.value
                found[row.dag_id, row.key] = (
                    {**value, "keys": [key["wrapped"].split(":")[1] for key in value["keys"]]}
                    if isinstance(value, dict) and "keys" in value
                    else value
                )
        return found

    def database(self) -> Database:
        """The table as jobs have it."""
        return Database(self.url)

    def state(self) -> Path:
        """A state file."""
        return self.folder / "state" / "job"

    def write(self, rows: list[tuple[Coordinate, str]]) -> None:
        """Write rows as text, past every encoder."""
        run = {dag: self.database_run(dag) for dag in ("orders", "other-dag")}
        self.table.execute(
            "INSERT INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, key, value, timestamp) VALUES "
            "(:run, :dag_id, :run_id, :task_id, :map_index, :key, :value, :timestamp)",
            [
                {"run": run[at.dag_id], "dag_id": at.dag_id, "run_id": at.run_id, "task_id": at.task_id,
                 "map_index": at.map_index, "key": at.key, "value": text, "timestamp": AFTER}
                for at, text in rows
            ],
        )  # fmt: skip

    def database_run(self, dag: str) -> int:
        """Return the number of a DAG's run."""
        position = next(row.position for row in self.database().rows(dag_id=dag))
        assert isinstance(position, TaskPosition)
        return position.dag_run_id


def text_of(value: Any) -> str:
    """JSON, however deeply nested."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        return json.dumps(value)
    finally:
        sys.setrecursionlimit(before)


def hostile(land: Land) -> list[tuple[Coordinate, str]]:
    """Hostile rows: every field in every odd kind, in rows of their own and beside the honest ones."""
    made: list[tuple[Coordinate, str]] = []

    def row(value: Any, at: Coordinate) -> None:
        if isinstance(value, dict) and isinstance(value.get("head"), dict) and value["head"].get("key") == "model":
            value = {**value, "head": {**value["head"], "key": at.key}}
        made.append((at, text_of(value)))

    values = several(SEED, list(variants(land.model, MORE)), ROWS) + list(
        variants(land.inline, ("payload",), ODD[:20])
    )
    for number, value in enumerate([*values, *WHOLE, *ODD]):
        row(value, coordinate(**EVIL, key=f"evil{number}"))
    made += [(coordinate(**EVIL, key=f"text{number}"), text) for number, text in enumerate(TEXTS)]
    # Beside the honest ones, in their own task instances: copies that name their payloads, in other keys.
    for victim in [at for at in land.honest if at.key != "plain"]:
        value = land.table_value(victim)
        lies: list[dict[str, Any]] = [
            {}, {"expires": "2020-01-01T00:00:00Z"}, {"expires": "9999-12-31T23:59:59Z"}, {"compartment": "other"},
            {"created": "9999-12-31T23:59:59Z"}, {"readers": "all"}, {"codec": "bytes"}, {"exclusive": "store"},
        ]  # fmt: skip
        for number, lie in enumerate(lies):
            at = coordinate(dag_id=victim.dag_id, key=f"evil-{victim.key}-{number}")
            row({**value, "head": {**value["head"], "key": at.key, **lie}}, at)
        row(
            {**value, "keys": [{"uri": land.key("pay"), "wrapped": "local:v1:AAAA"}] * 3},
            coordinate(dag_id=victim.dag_id, key=f"evil-k-{victim.key}"),
        )
        row({**value, "secure_xcom": 2}, coordinate(dag_id=victim.dag_id, key=f"evil-v-{victim.key}"))
    # Names of other task instances' payloads, live and orphaned ones.
    for number, path in enumerate(sorted(land.objects())):
        uri = f"file://{land.folder}/{path}"
        for version in (1, 2):
            at = coordinate(**EVIL, key=f"name{number}-{version}")
            row({"secure_xcom": version, "head": {"object": uri}, "payload": None}, at)
        at = coordinate(**EVIL, key=f"named{number}")
        row({**land.model, "head": {**land.model["head"], "key": at.key, "object": uri}}, at)
    return made


@pytest.fixture(scope="module")
def lands(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Land]:
    """The same deployment, time and again, with and without the hostile rows."""
    folder = tmp_path_factory.mktemp("lands")
    land = Land(folder / "land")
    kept = folder / "honest"
    shutil.copytree(land.folder, kept)
    rows = hostile(land)
    assert len(rows) > 3000

    def again(with_hostile: bool) -> Land:
        land.table.close()
        shutil.rmtree(land.folder)
        shutil.copytree(kept, land.folder)
        land.sink.lines.clear()
        if with_hostile:
            land.write(rows)
        return land

    return again


def both(lands: Callable[[bool], Land], job: Callable[[Land], Any]) -> Iterator[tuple[Any, set[str], Any]]:
    """The job's report, the objects and the rows afterwards: without and with the hostile rows."""
    for with_hostile in (False, True):
        land = lands(with_hostile)
        report = job(land)
        yield report, land.objects(), land.rows()


def test_gc(lands: Callable[[bool], Land]) -> None:
    """It deletes the same orphans, and protects none of them for a name in a row."""

    def job(land: Land) -> Any:
        return collect(land.policy, land.database(), land.state(), delete=True, window=ZERO, max_share=1.0)

    (clean, objects, rows), (report, objects_too, rows_too) = both(lands, job)
    assert (objects_too, rows_too) == (objects, rows)
    assert clean.deleted == 3  # Two orphans, and the hostile author's payload, which no row names here.
    assert report.rows - clean.rows > 3000
    assert report.unreadable > 2000
    assert (report.failed, report.refused, report.unlisted) == (0, [], [])


def test_expire(lands: Callable[[bool], Land]) -> None:
    """It deletes what is expired and nothing for the sake of a row that names another's payload."""

    def job(land: Land) -> Any:
        return expire(land.policy, land.database(), land.log(), land.state(), delete=True, operator="me")

    (clean, objects, rows), (report, objects_too, rows_too) = both(lands, job)
    assert (objects_too, rows_too) == (objects, rows)
    assert (clean.expired, clean.deleted) == (2, 2)
    assert report.deleted >= 2
    assert report.failed > 5
    assert report.unreadable > 2000


def test_rewrap(lands: Callable[[bool], Land]) -> None:
    """Every honest wrap is brought to the newest version, and the oldest version in use is what it is."""

    def job(land: Land) -> Any:
        rotate_keyring(f"{land.folder}/keys/pay.json")
        log = land.log()
        return rewrap(land.policy, land.database(), log, land.state(), Plan(), apply=True, operator="me")

    (clean, objects, rows), (report, objects_too, rows_too) = both(lands, job)
    assert (objects_too, rows_too) == (objects, rows)
    assert report.oldest == clean.oldest
    assert set(report.oldest.values()) == {1, 2}
    assert report.failed == report.refused > 10
    assert report.unreadable > 2000


def test_doctor(lands: Callable[[bool], Land]) -> None:
    """What it finds of the others it still finds, and no more of it; nothing of a hostile row is a plain value."""

    def job(land: Land) -> Any:
        findings = examine_rows(land.policy, land.database()).findings
        findings += examine_payloads(land.policy, land.database(), land.state())
        return {finding.rule: finding.count for finding in findings}

    (clean, *_), (report, *_) = both(lands, job)
    assert clean["expired-row"] == 2
    # The hostile rows without a tag are plain values: as many as there are odd kinds.
    assert 0 <= report["plaintext-row"] - clean["plaintext-row"] <= 2 * len(ODD)
    assert set(clean) <= set(report)
    assert sum(count for kind, count in report.items() if kind.startswith("reference-")) > 2500


def test_seal_existing(lands: Callable[[bool], Land]) -> None:
    """Every honest plain value is sealed; of the hostile ones each is sealed, left, or named as failed."""

    def job(land: Land) -> Any:
        return seal_existing(
            land.policy, land.database(), land.pipeline(), land.opener(), land.state(), NoObjects(), apply=True,
            operator="me",
        )  # fmt: skip

    (clean, objects, _), (report, objects_too, rows_too) = both(lands, job)
    assert len(objects_too) == len(objects)
    assert clean.converted == 2
    assert all("secure_xcom" in rows_too[dag, "plain"] for dag in ("orders", "other-dag"))
    assert report.skipped > 2000
    assert report.due == report.converted + report.failed


def test_unseal_all(lands: Callable[[bool], Land]) -> None:
    """Every honest value comes back; no hostile row is given what it does not hold by its own seal."""

    def job(land: Land) -> Any:
        return unseal_all(
            land.policy, land.database(), land.log(), land.opener(), land.state(), apply=True, operator="me",
            reason="leaving",
        )  # fmt: skip

    (clean, objects, rows), (report, objects_too, rows_too) = both(lands, job)
    assert (objects_too, rows_too) == (objects, rows)
    assert clean.converted == 6
    assert report.skipped > 2000
    assert report.failed > 50
    land = lands(True)
    job(land)
    opened = [row.value for row in land.database().rows() if row.key.startswith(("evil", "name"))]
    assert not [value for value in opened if value in list(land.honest.values())]


def test_pulls_and_operators_get_errors_of_ours(lands: Callable[[bool], Land]) -> None:
    """A pull and a break-glass opening of each hostile row raise an error of our tree, or give what was sealed."""
    land = lands(True)
    database, opener, log, pipeline = land.database(), land.opener(), land.log(), land.pipeline()
    honest = [text_of(value) for value in land.honest.values()]
    refused = 0
    rows = [row for row in database.rows() if row.task_id == "evil" or row.key.startswith("evil")]
    beside = [row for row in rows if row.task_id != "evil"]
    for row in beside + several(SEED, rows, 500):
        at = row.coordinate
        consumer = TaskTry(at.dag_id, at.run_id, "reader", -1, 1)
        try:
            assert text_of(pipeline.pull([Row(row.value)], consumer=consumer)[0]) not in honest
        except SecureXComError:
            refused += 1
        try:
            opened = break_glass(land.policy, database, log, opener, at, operator="me", reason="why")
            assert opened.data.decode() not in honest
        except SecureXComError:
            refused += 1
    assert refused > 900


def test_inspect_shows_or_refuses_each(lands: Callable[[bool], Land]) -> None:
    """`secure-xcom inspect` of a hostile row ends with a word, never with a traceback."""
    land = lands(True)
    rows = [row for row in land.database().rows() if row.task_id == "evil" and row.text]
    for row in several(SEED, rows, 120) + [row for row in rows if row.key.startswith("text")]:
        for what in (row.where, row.text or ""):
            result = CliRunner().invoke(app, ["inspect", "--db", land.url, "--", what])
            assert result.exit_code in (0, 1, 2), (what[:200], result.exception)
            assert result.exception is None or isinstance(result.exception, SystemExit), what[:200]


def test_junk_in_one_store_keeps_gc_from_no_other(lands: Callable[[bool], Land]) -> None:
    """The largest share is one of each compartment and store; who is refused is named."""
    land = lands(False)
    junk = land.folder / "pay" / "pay" / "orders" / "run" / "junk" / "-1"
    junk.mkdir(parents=True)
    # Names of the days to come, and segments that no id has, protect nothing and stop nothing.
    for when in (long_ago(days=3), datetime.now(timezone.utc) + timedelta(days=3000)):
        for _ in range(50):
            (junk / unique_of(when)).write_bytes(b"x")
    far = land.folder / "pay" / "pay" / "orders" / "run" / "junk" / "9999999999"
    far.mkdir()
    (far / unique_of(long_ago(days=3))).write_bytes(b"x")
    strange = land.folder / "pay" / "pay" / "orders" / "run"
    for name in (b"\xff~" + b"a" * 48, b"x" * 150 + b"~\xed\xa0\x80" + b"a" * 45, b"~", b"\n"):
        folder = bytes(strange) + b"/" + name + b"/-1/"
        os.makedirs(folder)
        with open(folder + unique_of(long_ago(days=3)).encode(), "wb") as file:
            file.write(b"x")
    report = collect(land.policy, land.database(), land.state(), delete=True, window=ZERO, max_share=0.5)
    assert [text.split(": ")[1] for text in report.refused] == ["103 of 107 payloads have no row"]
    assert report.deleted == 1
    assert not any("other-dag" in path and "orphan" in path for path in land.objects())
    assert report.found
    report = collect(land.policy, land.database(), land.state(), delete=True, window=ZERO, max_share=1.0)
    assert (report.refused, report.deleted) == ([], 103)


def sealed(land: Land, at: Coordinate, **head: str) -> dict[str, Any]:
    """An XCom that somebody with the key has sealed with a head of their own: all of it is authentic."""
    uri = land.key(str(head.get("compartment", "pay")))
    data_key = DataKey.generate()
    fields = {
        "compartment": "pay",
        "codec": "json",
        "compression": "none",
        "created": "2026-01-01T00:00:00Z",
        **head,
    }
    made = Head(at.dag_id, at.run_id, at.task_id, str(at.map_index), at.key, **fields)
    wrapped = key_service(uri).wrap(data_key, encryption_context(made.compartment, at))
    payload = b"".join(seal(data_key.secret, made.canonical(), [b'"authentic"']))
    return Reference(made, (WrappedKey(uri, wrapped),), payload[:56], len(payload), payload).dump()


@pytest.mark.parametrize(
    ("head", "opens"),
    [
        ({}, True),
        ({"readers": "someone"}, False),
        ({"exclusive": "something new"}, False),
        ({"expires": "2020-01-01T00:00:00Z"}, False),
        ({"created": "9999-01-01T00:00:00Z", "expires": "9999-12-31T00:00:00Z"}, False),
        ({"compartment": "other"}, False),
    ],
)
def test_nothing_is_unsealed_that_a_pull_refuses(
    lands: Callable[[bool], Land], head: dict[str, str], opens: bool
) -> None:
    """Restrictions that this release does not know, clocks that differ, a compartment that the DAG is not of."""
    land = lands(False)
    at = coordinate(key="authentic")
    land.table.put(at, sealed(land, at, **head))
    reader = TaskTry(at.dag_id, at.run_id, "reader", -1, 1)

    def outcome(read: Callable[[], Any]) -> bool:
        try:
            read()
        except SecureXComError:
            return False
        return True

    log, database, opener = land.log(), land.database(), land.opener()
    pulled = outcome(lambda: land.pipeline().pull([Row(land.table.value(at))], consumer=reader))
    broken = outcome(lambda: break_glass(land.policy, database, log, opener, at, operator="me", reason="why"))
    unseal_all(land.policy, database, log, opener, land.state(), apply=True, operator="me", reason="why")
    assert (pulled, broken, land.table.value(at) == "authentic") == (opens, opens, opens)
    land.table.put(at, sealed(land, at, **head))
    findings = examine_rows(land.policy, database).findings
    told = [finding for finding in findings if finding.rule.startswith("reference-")]
    # An expired one is told as such, and an exclusive one is a claimant's.
    assert bool(told) == (not opens and "2020" not in str(head))
