"""Claims that anybody may put never stop `claims shred`, and never have it destroy what they are not on."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from secure_xcom import exclusive
from secure_xcom.claims.claim import Claim
from secure_xcom.claims.claim_listing import ListedClaimObjects
from secure_xcom.claims.claim_table import ClaimTable
from secure_xcom.claims.claimant import Claimant, Target
from secure_xcom.claims.migrate import migrate
from secure_xcom.claims.table_schema import claim_xcom, row_of
from secure_xcom.core.claim_errors import ClaimTampered
from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry
from secure_xcom.core.pipeline.push_and_pull import Row
from secure_xcom.core.store_errors import StoreDenied, StoreUnavailable
from secure_xcom.ops.jobs.shred import ShredReport, shred_all
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import store
from tests.support.claim_contract import a_day_later
from tests.support.hostile_rows import ODD, variants
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate
from tests.unit.core.pipeline.test_hostile_rows import AFTER, BEFORE, text_of

READER = Claimant("orders", coordinate().run_id, "reader", -1, 0)


@pytest.fixture
def upkeep(tmp_path: Path) -> Iterator[Upkeep]:
    """A deployment with an exclusive XCom that was read, one that was not, and one that is for all."""
    made = Upkeep(tmp_path / "deployment")
    made.table.set_state(coordinate(task_id=READER.task_id), "success")
    for key in ("read", "unread"):
        made.push(exclusive("opensesame"), coordinate(key=key))
    made.push("for all", coordinate(key="plain"))
    made.table.execute("UPDATE xcom SET timestamp = :before", [{"before": BEFORE}])
    yield made
    made.close()


def pull(upkeep: Upkeep, key: str, ledger: Any = None) -> Any:
    """A pull by the task that has succeeded."""
    at = coordinate(key=key)
    asked = Asked(at.dag_id, at.task_id, at.key, at.run_id, at.map_index)
    pipeline = upkeep.pipeline()
    pipeline.ledger = ledger or pipeline.ledger
    consumer = TaskTry(at.dag_id, at.run_id, READER.task_id, -1, 1)
    return pipeline.pull([Row(upkeep.table.value(at), asked)], consumer=consumer, claimant=READER)[0]


def shred(upkeep: Upkeep, ledger: Any = None) -> ShredReport:
    """The job."""
    log = AccessLog([upkeep.sink], version="test")
    database = upkeep.table.database()
    return shred_all(upkeep.policy, database, log, delete=True, operator="me", ledger=ledger)


def target_of(upkeep: Upkeep, key: str) -> Target:
    """What a claim on an XCom is on."""
    at = coordinate(key=key)
    return Target("pay", at, upkeep.store_uri, upkeep.table.value(at)["head"]["object"])


def hostile(upkeep: Upkeep) -> list[tuple[str, bytes]]:
    """Claims in every odd kind, each in a place of its own: the place's UUID and the record."""
    model = json.loads(Claim.of(target_of(upkeep, "read"), READER).dump())
    model["proof"] = "A" * 96
    numbers = (
        "1" * 4000,
        "1" * 5000,
        "2147483648",
        "-2",
        "-02",
        "1e3",
        "9" * 19,
        "\u0661",
        " 1",
        "1_0",
        "+1",
        "-0",
    )
    made = [text_of(value).encode() for value in variants(model, ("more",), (*ODD, *numbers))]
    made += [
        b"", b"\xff", b"\x00" * 100, b"[" * 30_000, b"{" * 10, b"9" * 30_000, b"x" * 40_000, b'{"a":1,"a":2}',
        json.dumps(model).encode("utf-16"), json.dumps(model).encode("utf-32"), b"[" * 5000 + b"]" * 5000,
    ]  # fmt: skip
    placed = []
    for raw in made:
        unique = str(uuid.uuid4())
        placed.append((unique, raw.replace(model["claim"]["object"][-36:].encode(), unique.encode())))
    return placed


def check_honest(upkeep: Upkeep, report: ShredReport) -> None:
    """What was read is destroyed, and nothing else."""
    assert (report.done, report.left) == (1, 0)
    kept = {key: upkeep.table.value(coordinate(key=key)) for key in ("read", "unread", "plain")}
    assert "shredded" in kept["read"]
    assert [len(value["keys"]) for value in kept.values()] == [0, 1, 1]
    objects = [path for path in upkeep.objects() if "~claims" not in path]
    assert sorted(objects) == sorted(
        value["head"]["object"].removeprefix(f"{upkeep.store_uri}/") for value in (kept["unread"], kept["plain"])
    )


def test_hostile_claims_in_a_store(upkeep: Upkeep) -> None:
    """Thousands of objects among the claims, of every odd kind and name, and the honest one is done."""
    assert pull(upkeep, "read") == "opensesame"
    at = coordinate(key="read")
    folder = f"~claims/pay/{target_of(upkeep, 'read').path.split('/', 2)[2].rpartition('/')[0]}"
    opened = store(upkeep.store_uri)
    made = hostile(upkeep)
    for unique, raw in made:
        opened.put(f"{folder}/{unique}", [raw])
    below = upkeep.folder / "store" / "~claims" / "pay"
    for name in ("a b", "x" * 200, "%00", "\n"):
        (below / name).write_bytes(b"{}")
    os.mkfifo(below / "pipe")
    (below / "link").symlink_to("/etc/passwd")
    (below / "folder" / str(uuid.uuid4())).mkdir(parents=True)
    report = shred(upkeep)
    check_honest(upkeep, report)
    assert len(made) > 1000
    # Some are in their right place and right form, and are on what is not there: they go with the dead.
    with a_day_later():
        assert report.tampered + shred(upkeep).outlived >= len(made) - 5
    assert at.key == "read"
    assert shred(upkeep).tampered == report.tampered


def test_an_object_that_only_its_writer_may_read(upkeep: Upkeep) -> None:
    """A claim that the store does not give is a finding, and those behind it are looked at."""

    # By their whole paths: the honest claim's UUID may end as these do.
    strange = {
        f"~claims/pay/orders/run/evil/-1/{uuid.uuid4()}": error for error in (StoreDenied, StoreUnavailable)
    }

    class Denying(type(store(upkeep.store_uri))):  # type: ignore[misc]
        def get_many(self, paths: Any, sizes: Any = None) -> Iterator[Any]:
            for path, answer in zip(paths, super().get_many(paths, sizes), strict=True):
                yield strange[path]("HTTP 400", where=path) if path in strange else answer

    assert pull(upkeep, "read") == "opensesame"
    opened = Denying(upkeep.store_uri)
    for path in strange:
        opened.put(path, [b"x"])
    found = list(ListedClaimObjects(lambda _: opened).list([(upkeep.store_uri, "pay")]))
    assert sorted(type(one).__name__ for one in found) == ["Claim", "ClaimTampered", "ClaimTampered"]
    assert {"HTTP 400" in one.what for one in found if isinstance(one, ClaimTampered)} == {True}


def test_hostile_claims_in_a_database(upkeep: Upkeep, tmp_path: Path) -> None:
    """Rows of every odd kind in the table of claims, bytes and numbers in text columns as well."""
    table = ClaimTable(f"db+sqlite:///{tmp_path}/claims.db")
    migrate(table)
    for key in ("read", "unread"):
        value = upkeep.table.value(coordinate(key=key))
        upkeep.table.put(coordinate(key=key), {**value, "head": {**value["head"], "exclusive": "database"}})
    target = target_of(upkeep, "read")
    claim = Claim.of(target, READER)
    with table.connection() as connection:
        columns = {**row_of(target, claim), "record": json.dumps({**json.loads(claim.dump()), "proof": PROOF})}
        connection.execute(claim_xcom().insert().values(**columns))
        for unique, raw in hostile(upkeep):
            connection.execute(
                sqlalchemy.text(
                    "INSERT INTO claim_xcom VALUES (:unique, 'pay', 'd', 'r', 't', -1, 'k', 'd', 'r', 't', -1, "
                    "'2026-01-01 00:00:00.000000', :record)"
                ),
                {"unique": unique, "record": raw if len(raw) % 2 else raw.decode("utf-8", "replace")},
            )
        connection.commit()
    report = shred(upkeep, table)
    check_honest(upkeep, report)
    with a_day_later():
        assert report.tampered + shred(upkeep, table).outlived > 1000


PROOF = "A" * 96


@pytest.mark.parametrize("lie", [{"exclusive": "store"}, {"exclusive": "database"}])
def test_a_row_and_a_claim_together_delete_nothing_of_another_row(upkeep: Upkeep, lie: dict[str, str]) -> None:
    """A row beside the honest ones that names their payload as exclusive, and a claim on it in its place."""
    assert pull(upkeep, "read") == "opensesame"
    for key in ("plain", "unread"):
        value = upkeep.table.value(coordinate(key=key))
        at = coordinate(key=f"evil-{key}")
        upkeep.table.put(at, {**value, "head": {**value["head"], "key": at.key, **lie}})
        row = {"after": AFTER, "key": at.key}
        upkeep.table.execute("UPDATE xcom SET timestamp = :after WHERE key = :key", [row])
        put_claim(upkeep, at, value["head"]["object"])
    report = shred(upkeep)
    check_honest(upkeep, report)
    assert report.tampered == 2
    assert all("names the payload of" in text for text in report.failures)


def put_claim(upkeep: Upkeep, at: Coordinate, name: str) -> None:
    """A claim as whoever may claim writes it, by a task that has succeeded, with a proof that proves nothing."""
    target = Target("pay", at, upkeep.store_uri, name)
    record = {**json.loads(Claim.of(target, READER).dump()), "proof": PROOF}
    store(upkeep.store_uri).put(target.path, [json.dumps(record).encode()])


def test_a_pull_of_a_hostile_claim_is_refused_in_our_words(upkeep: Upkeep) -> None:
    """Lone surrogates, invalid times and numbers beyond Airflow's columns are `ClaimTampered` on a pull, too."""
    target = target_of(upkeep, "unread")
    changes: list[Callable[[dict[str, Any]], Any]] = [
        lambda fields: fields.update(claimed="\ud800"),
        lambda fields: fields.update(claimed="2026-02-30T00:00:00Z"),
        lambda fields: fields.update(by_clearing="2147483648"),
        lambda fields: fields.update(by_clearing="1" * 4000),
        lambda fields: fields.update(by_map_index="1" * 4000),
    ]
    for change in changes:
        record = {**json.loads(Claim.of(target, READER).dump()), "proof": PROOF}
        change(record["claim"])
        upkeep.store().delete_many([target.path])
        upkeep.store().put(target.path, [json.dumps(record).encode()])
        with pytest.raises(ClaimTampered):
            pull(upkeep, "unread")


@pytest.mark.parametrize("field", ["by_map_index", "by_clearing", "map_index"])
@pytest.mark.parametrize("number", ["2147483648", "9" * 19, "1" * 4000, "1" * 5000])
def test_a_huge_number_in_the_right_place(upkeep: Upkeep, field: str, number: str) -> None:
    """A claim on an XCom that is there, by a claimant that no database can be asked for."""
    assert pull(upkeep, "read") == "opensesame"
    target = target_of(upkeep, "unread")
    record = {**json.loads(Claim.of(target, READER).dump()), "proof": PROOF}
    record["claim"][field] = number
    upkeep.store().put(target.path, [json.dumps(record).encode()])
    report = shred(upkeep)
    check_honest(upkeep, report)
    assert report.tampered == 1
