"""Exclusive XComs through the whole pipeline, in memory: who may pull, who is refused, and what is left of it."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from secure_xcom import exclusive
from secure_xcom.claims.claim import Claim
from secure_xcom.claims.claim_listing import ListedClaimObjects
from secure_xcom.claims.claim_table import ClaimTable
from secure_xcom.claims.claimant import Claimant
from secure_xcom.claims.claiming import ALARM
from secure_xcom.claims.exclusive import Exclusive
from secure_xcom.claims.migrate import migrate
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.attempt import Attempt
from secure_xcom.core.claim_errors import ClaimRefused, ClaimTampered
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry
from secure_xcom.core.errors import (
    ClockSkewed,
    ReferenceExpired,
    ReferenceMalformed,
    ReferenceShredded,
    SecureXComError,
    StoreError,
    UriInvalid,
    ValueNotSerialisable,
)
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.core.reference import TIME_FORMAT, parse
from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.ops.jobs.shred_finished import shred_finished
from secure_xcom.sinks.access_log import AccessLog
from tests.support.claim_contract import a_day_later
from tests.support.doubles import MemoryStore
from tests.support.world import World, coordinate, own_task

POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["orders", "readers_*"]
    key_uris: ["memory-key://finance"]
    store_uri: STORE
    exclusive: ["*_token"]
"""
SANDBOX = """\
  - name: sandbox
    dags: [sandbox]
    key_uris: ["memory-key://sandbox"]
    store_uri: STORE
"""
TOKEN = coordinate(key="api_token")
FIRST = TaskTry("readers_a", "run", "load", -1, 1)
OTHER = TaskTry("readers_a", "run", "other", -1, 1)


def world(more: str = "", **settings: Any) -> World:
    """A deployment with an exclusive key, in memory."""
    uri = f"memory://{uuid.uuid4().hex}"
    text = (POLICY + more).replace("STORE", uri)
    return World(Settings(**settings), AccessPolicy.parse(text.encode(), where="policy.yaml"), store_uri=uri)


ATTEMPT, LATER = "019be2a1-0000-7000-8000-000000000001", "019be2a1-0000-7000-8000-000000000002"


def claimant(task: TaskTry, clearing: int = 0, attempt: str | None = ATTEMPT) -> Claimant:
    """The task instance of a try."""
    return Claimant(task.dag_id, task.run_id, task.task_id, task.map_index, clearing, attempt)


def row(reference: Any) -> Row:
    """A row that was asked for by its whole coordinate."""
    at = parse(reference).head.coordinate
    return Row(reference, Asked(at.dag_id, at.task_id, at.key, at.run_id, at.map_index))


def pull(
    there: World | Pipeline,
    reference: Any,
    task: TaskTry = FIRST,
    clearing: int = 0,
    attempt: str | None = ATTEMPT,
) -> Any:
    """Pulled by a try of a task, in a process of its own."""
    pipeline = there.process() if isinstance(there, World) else there
    return pipeline.pull([row(reference)], consumer=task, claimant=claimant(task, clearing, attempt))[0]


def test_an_exclusive_key_has_a_data_key_of_its_own_and_an_object() -> None:
    """What the policy calls exclusive is marked in the head, sealed with a fresh data key, and never inline."""
    there = world(inline_max_bytes=1000)
    producer = TaskTry("orders", TOKEN.run_id, "extract", -1, 1)

    pushed = there.pipeline.push([Push(TOKEN, "a"), Push(coordinate(), "b"), Push(TOKEN, "c")], producer=producer)
    first, plain, second = pushed
    assert [one["head"].get("exclusive") for one in pushed] == ["store", None, "store"]
    assert "object" in first["head"]
    assert "payload" in plain
    assert len({one["keys"][0]["wrapped"] for one in pushed}) == 3
    assert len(there.pipeline.keys.cache) == 1
    assert pull(there, second) == "c"


def test_a_marked_value_is_exclusive_and_comes_back_as_itself() -> None:
    """`exclusive(value)` makes any key exclusive, for whichever compartment, and a pull gives the value itself."""
    there = World()
    reference = there.push(exclusive({"password": "opensesame"}))
    assert reference["head"]["exclusive"] == "store"
    assert pull(there, reference) == {"password": "opensesame"}
    with pytest.raises(ClaimRefused):
        pull(there, reference, OTHER)


def test_a_marked_value_is_never_printed() -> None:
    """The mark hides its value from logs, and marking twice is marking once."""
    marked = exclusive("opensesame")
    assert "opensesame" not in f"{marked!r} {marked}"
    twice: Any = exclusive(marked)
    assert twice is marked
    assert isinstance(marked, Exclusive)


def test_a_part_of_a_value_cannot_be_exclusive() -> None:
    """An exclusive value inside another is refused at the push."""
    from airflow.sdk.bases.xcom import BaseXCom

    there = World()

    assert there.policy is not None
    pipeline = Pipeline(
        there.settings, there.policy, AccessLog([there.sink], version="t"), SensitiveNames(set()),
        Codecs(BaseXCom.serialize_value, lambda structure: structure), services=there.service,
    )  # fmt: skip
    with pytest.raises(ValueNotSerialisable):
        pipeline.push([Push(coordinate(), {"a": exclusive("x")})])


def test_the_first_pulls_and_no_other() -> None:
    """The first task instance claims; any other is refused by name, alarmed and recorded, and gets no key."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    assert pull(there, reference) == "opensesame"
    unwrapped = sum(service.entries["unwrap_many"] for service in there.keys.values())
    for other in (
        OTHER,
        replace(FIRST, run_id="other"),
        replace(FIRST, map_index=3),
        replace(FIRST, dag_id="orders"),
    ):
        with pytest.raises(ClaimRefused, match="readers_a/run/load"):
            pull(there, reference, other)
    assert sum(service.entries["unwrap_many"] for service in there.keys.values()) == unwrapped
    events = [(one["action"], one["outcome"], one.get("error")) for one in there.sink.records[1:]]
    assert events[:2] == [("claim", "ok", None), ("pull", "ok", None)]
    assert events[2:4] == [("claim", "refused", "ClaimRefused"), ("pull", "refused", "ClaimRefused")]
    assert len(events) == 2 + 2 * 4


def test_a_second_claim_raises_an_alarm(caplog: pytest.LogCaptureFixture) -> None:
    """The refusal's log line begins with the word that is watched for, names both, and holds no value."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    pull(there, reference)
    with caplog.at_level(logging.ERROR), pytest.raises(ClaimRefused):
        pull(there, reference, OTHER)
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith(ALARM)
    assert "readers_a/run/load" in line
    assert "readers_a/run/other" in line
    assert "opensesame" not in line


def test_every_try_of_the_claimant_may_pull_again() -> None:
    """A retry, a deferral and another pull in the same try are the same task instance."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    process = there.process()
    assert [pull(process, reference), pull(process, reference)] == ["opensesame"] * 2
    assert pull(there, reference, replace(FIRST, try_number=7)) == "opensesame"
    assert [one["action"] for one in there.sink.records].count("claim") == 1


def test_a_list_that_names_one_twice_is_claimed_once() -> None:
    """The same XCom twice in one pull is one claim."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    values = there.process().pull([row(reference)] * 2, consumer=FIRST, claimant=claimant(FIRST))
    assert values == ["opensesame"] * 2
    assert [one["action"] for one in there.sink.records].count("claim") == 1


@pytest.mark.parametrize("max_tries", [2, 5])
@pytest.mark.parametrize("allowed", ["true", "false"])
def test_a_later_attempt_pulls_again_by_policy(
    allowed: str, max_tries: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The attempt that claimed may resume; a later one may by policy only, whatever became of its max_tries."""
    there = world(f"    exclusive_rerun: {allowed}\n")
    reference = there.push("opensesame", TOKEN)
    assert pull(there, reference, clearing=2) == "opensesame"
    assert pull(there, reference, clearing=2) == "opensesame"
    later = replace(FIRST, try_number=2)
    if allowed == "true":
        assert pull(there, reference, later, max_tries, LATER) == "opensesame"
        return
    unwrapped = sum(service.entries["unwrap_many"] for service in there.keys.values())
    with caplog.at_level(logging.ERROR), pytest.raises(ClaimRefused, match="an earlier attempt"):
        pull(there, reference, later, max_tries, LATER)
    assert caplog.records[-1].getMessage().startswith(ALARM)
    assert sum(service.entries["unwrap_many"] for service in there.keys.values()) == unwrapped
    assert (there.sink.records[-2]["action"], there.sink.records[-2]["outcome"]) == ("claim", "refused")


@pytest.mark.parametrize(("allowed", "claims"), [("true", 1), ("false", 0)])
def test_an_attempt_that_nobody_names_claims_nothing_of_one_attempt(allowed: str, claims: int) -> None:
    """Where only the attempt that claimed may pull again, one that is not known makes no claim."""
    there = world(f"    exclusive_rerun: {allowed}\n")
    reference = there.push("opensesame", TOKEN)
    with nullcontext() if claims else pytest.raises(ClaimRefused, match="does not report here which one"):
        pull(there, reference, attempt=None)
    assert len(claims_of(there)) == claims


def test_a_claim_of_a_release_that_wrote_no_attempt_still_counts() -> None:
    """A stored claim without an attempt lets its claimant in by what it holds, max_tries, and nobody else."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    pull(there, reference, clearing=2, attempt=None)
    [raw] = claims_of(there).values()
    assert "by_attempt" not in json.loads(raw)["claim"]
    assert there.policy is not None
    strict = AccessPolicy.parse(
        (POLICY + "    exclusive_rerun: false\n").replace("STORE", there.store_uri).encode(), where="policy.yaml"
    )
    there.policy = strict
    assert pull(there, reference, replace(FIRST, try_number=2), 2, LATER) == "opensesame"
    with pytest.raises(ClaimRefused, match="an earlier attempt"):
        pull(there, reference, replace(FIRST, try_number=3), 5, LATER)
    with pytest.raises(ClaimRefused, match="another task instance"):
        pull(there, reference, OTHER, 2)


def test_a_second_push_is_claimed_anew() -> None:
    """A retry of the producer makes another object: the same consumer claims it anew, or another one does."""
    there = world()
    first, second = there.push("one", TOKEN), there.push("two", TOKEN)
    assert pull(there, first) == "one"
    assert pull(there, second) == "two"
    third = there.push("three", TOKEN)
    assert pull(there, third, OTHER) == "three"
    with pytest.raises(ClaimRefused):
        pull(there, third, FIRST)


@pytest.mark.parametrize(
    ("asked", "who", "why"),
    [
        (Asked("orders", "extract", "api_token", TOKEN.run_id, -1), None, "which one this is"),
        (Asked("orders", "extract", "api_token", None, -1), FIRST, "from one run"),
        (None, FIRST, "from one run"),
    ],
)
def test_pulls_that_cannot_claim_are_refused(asked: Asked | None, who: TaskTry | None, why: str) -> None:
    """Without a task instance (triggers, callbacks, the API server) and of no single run, nothing is claimed."""
    there = World()
    reference = there.push(exclusive("opensesame"), TOKEN)
    with pytest.raises(ClaimRefused, match=why):
        there.process().pull([Row(reference, asked)], consumer=FIRST, claimant=claimant(who) if who else None)
    assert pull(there, reference, OTHER) == "opensesame"


def test_a_list_is_claimed_whole_or_not_at_all() -> None:
    """Where another has claimed one of a mapped task's XComs, a pull of all of them claims none."""
    there = world()
    items = [there.push(number, replace(TOKEN, map_index=number)) for number in range(3)]
    assert pull(there, items[2]) == 2
    with pytest.raises(ClaimRefused):
        there.process().pull([row(item) for item in items], consumer=OTHER, claimant=claimant(OTHER), order=1)
    assert pull(there, items[0], FIRST) == 0
    everything = there.process().pull([row(i) for i in items], consumer=FIRST, claimant=claimant(FIRST), order=1)
    assert everything == [0, 1, 2]


def test_a_moved_reference_claims_nothing() -> None:
    """What is refused before the claim leaves no claim behind."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    with pytest.raises(SecureXComError):
        there.process().pull(
            [Row(reference, Asked("x", "x", "x", "x", 1))], consumer=OTHER, claimant=claimant(OTHER)
        )
    assert pull(there, reference) == "opensesame"


def test_all_strings_of_an_exclusive_value_are_masked() -> None:
    """Logs and rendered templates hide every string of it, and its preview shows shapes at the most."""
    there = world(preview="masked")
    reference = there.push({"note": "opensesame"}, TOKEN)
    assert "opensesame" not in json.dumps(reference)
    pull(there, reference)
    assert "opensesame" in there.masked


def claims_of(there: World) -> dict[str, bytes]:
    """The claims in the store, by path."""
    return {
        entry.path: b"".join(there.store.get(entry.path))
        for entry in there.store.list()
        if "~claims" in entry.path
    }


def rewrite(there: World, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the only claim, as who can write to the bucket does."""
    [(path, raw)] = claims_of(there).items()
    record = json.loads(raw)
    change(record)
    there.store.delete_many([path])
    there.store.put(path, (json.dumps(record).encode(),))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda claim: claim["claim"].update(by_task_id="other"), ClaimTampered),
        (lambda claim: claim["claim"].update(claimed="2026-01-01T00:00:00Z"), ClaimRefused),
        (lambda claim: claim["claim"].update(key="other"), ClaimTampered),
        (lambda claim: claim["claim"].update(map_index="-01"), ClaimTampered),
        (lambda claim: claim["claim"].pop("claimed"), ClaimTampered),
        (lambda claim: claim.update(proof="A" * 96), ClaimRefused),
        (lambda claim: claim.update(proof="AAAA"), ClaimTampered),
        (lambda claim: claim.update(secure_xcom_claim=True), ClaimTampered),
        (lambda claim: claim.clear(), ClaimTampered),
    ],
)
def test_a_forged_claim_opens_nothing(change: Any, error: type[SecureXComError]) -> None:
    """Who can write to the bucket and has no data key cannot make a claim for a consumer of their own."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    pull(there, reference)
    rewrite(there, change)
    with pytest.raises(error):
        pull(there, reference, OTHER)


@pytest.mark.parametrize(
    ("field", "text"),
    [("claimed", "2026-01-01T00:00:00Z"), ("by_clearing", "2026"), ("by_attempt", LATER), ("by_attempt", None)],
)
def test_an_edited_claim_is_known_to_its_owner(field: str, text: str | None) -> None:
    """Every field of a claim is proved with the data key, and so is the absence of one."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    pull(there, reference)

    def edit(claim: Any) -> None:
        del claim["claim"][field]
        claim["claim"].update({} if text is None else {field: text})

    rewrite(there, edit)
    with pytest.raises(ClaimTampered, match="proof"):
        pull(there, reference)


@pytest.mark.parametrize("attempt", ["", "1", ATTEMPT.upper(), f"{ATTEMPT} ", 7, None])
def test_an_attempt_has_one_form(attempt: Any) -> None:
    """A claim whose attempt is no UUID in lower case is none."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    pull(there, reference)
    rewrite(there, lambda claim: claim["claim"].update({"by_attempt": attempt}))
    with pytest.raises(ClaimTampered):
        pull(there, reference)


def test_a_claim_of_another_push_is_none() -> None:
    """A genuine claim that is copied to another XCom's place is refused."""
    there = world()
    first, second = there.push("one", TOKEN), there.push("two", TOKEN)
    pull(there, first)
    [(path, raw)] = claims_of(there).items()
    there.store.put(path.replace(first["head"]["object"][-36:], second["head"]["object"][-36:]), (raw,))
    with pytest.raises(ClaimTampered, match="another XCom"):
        pull(there, second)


def test_a_claim_parses_back() -> None:
    """A record gives the claim that it was made of, with unusual ids too."""
    at = Coordinate("d", "größe/\n", "t" * 250, 0, 'k"~')
    claim = Claim(
        at, "c", f"s3://b/{uuid.uuid4()}", Claimant("a", "b", "c", 3, 4), "2026-01-01T00:00:00Z", b"x" * 72
    )
    assert Claim.parse(claim.dump(), "") == claim
    assert claim.dump() == Claim.parse(claim.dump(), "").dump()


def test_an_identity_that_may_not_claim_is_told_what_to_grant() -> None:
    """A reader whose grants lack the making of claims gets the store's refusal, and what to do."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    store = MemoryStore(there.store_uri)
    store.objects = {entry.path: b"".join(there.store.get(entry.path)) for entry in there.store.list()}

    class ReadOnly(MemoryStore):
        def put(self, path: str, payload: Any) -> None:
            raise StoreDenied("no", where=self.uri)

    denied = ReadOnly(there.store_uri)
    denied.objects = store.objects
    process = there.process(stores=lambda _: denied)
    with pytest.raises(StoreDenied, match="`exclusive` of the compartment"):
        pull(process, reference)


# --- other places of claims -------------------------------------------------------------------------------


def test_claims_of_a_database_and_of_a_store_never_mix(tmp_path: Any) -> None:
    """The head says where its claims are kept, and a machine that keeps them elsewhere refuses."""
    there = world()
    table = ClaimTable(f"db+sqlite:///{tmp_path}/claims.db")
    migrate(table)
    in_database = there.process(ledger=table)

    [kept] = in_database.push([Push(TOKEN, "opensesame")], producer=own_task(TOKEN))
    assert kept["head"]["exclusive"] == "database"
    with pytest.raises(ClaimRefused, match="claims_uri"):
        pull(there, kept)
    assert pull(there.process(ledger=table), kept) == "opensesame"
    with pytest.raises(ClaimRefused, match="has claimed"):
        pull(there.process(ledger=table), kept, OTHER)
    assert claims_of(there) == {}


@pytest.mark.parametrize("uri", ["postgresql://a:geheim@b/c", "db+oracle://a:geheim@b/c", "db+://geheim@", "db+x"])
def test_a_wrong_place_of_claims_is_refused(uri: str) -> None:
    """A URI of another form or database is refused without being repeated."""
    with pytest.raises(UriInvalid) as caught:
        ClaimTable(uri)
    assert "geheim" not in str(caught.value)


# --- time -------------------------------------------------------------------------------------------------


def aged(there: World, reference: dict[str, Any], created: timedelta, expires: timedelta) -> Any:
    """A pull of a reference whose head says other times; the seal is looked at only after they are."""
    now = datetime.now(timezone.utc)
    reference["head"]["created"] = (now + created).strftime(TIME_FORMAT)
    reference["head"]["expires"] = (now + expires).strftime(TIME_FORMAT)
    return pull(there, reference)


def test_an_expired_xcom_is_refused_though_its_bytes_are_there() -> None:
    """A pull after the expiry is refused by name and recorded, before a key or the store is asked."""
    there = world()
    reference = there.push("opensesame", coordinate())
    with pytest.raises(ReferenceExpired):
        aged(there, reference, -timedelta(days=2), -timedelta(seconds=1))
    assert there.sink.records[-1]["error"] == "ReferenceExpired"
    assert all(service.requests["unwrap_many"] == 0 for service in there.keys.values())


def test_clocks_that_are_over_an_hour_apart_cannot_tell() -> None:
    """An XCom that expires and was made over an hour from now is refused: nobody can tell whether it has."""
    there = world()
    reference = there.push("opensesame", coordinate())
    with pytest.raises(ClockSkewed):
        aged(there, reference, timedelta(minutes=61), timedelta(days=1))
    with pytest.raises(SecureXComError) as caught:
        aged(there, reference, timedelta(minutes=59), timedelta(days=1))
    assert type(caught.value).__name__ == "HeadTampered"


# --- shredding --------------------------------------------------------------------------------------------


def test_each_iteration_of_a_loop_claims_for_itself() -> None:
    """An iteration may not pull what another one has claimed; run again by another attempt, it is the same."""
    there = world()
    reference = there.push("opensesame", TOKEN)

    def of(iteration: int | None, attempt: str = ATTEMPT) -> Any:
        who = replace(claimant(FIRST, 0, attempt), iteration=iteration)
        return there.process().pull([row(reference)], consumer=FIRST, claimant=who)[0]

    assert of(1) == "opensesame"
    assert of(1, LATER) == "opensesame"
    for other in (0, 2, None):
        with pytest.raises(ClaimRefused, match="iteration 1"):
            of(other)


def test_what_another_iteration_pushed_is_left_to_maintenance() -> None:
    """A task that succeeded shreds nothing that it cannot name to Airflow, as what `loop.previous` gives."""
    there = world()
    attempt = Attempt("019be2a1-0000-7000-8000-00000000000a", "019be2a1-0000-7000-8000-0000000000f0", 1)
    reference = there.push("opensesame", replace(TOKEN, attempt=attempt))
    who = replace(claimant(FIRST), iteration=2)
    process = there.process()
    assert process.pull([row(reference)], consumer=FIRST, claimant=who) == ["opensesame"]
    rows = MemoryRows(reference)
    assert process.shred(rows, who) == []
    assert parse(rows.rows[TOKEN]).shredded is None


class TwoRows:
    """The rows of two iterations of one coordinate, one of them twice: `secure_xcom.claims.shred.Rows`."""

    def __init__(self, *values: dict[str, Any]) -> None:
        self.values = list(values)

    def read(self, at: Coordinate) -> list[Any]:
        return list(self.values)

    def replace(self, at: Coordinate, old: object, new: object) -> bool:
        found = old in self.values
        self.values = [new if value == old else value for value in self.values]  # type: ignore[misc]
        return found


def test_only_the_rows_that_name_the_payload_are_shredded() -> None:
    """Of the rows of one coordinate, each copy of the claimed one loses its keys, and no other."""
    there = world()
    first, second = there.push("first", TOKEN), there.push("second", TOKEN)
    rows = TwoRows(first, second, second)
    process = there.process()
    assert pull(process, second) == "second"
    [done] = process.shred(rows, claimant(FIRST))
    assert (done.keys, done.whole) == ("destroyed", True)
    assert [parse(value).shredded is None for value in rows.values] == [True, False, False]
    assert pull(there, rows.values[0]) == "first"


class MemoryRows:
    """Rows in a dict: `secure_xcom.claims.shred.Rows`."""

    def __init__(self, *references: dict[str, Any]) -> None:
        self.rows: dict[Coordinate, Any] = {parse(one).head.coordinate: one for one in references}
        self.between: Callable[[], None] | None = None

    def read(self, at: Coordinate) -> list[Any]:
        return [] if self.rows.get(at) is None else [self.rows[at]]

    def replace(self, at: Coordinate, old: object, new: object) -> bool:
        if self.between is not None:
            self.between()
        if self.rows.get(at) != old:
            return False
        self.rows[at] = new
        return True


def objects_of(there: World) -> list[str]:
    """The payloads in the store."""
    return [entry.path for entry in there.store.list() if "~claims" not in entry.path]


def test_after_success_nothing_is_left_to_be_opened() -> None:
    """At a task's end the wrapped keys and the payload are gone; who pulls then is told so, the claimant too."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    rows = MemoryRows(reference)
    process = there.process()
    assert pull(process, reference) == "opensesame"
    [done] = process.shred(rows, claimant(FIRST))
    assert (done.keys, done.left, done.whole) == ("destroyed", None, True)
    assert objects_of(there) == []
    assert process.claimed == {}
    event = there.sink.records[-1]
    assert (event["action"], event["outcome"], event["producer"]["key"]) == ("purge", "ok", TOKEN.key)
    left = rows.rows[TOKEN]
    assert left["keys"] == []
    assert "preview" not in left
    assert left["head"] == reference["head"]
    for task in (FIRST, OTHER):
        with pytest.raises(ReferenceShredded):
            pull(there, left, task)


def test_what_was_not_claimed_here_is_not_shredded() -> None:
    """A process shreds what it was given, and nothing when it was given nothing exclusive."""
    there = world()
    process = there.process()
    process.pull([row(there.push(1, coordinate()))], consumer=FIRST, claimant=claimant(FIRST))
    assert process.shred(MemoryRows(), claimant(FIRST)) == []


def test_only_the_claimant_that_succeeds_is_shredded_for() -> None:
    """In a process of several tasks the success of one destroys nothing that another one has claimed."""
    there = world()
    mine, others = there.push("one", TOKEN), there.push("two", replace(TOKEN, map_index=1))
    process = there.process()
    pull(process, mine)
    pull(process, others, OTHER)
    rows = MemoryRows(mine, others)
    assert [done.target.coordinate for done in process.shred(rows, claimant(FIRST))] == [TOKEN]
    assert pull(there, rows.rows[replace(TOKEN, map_index=1)], OTHER) == "two"


def test_what_is_held_is_not_purged() -> None:
    """Under a legal hold a row that Airflow deletes leaves its payload, and the access log says so."""
    there = world("legal_holds: [{name: case, dags: [orders]}]\n")
    there.pipeline.purge(row(there.push("it", TOKEN)), producer=own_task(TOKEN))
    assert len(list(there.store.list())) == 1
    assert (there.sink.records[-1]["action"], there.sink.records[-1]["outcome"]) == ("purge", "refused")


def test_what_is_held_is_not_shredded() -> None:
    """A legal hold keeps the keys and the payload of what was claimed, at the task's end and in maintenance."""
    there = world("legal_holds: [{name: case, dags: [orders]}]\n")
    reference = there.push("opensesame", TOKEN)
    process = there.process()
    pull(process, reference)
    assert process.shred(MemoryRows(reference), claimant(FIRST)) == []
    assert maintain(there, MemoryRows(reference)) == []
    assert len(objects_of(there)) == 1


def test_another_push_in_between_is_never_shredded() -> None:
    """Rows are replaced only if they are still those of the push that was claimed."""
    there = world()
    first, second = there.push("one", TOKEN), there.push("two", TOKEN)
    process = there.process()
    pull(process, first)
    rows = MemoryRows(second)
    assert process.shred(rows, claimant(FIRST))[0].keys == "gone"
    assert pull(there, rows.rows[TOKEN]) == "two"

    process = there.process()
    pull(process, second)
    third = there.push("three", TOKEN)
    rows.between = lambda: rows.rows.update({TOKEN: third})
    assert process.shred(rows, claimant(FIRST))[0].keys == "gone"
    assert pull(there, rows.rows[TOKEN]) == "three"


def maintain(
    there: World,
    rows: MemoryRows,
    *,
    done: bool = True,
    compartments: tuple[str, ...] = ("finance", "finance"),
    **options: Any,
) -> list[Any]:
    """The maintenance command's part."""
    assert there.policy is not None
    process = there.process()
    return list(
        shred_finished(
            ListedClaimObjects(process.store),
            [(there.store_uri, name) for name in compartments],
            succeeded=lambda who: done and who == claimant(FIRST),
            held=there.policy.held,
            rows=rows,
            stores=process.store,
            **options,
        )
    )


def test_maintenance_shreds_what_a_task_could_not() -> None:
    """XComs whose claimants succeeded are shredded and their claims go; others stay; again there is nothing."""
    there = world()
    mine, others = there.push("one", TOKEN), there.push("two", replace(TOKEN, map_index=1))
    pull(there, mine)
    pull(there, others, OTHER)
    rows = MemoryRows(mine, others)
    assert maintain(there, rows, done=False) == []
    assert [(claim.coordinate, done) for claim, done in maintain(there, rows, dry_run=True)] == [(TOKEN, None)]
    assert len(objects_of(there)) == 2
    [(_, done)] = maintain(there, rows)
    assert done.whole
    assert (len(objects_of(there)), len(claims_of(there))) == (1, 2)
    assert maintain(there, rows) == []
    with a_day_later():
        assert maintain(there, rows) == []
    assert len(claims_of(there)) == 1
    assert pull(there, rows.rows[replace(TOKEN, map_index=1)], OTHER) == "two"


def forge(there: World, genuine: Any, folder: str, **changes: str) -> None:
    """Put a claim, as who may make claims in a folder and has no key can: by a task that has succeeded."""
    head = genuine["head"]
    fields = {
        name: head[name] for name in ("dag_id", "run_id", "task_id", "map_index", "key", "compartment", "object")
    }
    by = {"by_dag_id": FIRST.dag_id, "by_run_id": FIRST.run_id, "by_task_id": FIRST.task_id, "by_map_index": "-1"}
    fields |= {**by, "by_clearing": "", "claimed": "2026-01-01T00:00:00Z", **changes}
    record = {"secure_xcom_claim": 1, "claim": fields, "proof": "A" * 96}
    path = f"~claims/{folder}/{fields['object'].partition('/finance/')[2]}"
    there.store.put(path, (json.dumps(record).encode(),))


@pytest.mark.parametrize(
    ("key", "folder", "changes", "told"),
    [
        ("plain", "finance", {}, 1),
        ("plain", "finance", {"key": "other"}, 0),
        ("plain", "sandbox", {}, 1),
        ("api_token", "sandbox", {}, 1),
        ("api_token", "finance", {"key": "other"}, 0),
        ("api_token", "finance", {"task_id": "elsewhere"}, 1),
    ],
)
def test_a_forged_claim_makes_maintenance_destroy_nothing_else(
    key: str, folder: str, changes: dict[str, str], told: int
) -> None:
    """A claim in a place that is not its own, or on what is not exclusive, costs nobody a key or a payload."""
    there = world(SANDBOX)
    at = replace(TOKEN, key=key)
    reference = there.push("opensesame", at)
    forge(there, reference, folder, **changes)
    rows, found = MemoryRows(reference), list[ClaimTampered]()
    assert maintain(there, rows, compartments=("finance", "sandbox"), tampered=found.append) == []
    assert (len(found), len(objects_of(there)), rows.rows[at]) == (told, 1, reference)


def test_a_row_that_cannot_be_read_keeps_its_payload() -> None:
    """Beside a reference of a version to come nothing is shredded, whoever claims to have read it."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    pull(there, reference)
    rows = MemoryRows(reference)
    rows.rows[TOKEN] = {**reference, "secure_xcom": 99}
    [(_, done)] = maintain(there, rows)
    assert (done.keys, done.whole) == ("kept", False)
    assert (len(objects_of(there)), len(claims_of(there))) == (1, 1)


def test_a_claim_ends_with_what_it_is_on() -> None:
    """Where neither row nor payload is left the claim goes, whatever became of its claimant; not before."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    pull(there, reference)
    outlived: list[Any] = []

    def run(rows: MemoryRows, **options: Any) -> int:
        with a_day_later():
            assert maintain(there, rows, done=False, outlived=outlived.append, **options) == []
        return len(claims_of(there))

    assert run(MemoryRows(reference)) == 1
    assert run(MemoryRows()) == 1
    [payload] = objects_of(there)
    there.store.delete_many([payload])
    assert run(MemoryRows(reference)) == 1
    assert maintain(there, MemoryRows(), done=False) == []
    assert (len(claims_of(there)), outlived) == (1, [])
    assert run(MemoryRows(), dry_run=True) == 1
    assert run(MemoryRows()) == 0
    assert [claim.coordinate for claim in outlived] == [TOKEN, TOKEN]


def test_what_is_no_claim_keeps_no_xcom_from_being_shredded() -> None:
    """Whoever may claim can put anything among the claims: it is told, and the others are shredded."""
    there = world()
    reference = there.push("one", TOKEN)
    pull(there, reference)
    [path] = claims_of(there)
    folder, _, unique = path.rpartition("/")
    claim = json.loads(b"".join(there.store.get(path)))
    claim["claim"]["by_dag_id"] = "a\0b"
    for first, body in (("0", b"nothing"), ("1", json.dumps(claim).encode()), ("2", bytes(1 << 20))):
        there.store.put(f"{folder}/{first * 8}{unique[8:]}", [body])
    told: list[ClaimTampered] = []
    [(_, done)] = maintain(there, MemoryRows(reference), tampered=told.append)
    assert done.whole
    assert (len(told), len(claims_of(there))) == (3, 4)


def test_a_claim_stays_while_anything_can_be_opened() -> None:
    """Where the payload cannot be deleted its claim is kept, and the next run of maintenance does the rest."""
    there = world()
    reference = there.push("opensesame", TOKEN)
    pull(there, reference)
    rows = MemoryRows(reference)
    store = MemoryStore(there.store_uri)
    store.objects = {entry.path: b"".join(there.store.get(entry.path)) for entry in there.store.list()}
    [payload] = objects_of(there)
    store.failures[payload] = StoreDenied("no delete here", where=store.uri)
    process = there.process(stores=lambda _: store)
    assert there.policy is not None

    held = there.policy.held

    def run() -> list[Any]:
        return list(
            shred_finished(
                ListedClaimObjects(process.store),
                [(there.store_uri, "finance")],
                succeeded=lambda _: True,
                held=held,
                rows=rows,
                stores=process.store,
            )
        )  # fmt: skip

    [(_, done)] = run()
    assert done.keys == "destroyed"
    assert isinstance(done.left, StoreError)
    assert not done.whole
    assert [path for path in store.objects if "~claims" in path]
    store.failures.clear()
    [(_, done)] = run()
    assert done.keys == "gone"
    assert done.whole
    with a_day_later():
        assert run() == []
    assert store.objects == {}


class SuspendedStore(MemoryStore):
    """A store in which a pull is suspended right before its claim is created."""

    before_claim: Callable[[], object] = staticmethod(lambda: None)

    def put(self, path: str, chunks: Iterable[bytes]) -> None:
        """See `MemoryStore.put`."""
        if path.startswith("~claims/"):
            resume, self.before_claim = self.before_claim, staticmethod(lambda: None)
            resume()
        super().put(path, chunks)


def test_a_pull_that_was_suspended_finds_the_claim_of_what_was_shredded() -> None:
    """Another task claims, reads, succeeds and is shredded while a pull is between its look and its own claim."""
    there = world()
    store = SuspendedStore(there.store_uri)
    producer = there.process(stores=lambda _: store)
    [reference] = producer.push([Push(TOKEN, "opensesame")], producer=own_task(TOKEN))
    rows = MemoryRows(reference)

    def read_and_shred() -> None:
        reader = there.process(stores=lambda _: store)
        assert pull(reader, reference) == "opensesame"
        places = [(there.store_uri, "finance")]
        finished = shred_finished(
            ListedClaimObjects(reader.store),
            places,
            succeeded=lambda _: True,
            held=lambda dag, run: None,
            rows=rows,
            stores=lambda _: store,
        )
        assert [done is not None and done.whole for _, done in finished] == [True]

    store.before_claim = read_and_shred
    with pytest.raises(ClaimRefused, match="another task instance has claimed"):
        pull(there.process(stores=lambda _: store), reference, OTHER)


def test_only_an_exclusive_xcom_can_be_shredded() -> None:
    """A record without keys is read for what it is only where its head is exclusive and nothing else is in it."""
    there = world()
    shredded = parse(there.push("x", TOKEN)).without_keys("2026-01-01T00:00:00Z").dump()
    assert parse(shredded).shredded == "2026-01-01T00:00:00Z"
    for change in (
        {"shredded": "now"},
        {"keys": [{"uri": "a", "wrapped": "b"}]},
        {"payload": "AAAA"},
        {"shredded": 1},
    ):
        with pytest.raises(ReferenceMalformed):
            parse({**shredded, **change})
    plain = there.push("x", coordinate())
    with pytest.raises(ReferenceMalformed):
        parse({**plain, "keys": [], "shredded": "2026-01-01T00:00:00Z"})
