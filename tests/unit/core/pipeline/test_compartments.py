"""What an access policy decides about pushes and pulls, through the whole pipeline in memory."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from secure_xcom.core.access_policy.dag_origin import check_told
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.errors import (
    AuditError,
    CompartmentUnknown,
    ContextRefused,
    ReferenceExpired,
    SecureXComError,
    ValueTooLarge,
)
from secure_xcom.core.pipeline.push_and_pull import Push, Row
from secure_xcom.core.policy_errors import AccessRefused, OriginRefused, PolicyInvalid, WriteRefused
from secure_xcom.core.service_errors import KeyServiceDenied
from secure_xcom.stores import store
from tests.support.world import World, coordinate, own_task

POLICY = """\
version: 1
defaults:
  compartment: shared
  retention: 30d
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["memory-key://finance"]
    store_uri: memory://{id}-finance
    former_store_uris: ["memory://{id}-former"]
    max_bytes: 1000
    mask_values: all
    readers:
      - dags: [report]
        tasks: [load]
        of_dags: [finance_daily]
        of_tasks: [extract]
      - compartment: audit
    routes:
      - keys: ["*_token"]
        store_uri: memory://{id}-tokens
        key_uris: ["memory-key://tokens"]
      - sensitive: true
        store_uri: memory://{id}-secrets
  - name: audit
    dags: ["audit_*"]
    key_uris: ["memory-key://audit"]
    store_uri: memory://{id}-audit
    retention: 1h
  - name: shared
    key_uris: ["memory-key://shared"]
    store_uri: memory://{id}-shared
"""


@pytest.fixture
def world() -> World:
    """A deployment of three compartments, in memory."""
    return _world()


def _world(**settings: Any) -> World:
    name = uuid.uuid4().hex
    policy = AccessPolicy.parse(POLICY.replace("{id}", name).encode(), where="policy.yaml")
    return World(Settings(**settings), policy=policy, store_uri=f"memory://{name}")


def consumer(dag_id: str, task_id: str = "load") -> TaskTry:
    """A task that pulls."""
    return TaskTry(dag_id, "manual__1", task_id, -1, 1)


FINANCE = coordinate(dag_id="finance_daily")


@pytest.mark.parametrize(
    ("dag_id", "task_id", "rule"),
    [
        ("finance_other", "anything", "own"),
        ("report", "load", "readers[0]"),
        ("audit_yearly", "anything", "readers[1]"),
    ],
)
def test_who_may_pull(world: World, dag_id: str, task_id: str, rule: str) -> None:
    """The compartment's own tasks and its readers' pull, and the access log says by which rule."""
    assert world.pull(world.push(1, FINANCE), consumer=consumer(dag_id, task_id)) == 1
    assert world.sink.records[-1]["rule"] == rule


@pytest.mark.parametrize(
    ("of_dag", "of_task", "dag_id", "task_id", "rule"),
    [
        ("finance_daily", "extract", "report", "save", "readers[0].tasks"),
        ("finance_yearly", "extract", "report", "load", "readers[0].of_dags"),
        ("finance_daily", "clean", "report", "load", "readers[0].of_tasks"),
        ("finance_daily", "extract", "other", "load", "readers"),
        ("finance_daily", "extract", "Report", "load", "readers"),
    ],
)
def test_who_may_not_pull(world: World, of_dag: str, of_task: str, dag_id: str, task_id: str, rule: str) -> None:
    """Who is no reader of this very XCom is refused before any key is asked, and recorded with the rule."""
    reference = world.push({"password": "hunter2-hunter2"}, coordinate(dag_id=of_dag, task_id=of_task))
    asked = world.service("memory-key://finance").requests["unwrap_many"]
    world.masked.clear()
    with pytest.raises(AccessRefused) as caught:
        world.pull(reference, consumer=consumer(dag_id, task_id))
    record = world.sink.records[-1]
    assert (record["outcome"], record["rule"], record["compartment"]) == ("refused", rule, "finance")
    assert record["policy"] == world.pipeline.policy.digest
    assert rule.partition(".")[0] in str(caught.value) or "not a reader" in str(caught.value)
    assert world.service("memory-key://finance").requests["unwrap_many"] == asked
    assert world.masked == []
    assert "hunter2" not in f"{caught.value!r}{caught.value}{world.sink.records}"


def test_an_unknown_consumer_may_not_pull(world: World) -> None:
    """With a policy file, a pull of which Airflow does not tell whose it is, is refused."""
    with pytest.raises(AccessRefused, match="not known"):
        world.pull(world.push(1, FINANCE))
    assert world.sink.records[-1]["rule"] == "consumer"


def test_the_default_compartment_takes_the_rest(world: World) -> None:
    """A DAG that no glob takes belongs to the default compartment, and to nothing where there is none."""
    reference = world.push(1, coordinate(dag_id="anything"))
    assert reference["head"]["compartment"] == "shared"
    assert world.pull(reference, consumer=consumer("whatever")) == 1
    assert world.policy is not None
    bare = AccessPolicy(world.policy.compartments, digest="d", consumers_known=True)
    with pytest.raises(CompartmentUnknown):
        World(policy=bare).push(1, coordinate(dag_id="anything"))


def test_a_moved_dag_is_refused(world: World) -> None:
    """A reference of another compartment than the one that its DAG belongs to is refused, and by name."""
    reference = world.push(1, FINANCE)
    reference["head"]["compartment"] = "audit"
    with pytest.raises(CompartmentUnknown):
        world.pull(reference, consumer=consumer("audit_yearly"))
    assert world.sink.records[-1]["rule"] == "compartment"


@pytest.mark.parametrize(
    ("key", "value", "place", "key_uri"),
    [
        ("return_value", {"user": "someone"}, "finance", "memory-key://finance"),
        ("api_token", "abcdefgh", "tokens", "memory-key://tokens"),
        ("return_value", {"rows": [{"password": "hunter2"}]}, "secrets", "memory-key://finance"),
        ("db_password", "hunter2", "secrets", "memory-key://finance"),
    ],
)
def test_routes(world: World, key: str, value: object, place: str, key_uri: str) -> None:
    """The first route that takes an XCom by its key or its sensitivity names its store and keys; it comes back."""
    at = coordinate(dag_id="finance_daily", key=key)
    reference = world.push(value, at)
    assert f"-{place}/finance/" in reference["head"]["object"]
    assert [entry["uri"] for entry in reference["keys"]] == [key_uri]
    assert world.pull(reference, consumer=consumer("finance_daily")) == value


def test_routes_have_data_keys_of_their_own(world: World) -> None:
    """One task's XComs that go to different keys share no data key: each opens with its own key alone."""
    producer = consumer("finance_daily", "extract")
    ways = [Push(FINANCE, 1), Push(coordinate(dag_id="finance_daily", key="api_token"), 2)]
    plain, token = world.pipeline.push(ways, producer=producer)
    reader = world.process()
    for opened, closed, value, denied in ((plain, token, 1, "tokens"), (token, plain, 2, "finance")):
        service = world.service(f"memory-key://{denied}")
        service.denied = True
        assert reader.pull([Row(opened)], consumer=producer) == [value]
        with pytest.raises(KeyServiceDenied):
            reader.pull([Row(closed)], consumer=producer)
        service.denied = False
        reader = world.process()


def test_a_routed_xcom_is_never_inline() -> None:
    """A route names the store, so what it takes does not stay in the database however small it is."""
    world = _world(inline_max_bytes=1000)
    assert "payload" in world.push({"user": "someone"}, FINANCE)
    assert "payload" not in world.push({"password": "hunter2"}, FINANCE)


def test_stores_that_a_reference_may_name(world: World) -> None:
    """A pull fetches from the compartment's stores, its routes' and its former ones, and from no other."""
    reference = world.push({"user": "someone"}, FINANCE)
    name, _, path = reference["head"]["object"].partition("-finance/")
    sealed = b"".join(store(f"{name}-finance").get(path))
    for place in ("former", "secrets", "shared", "audit", "elsewhere"):
        store(f"{name}-{place}").put(path, [sealed])
        reference["head"]["object"] = f"{name}-{place}/{path}"
        # The head names another store than it was sealed with, so nothing opens; what counts is who is asked.
        with pytest.raises(SecureXComError) as caught:
            world.pull(reference, consumer=consumer("finance_daily"))
        allowed = place in ("former", "secrets")
        assert (type(caught.value) is ContextRefused) is not allowed


def test_payloads_in_a_former_store_open(world: World) -> None:
    """After a move to another store, references that name the former one still open."""
    at = coordinate(dag_id="audit_x")
    reference = world.push(1, at)
    moved = POLICY.replace("{id}-audit", '{id}-new\n    former_store_uris: ["memory://{id}-audit"]')
    text = moved.replace("{id}", world.store_uri.removeprefix("memory://"))
    world.policy = AccessPolicy.parse(text.encode(), where="policy.yaml")
    assert world.pull(reference, consumer=consumer("audit_x")) == 1


def test_retention(world: World) -> None:
    """The head says when the compartment's retention, or else the file's, is over."""
    for dag_id, lasts in (("audit_x", timedelta(hours=1)), ("finance_x", timedelta(days=30))):
        head = world.push(1, coordinate(dag_id=dag_id))["head"]
        created, expires = (datetime.fromisoformat(head[name][:-1]) for name in ("created", "expires"))
        assert expires - created == lasts


def test_an_expired_xcom_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time an XCom is refused, and the time cannot be edited."""
    reference = world.push(1, FINANCE)
    reference["head"]["expires"] = "2020-01-01T00:00:00Z"
    with pytest.raises(ReferenceExpired):
        world.pull(reference, consumer=consumer("finance_daily"))


def test_a_compartment_has_its_own_limit(world: World) -> None:
    """The smaller of the two limits holds, and the error names it."""
    with pytest.raises(ValueTooLarge, match="compartment 'finance' is 1000"):
        world.push("x" * 1000, FINANCE)
    assert len(world.push("x" * 1000, coordinate(dag_id="audit_x"))["keys"]) == 1
    with pytest.raises(ValueTooLarge, match=r"\[secure_xcom\] max_bytes is 500"):
        _world(max_bytes=500).push("x" * 600, FINANCE)


def test_a_compartment_says_what_is_masked(world: World) -> None:
    """mask_values: all registers every string of the compartment, on both ways; others do as the settings say."""
    reference = world.push({"user": "someone-else"}, FINANCE)
    assert "someone-else" in world.masked
    world.masked.clear()
    other = world.push({"user": "someone-else"}, coordinate(dag_id="audit_x"))
    world.pull(other, consumer=consumer("audit_x"))
    assert world.masked == []
    world.pull(reference, consumer=consumer("audit_x"))
    assert "someone-else" in world.masked


def test_purge_finds_a_routed_payload(world: World) -> None:
    """A row's payload goes with the row from whichever store it lies in."""
    reference = world.push({"password": "hunter2"}, FINANCE)
    place = store(reference["head"]["object"].partition("/finance/")[0])
    assert len(list(place.list())) == 1
    world.pipeline.purge(Row(reference), producer=own_task(FINANCE))
    assert list(place.list()) == []


def test_a_failed_push_takes_a_routed_payload_back(world: World) -> None:
    """A push that gives no reference leaves nothing in a route's store."""
    world.sink.full = True
    with pytest.raises(AuditError):
        world.push({"password": "hunter2"}, FINANCE)
    assert list(store(f"{world.store_uri}-secrets").list()) == []


# --- who may push and purge ---------------------------------------------------------------------------------

SHARED = coordinate(dag_id="anything")


@pytest.mark.parametrize(
    ("at", "dag_id"),
    [(FINANCE, "finance_daily"), (FINANCE, "finance_other"), (SHARED, "anything"), (SHARED, "something_else")],
)
def test_a_task_writes_in_its_own_compartment(world: World, at: Coordinate, dag_id: str) -> None:
    """A task pushes and purges everywhere in its compartment, the default one too, and the log says so."""
    [reference] = world.pipeline.push([Push(at, 1)], producer=consumer(dag_id))
    assert world.pipeline.purge(Row(reference), producer=consumer(dag_id)) is None
    assert [(one["action"], one["outcome"], one["rule"]) for one in world.sink.records] == [
        ("push", "ok", "own"),
        ("purge", "ok", "own"),
    ]


@pytest.mark.parametrize(
    ("at", "producer", "rule"),
    [
        (FINANCE, consumer("audit_yearly"), "producer.compartment"),
        (FINANCE, consumer("report"), "producer.compartment"),
        (FINANCE, consumer("anything", "extract"), "producer.compartment"),
        (FINANCE, consumer("Finance_daily"), "producer.compartment"),
        (SHARED, consumer("finance_daily"), "producer.compartment"),
        (FINANCE, None, "producer"),
        (SHARED, None, "producer"),
    ],
)
def test_nobody_writes_in_another_compartment(
    world: World, at: Coordinate, producer: TaskTry | None, rule: str
) -> None:
    """Another compartment's task, a reader, one of the default and nobody push nothing and delete nothing."""
    reference = world.push({"password": "hunter2"}, at)
    with pytest.raises(WriteRefused):
        world.pipeline.push([Push(at, "forged")], producer=producer)
    wraps = world.service(f"memory-key://{reference['head']['compartment']}").requests["wrap"]
    assert isinstance(world.pipeline.purge(Row(reference), producer=producer), WriteRefused)
    for action, event in zip(("push", "purge"), world.sink.records[-2:], strict=True):
        assert (event["action"], event["outcome"], event["error"]) == (action, "refused", "WriteRefused")
        assert (event["rule"], event["compartment"]) == (rule, reference["head"]["compartment"])
        assert event.get("task", {}).get("dag_id") == (producer and producer.dag_id)
    assert world.service(f"memory-key://{reference['head']['compartment']}").requests["wrap"] == wraps
    assert world.pull(reference, consumer=consumer(at.dag_id)) == {"password": "hunter2"}


def test_a_list_with_one_foreign_coordinate_leaves_nothing(world: World) -> None:
    """One push of many is refused whole, and what was put for it is taken back."""
    pushes = [Push(FINANCE, "x" * 900), Push(coordinate(dag_id="audit_yearly"), 1)]
    with pytest.raises(WriteRefused):
        world.pipeline.push(pushes, producer=own_task(FINANCE))
    assert world.policy is not None
    assert list(store(world.policy.compartment("finance").store_uri).list()) == []


def test_a_task_of_no_compartment_writes_nowhere() -> None:
    """Without a default compartment, a DAG that none takes pushes neither at its own coordinate nor elsewhere."""
    text = POLICY.replace("  compartment: shared\n", "").replace(
        "  - name: shared\n", "  - name: shared\n    dags: [x]\n"
    )
    name = uuid.uuid4().hex
    there = World(policy=AccessPolicy.parse(text.replace("{id}", name).encode(), where="policy.yaml"))
    with pytest.raises(CompartmentUnknown):
        there.push(1, coordinate(dag_id="nowhere"))
    with pytest.raises(WriteRefused, match="'nowhere' belongs to no compartment"):
        there.pipeline.push([Push(FINANCE, 1)], producer=consumer("nowhere"))


def test_a_maintenance_job_seals_for_no_task(world: World) -> None:
    """What `migrate` pushes is for no task: the event names the operator and the rule."""
    [reference] = world.pipeline.push([Push(FINANCE, 1)], operator="ops@example.com")
    event = world.sink.records[-1]
    assert (event["outcome"], event["rule"], event["operator"]) == ("ok", "maintenance", "ops@example.com")
    assert world.pull(reference, consumer=consumer("finance_daily")) == 1


def test_without_a_policy_file_everybody_writes() -> None:
    """One compartment for all keeps nobody out."""
    there = World()
    [reference] = there.pipeline.push([Push(FINANCE, 1)])
    assert there.pipeline.purge(Row(reference)) is None
    assert [one["rule"] for one in there.sink.records] == ["single", "single"]


# --- bundles and teams --------------------------------------------------------------------------------------

ORIGINS = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    bundles: [finance-dags, finance-more]
    teams: [finance]
    key_uris: ["memory-key://finance"]
    store_uri: memory://{id}-finance
    readers: [{dags: ["report"]}]
  - name: reports
    dags: ["report"]
    bundles: [report-dags]
    key_uris: ["memory-key://reports"]
    store_uri: memory://{id}-reports
"""


@pytest.fixture
def house() -> World:
    """A deployment whose compartments take DAGs of some bundles and teams only."""
    name = uuid.uuid4().hex
    return World(policy=AccessPolicy.parse(ORIGINS.replace("{id}", name).encode(), where="policy.yaml"))


def of(dag_id: str, bundle: str | None, team: str | None = None) -> TaskTry:
    """A task of a DAG that Airflow got from somewhere."""
    return TaskTry(dag_id, "manual__1", "load", -1, 1, bundle=bundle, team=team)


def test_dags_of_the_right_bundle_push_and_pull(house: World) -> None:
    """Tasks from one of the compartment's bundles and its team push and pull; the log says their bundle."""
    reference = house.pipeline.push([Push(FINANCE, 1)], producer=of("finance_daily", "finance-more", "finance"))[0]
    assert house.sink.records[-1]["task"]["bundle"] == "finance-more"
    assert house.pull(reference, consumer=of("finance_other", "finance-dags", "finance")) == 1
    assert house.pull(reference, consumer=of("report", "report-dags")) == 1
    assert "team" not in house.sink.records[-1]["consumer"]


@pytest.mark.parametrize(
    ("producer", "said"),
    [
        (of("finance_daily", "marketing-dags", "finance"), "comes from 'marketing-dags'"),
        (of("finance_daily", "finance-dags", "marketing"), "comes from 'marketing'"),
        (of("finance_daily", "finance-dags"), "from team 'finance' only, and Airflow does not report"),
        (
            of("finance_daily", None, "finance"),
            "from bundle 'finance-dags' or 'finance-more' only, and Airflow does",
        ),
        (of("finance_other", "finance-dags", "finance"), "Airflow does not report"),
    ],
)
def test_dags_from_elsewhere_may_not_push(house: World, producer: TaskTry, said: str) -> None:
    """A task of another bundle or team, or of another DAG, pushes nothing."""
    with pytest.raises(OriginRefused, match=said):
        house.pipeline.push([Push(FINANCE, 1)], producer=producer)
    event = house.sink.records[-1]
    rule = "producer.team" if "team" in said or "from 'marketing'" in said else "producer.bundle"
    assert (event["error"], event["rule"]) == ("OriginRefused", rule)
    assert house.service("memory-key://finance").requests["wrap"] == 0


@pytest.mark.parametrize(
    ("consumer", "rule"),
    [
        (of("finance_daily", "marketing-dags", "finance"), "consumer.bundle"),
        (of("finance_daily", "finance-dags", "marketing"), "consumer.team"),
        (of("finance_daily", "finance-dags"), "consumer.team"),
        (of("report", "finance-dags", "finance"), "consumer.bundle"),
        (of("report", None), "consumer.bundle"),
    ],
)
def test_a_dag_that_only_bears_the_name_may_not_pull(house: World, consumer: TaskTry, rule: str) -> None:
    """A DAG with the id of an own one, or of a reader, from another bundle or team is refused by rule."""
    reference = house.pipeline.push([Push(FINANCE, 1)], producer=of("finance_daily", "finance-dags", "finance"))[0]
    with pytest.raises(OriginRefused):
        house.pull(reference, consumer=consumer)
    assert (house.sink.records[-1]["outcome"], house.sink.records[-1]["rule"]) == ("refused", rule)


def test_what_airflow_does_not_tell_is_refused_at_once() -> None:
    """A policy with teams, or with bundles beside tasks_run_on, is refused where Airflow does not tell them."""
    policy = AccessPolicy.parse(ORIGINS.replace("{id}", "x").encode(), where="policy.yaml")
    check_told(policy.compartments, {"bundles", "teams"}, where="policy.yaml")
    with pytest.raises(PolicyInvalid, match=r"'finance' has teams, .* multi_team"):
        check_told(policy.compartments, {"bundles", "placed bundles"}, where="policy.yaml")
    text = ORIGINS.replace("{id}", "x").replace("    teams: [finance]\n", "    tasks_run_on: {queue: q}\n")
    placed = AccessPolicy.parse(text.encode(), where="policy.yaml")
    check_told(placed.compartments, {"bundles", "placed bundles"}, where="policy.yaml")
    with pytest.raises(PolicyInvalid, match="'finance' has bundles beside tasks_run_on"):
        check_told(placed.compartments, {"bundles"}, where="policy.yaml")
