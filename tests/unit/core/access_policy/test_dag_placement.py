"""What a DAG's tasks may name, what they get without asking, and Airflow's defaults: each decision by itself."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from secure_xcom.core.access_policy.dag_origin import Origin
from secure_xcom.core.access_policy.dag_placement import Placement, placement
from secure_xcom.core.access_policy.executors import Executor, Executors
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.policy_errors import OriginRefused, PlacementRefused

LOCAL = "airflow.executors.local_executor.LocalExecutor"
POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["memory-key://finance"]
    store_uri: memory://finance
    tasks_run_on: {queue: finance, pool: pool, service_account: fin}
  - name: legal
    dags: ["legal_*"]
    key_uris: ["memory-key://legal"]
    store_uri: memory://legal
    tasks_run_on: {executor: LocalExecutor, refuse_elsewhere: false}
  - name: audit
    dags: ["audit_*"]
    bundles: [audit-dags]
    teams: [audit]
    key_uris: ["memory-key://audit"]
    store_uri: memory://audit
  - name: open
    dags: ["open_*"]
    key_uris: ["memory-key://open"]
    store_uri: memory://open
identities:
  - {name: workers, workers_of: [finance], runs_on: {run_as_user: fin, queue: fin2}}
  - name: caretaker
    runs_on: {queue: [care, night], executor: a.b.Care, dags: ["upkeep*", "audit_upkeep"], bundles: [upkeep-dags]}
open_places: {queue: [big, "default"], executor: [x.Other]}
"""
NO_PLACES = """\
version: 1
compartments:
  - {name: open, dags: ["*"], key_uris: ["memory-key://o"], store_uri: "memory://o", tasks_run_on: {pool: p}}
"""


def placed(dag_id: str, text: str = POLICY, **options: Any) -> Placement:
    """The placement of a DAG."""
    return placement(AccessPolicy.parse(text.encode(), where="policy.yaml"), dag_id, **options)


def refusal(dag_id: str, field: str, value: object, **options: Any) -> str:
    """What a task is told that asks for a place; empty where it may."""
    try:
        placed(dag_id, **options).check({field: value}, "task t")
    except PlacementRefused as error:
        return str(error)
    return ""


def test_places_of_a_compartment_and_their_rule() -> None:
    """Whether another place is refused is the compartment's choice; without a place nothing is."""
    one = placed("finance_x")
    assert one.places == {"queue": "finance", "pool": "pool", "service_account": "fin"}
    assert (one.refuse_elsewhere, one.rule) == (True, "tasks_run_on of compartment 'finance'")
    assert (one.compartment and one.compartment.name, one.team, one.closed) == ("finance", None, True)
    assert placed("legal_x").refuse_elsewhere is False
    bare = placed("open_x")
    assert (bare.places, bare.refuse_elsewhere) == ({}, False)
    nobody = placed("nobodys")
    assert (nobody.places, nobody.refuse_elsewhere, nobody.compartment) == ({}, False, None)
    assert nobody.rule == "tasks_run_on of compartment None"


def test_an_identitys_dag_gets_the_first_place_of_each_field() -> None:
    """And may name no other, though the identity owns it."""
    one = placed("upkeep_x", origin=Origin("upkeep-dags", "a team"))
    assert one.places == {"queue": "care", "executor": "a.b.Care"}
    assert (one.refuse_elsewhere, one.rule) == (True, "runs_on of identity 'caretaker'")
    assert one.team == "a team"
    with pytest.raises(PlacementRefused, match="sends it to queue 'care'"):
        one.check({"queue": "night"}, "task t")
    one.check({"queue": "care", "executor": "a.b.Care"}, "task t")


def test_origins_are_required_of_the_compartment_and_of_the_identity() -> None:
    """A DAG of both needs both, and what is not known passes where another component checks it."""
    right = Origin("audit-dags", "audit")
    assert placed("audit_x", origin=right).places == {}
    for wrong in (Origin("x", "audit"), Origin("audit-dags", "x"), Origin("audit-dags"), None):
        with pytest.raises(OriginRefused, match="compartment 'audit' takes the DAG 'audit_x'"):
            placed("audit_x", origin=wrong)
    assert placed("audit_x", unknown_passes=True).places == {}
    with pytest.raises(OriginRefused, match="runs_on of identity 'caretaker' takes the DAG 'audit_upkeep'"):
        placed("audit_upkeep", origin=right)
    with pytest.raises(OriginRefused, match="DAG upkeep_x"):
        placed("upkeep_x")
    assert placed("upkeep_x", unknown_passes=True).places["queue"] == "care"


@pytest.mark.parametrize(
    ("dag_id", "field", "value"),
    [
        ("finance_x", "queue", "finance"),
        ("finance_x", "pool", "pool"),
        ("finance_x", "run_as_user", "fin"),
        ("finance_x", "executor", "x.Other"),
        # It is sent to its own place whatever it asks for.
        ("legal_x", "executor", "never.heard.Of"),
        ("legal_x", "executor", 7),
        ("legal_x", "executor", LOCAL),
        ("open_x", "pool", "any pool"),
        ("open_x", "queue", "big"),
        ("nobodys", "queue", "big"),
    ],
)
def test_what_may_be_asked_for(dag_id: str, field: str, value: object) -> None:
    """Its own places, its workers' places, open places, and any pool."""
    assert refusal(dag_id, field, value) == ""


@pytest.mark.parametrize(
    ("dag_id", "field", "value", "said"),
    [
        (
            "finance_x",
            "queue",
            "big",
            "asks for queue 'big', and tasks_run_on of compartment 'finance' sends it to",
        ),
        ("finance_x", "queue", "fin2", "sends it to queue 'finance'"),
        ("finance_x", "pool", "other", "sends it to pool 'pool'"),
        ("finance_x", "service_account", "x", "asks for service account 'x', and"),
        ("finance_x", "queue", None, "asks for queue None, and"),
        (
            "open_x",
            "queue",
            "finance",
            "that of compartment 'finance': tasks of compartment 'open' do not run with",
        ),
        ("open_x", "queue", "fin2", "which is that of identity 'workers': tasks of compartment 'open'"),
        ("nobodys", "queue", "Finance", "that of compartment 'finance': tasks of a DAG without a compartment"),
        ("nobodys", "queue", "mine", "does not open to tasks of a DAG without a compartment"),
        ("open_x", "queue", "mine", "does not open to tasks of compartment 'open'"),
        ("open_x", "queue", "a b", "has other characters than letters, digits"),
        ("open_x", "queue", 7, "asks for queue 7, which has other characters"),
        ("open_x", "service_account", "a/b", "asks for service account 'a/b', which has other characters"),
        ("open_x", "executor", LOCAL, "is that of compartment 'legal'"),
    ],
)
def test_what_may_not_be_asked_for(dag_id: str, field: str, value: object, said: str) -> None:
    """With the owner, if it has one, and with what to do."""
    told = refusal(dag_id, field, value)
    assert said in told
    assert f"[DAG {dag_id}, task t]. What to do: remove" in told
    if "that of" in said:
        assert "or give its own compartment a tasks_run_on. See" in told
    assert ("can be added to the policy's open_places" in told) == ("does not open" in said)


def test_of_several_owners_the_first_is_named() -> None:
    """Compartments come before identities."""
    text = POLICY.replace("queue: fin2", "queue: FINANCE")
    for check in ("check", "check_defaults"):
        with pytest.raises(PlacementRefused, match="is that of compartment 'finance'"):
            getattr(placed("open_x", text), check)({"queue": "finance"}, "task t")


def test_a_long_value_is_cut() -> None:
    """Whatever a DAG's author writes, an error stays short."""
    assert len(refusal("open_x", "queue", "x" * 5000)) < 500
    assert len(refusal("finance_x", "queue", "x" * 5000)) < 500
    assert len(refusal("open_x", "queue", "x y" * 5000)) < 600


def test_nothing_is_closed_where_nobody_has_a_place() -> None:
    """A pool is sent, and everything else is as Airflow has it."""
    one = placed("any", NO_PLACES)
    assert not one.closed
    one.check({"queue": "a b", "executor": 7, "service_account": "x"}, "task t")
    one.check_defaults({"queue": "x"}, "task t")
    with pytest.raises(PlacementRefused, match="sends it to pool 'p'"):
        one.check({"pool": "q"}, "task t")


def test_each_place_that_is_asked_for_is_checked() -> None:
    """One that may be named does not excuse the next."""
    with pytest.raises(PlacementRefused, match="asks for queue 'mine'"):
        placed("open_x").check({"pool": "p", "queue": "mine"}, "task t")
    placed("open_x").check({}, "task t")


@pytest.mark.parametrize(
    ("dag_id", "defaults", "said"),
    [
        ("open_x", {"queue": "finance"}, "names no queue, and Airflow's default queue 'finance' is that of"),
        ("open_x", {"queue": "big", "service_account": "fin"}, "names no service account, and Airflow's default"),
        (
            "nobodys",
            {"executor": Executor(LOCAL, "here")},
            "default executor 'here' is that of compartment 'legal'",
        ),
        ("legal_x", {"queue": "finance"}, "is that of compartment 'finance'"),
        ("open_x", {"run_as_user": "fin"}, "is that of identity 'workers'"),
    ],
)
def test_a_default_of_somebody_else_is_refused(dag_id: str, defaults: dict[str, Any], said: str) -> None:
    """A task that asks for nothing would get another's identity."""
    with pytest.raises(PlacementRefused, match=said) as caught:
        placed(dag_id, executors=Executors((Executor(LOCAL, "here"),))).check_defaults(defaults, "task t")
    assert f"[DAG {dag_id}, task t]. What to do: give its compartment a tasks_run_on" in str(caught.value)


@pytest.mark.parametrize(
    ("dag_id", "defaults"),
    [
        # Its own, what the policy sends elsewhere, what is open, and what nobody owns.
        ("finance_x", {"run_as_user": "fin", "queue": "legal"}),
        ("finance_x", {"queue": "care"}),
        ("legal_x", {"executor": "LocalExecutor"}),
        ("open_x", {"queue": "default"}),
        ("open_x", {"queue": "celery", "executor": "CeleryExecutor"}),
    ],
)
def test_other_defaults_are_left_alone(dag_id: str, defaults: dict[str, Any]) -> None:
    """Airflow's own configuration, not a DAG's author, chose them."""
    placed(dag_id).check_defaults(defaults, "task t")


def test_what_a_dag_may_use_is_its_own_or_open() -> None:
    """A place of another field with the same name is not meant."""
    one = placed("finance_x")
    assert one.may_use("queue", "finance")
    assert one.may_use("queue", "fin2")
    assert one.may_use("queue", "big")
    assert not one.may_use("queue", "fin")
    assert not one.may_use("run_as_user", "finance")
    assert not one.may_use("queue", "care")
    assert placed("legal_x").may_use("executor", LOCAL)


def test_a_team_means_its_own_executor() -> None:
    """The same name is another executor for tasks of another team."""
    two = Executors((Executor(LOCAL, "run", "red"), Executor("a.b.Other", "run", "blue")))
    red = placed("legal_x", executors=two, origin=Origin(team="red"))
    blue = placed("legal_x", executors=two, origin=Origin(team="blue"))
    assert red.may_use("executor", "run")
    assert not blue.may_use("executor", "run")


def test_a_placement_cannot_be_changed() -> None:
    """It is made once for a DAG, and used for each of its tasks."""
    one = placed("open_x")
    with pytest.raises(FrozenInstanceError):
        one.refuse_elsewhere = True  # type: ignore[misc]
