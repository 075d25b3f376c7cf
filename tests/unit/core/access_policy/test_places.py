"""Who owns a place, whichever of its names or spellings is used, and which places are a DAG's own."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from secure_xcom.core.access_policy.executors import Executor, Executors
from secure_xcom.core.access_policy.places import Own, Places, every_place, places_of, spelled
from secure_xcom.core.access_policy.policy import AccessPolicy

CELERY = "airflow.providers.celery.executors.celery_executor.CeleryExecutor"
LOCAL = "airflow.executors.local_executor.LocalExecutor"
POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["memory-key://finance"]
    store_uri: memory://finance
    tasks_run_on: {queue: Fin.Daily_1, pool: pool, executor: CeleryExecutor, service_account: fin.worker}
  - name: legal
    dags: ["legal_*"]
    teams: [legal]
    key_uris: ["memory-key://legal"]
    store_uri: memory://legal
    tasks_run_on: {executor: LocalExecutor}
  - name: open
    dags: ["open_*"]
    key_uris: ["memory-key://open"]
    store_uri: memory://open
identities:
  - name: day
    workers_of: [finance]
    runs_on: {run_as_user: [fin, fin2], queue: fin-daily-1}
  - name: night
    workers_of: [finance, open]
  - name: caretaker
    runs_on: {queue: [caretaker], executor: [LocalExecutor], dags: ["upkeep*"]}
open_places: {queue: [big.q], executor: [x.y.Other], service_account: [nobody], run_as_user: [guest]}
"""
EXECUTORS = Executors((Executor(CELERY, "fast"), Executor(LOCAL, None, "legal"), Executor(LOCAL, "here")))


def policy(text: str = POLICY) -> AccessPolicy:
    """The policy."""
    return AccessPolicy.parse(text.encode(), where="policy.yaml")


@pytest.fixture
def places() -> Places:
    """Its places in a deployment of three executors."""
    return Places(policy(), EXECUTORS)


def owners(places: Places, field: str, value: str | Executor, team: str | None = None) -> list[str]:
    """The owners of a place, in words."""
    return [str(owner) for owner in places.owners(field, value, team)]


def test_each_place_is_told_with_its_owner_and_its_other_fields() -> None:
    """A pool carries no identity, so it is none."""
    told = [(str(owner), owner.index, sorted(owner.fields), field, value, teams)
            for owner, field, value, teams in every_place(policy())]  # fmt: skip
    finance, legal = "compartment 'finance'", "compartment 'legal'"
    fields = ["executor", "queue", "service_account"]
    assert told == [
        (finance, 0, fields, "queue", "Fin.Daily_1", None),
        (finance, 0, fields, "executor", "CeleryExecutor", None),
        (finance, 0, fields, "service_account", "fin.worker", None),
        (legal, 1, ["executor"], "executor", "LocalExecutor", ("legal",)),
        ("identity 'day'", 0, ["queue", "run_as_user"], "queue", "fin-daily-1", None),
        ("identity 'day'", 0, ["queue", "run_as_user"], "run_as_user", "fin", None),
        ("identity 'day'", 0, ["queue", "run_as_user"], "run_as_user", "fin2", None),
        ("identity 'caretaker'", 2, ["executor", "queue"], "queue", "caretaker", None),
        ("identity 'caretaker'", 2, ["executor", "queue"], "executor", "LocalExecutor", None),
    ]


@pytest.mark.parametrize("queue", ["Fin.Daily_1", "fin-daily-1", "FIN_DAILY.1", "fin.daily-1"])
def test_names_that_a_broker_merges_are_one_queue(places: Places, queue: str) -> None:
    """All who own any of its spellings own it."""
    assert owners(places, "queue", queue) == ["compartment 'finance'", "identity 'day'"]


def test_other_fields_have_one_spelling(places: Places) -> None:
    """Kubernetes and operating systems tell them apart."""
    assert owners(places, "service_account", "fin.worker") == ["compartment 'finance'"]
    assert owners(places, "service_account", "fin-worker") == []
    assert owners(places, "run_as_user", "FIN") == []
    assert owners(places, "run_as_user", "fin2") == ["identity 'day'"]
    assert [spelled(field, "A._") for field in ("queue", "executor", "run_as_user")] == ["a--", "A._", "A._"]


@pytest.mark.parametrize("name", [LOCAL, "LocalExecutor", "here"])
def test_an_executor_is_the_same_by_each_of_its_names(places: Places, name: str) -> None:
    """It belongs to whoever names it, a compartment with teams included, if it is of no team itself."""
    both = ["compartment 'legal'", "identity 'caretaker'"]
    assert owners(places, "executor", name) == both
    assert owners(places, "executor", Executor(LOCAL, "here")) == both


def test_an_executor_of_a_team_belongs_to_the_compartments_of_the_team(places: Places) -> None:
    """A task of the team means its executor, and the compartment's teams leave out those of others."""
    both = ["compartment 'legal'", "identity 'caretaker'"]
    assert owners(places, "executor", "LocalExecutor", "legal") == both
    of_others = Places(policy(POLICY.replace("teams: [legal]", "teams: [tax]")), EXECUTORS)
    assert owners(of_others, "executor", "LocalExecutor", "legal") == ["identity 'caretaker'"]


def test_an_executor_that_a_queue_splits_has_no_owner_of_that_queue(places: Places) -> None:
    """The compartment names a queue beside it, so the queue's workers are the identity, and not the executor."""
    assert owners(places, "executor", "CeleryExecutor") == []
    assert owners(places, "executor", "fast") == []
    alone = Places(policy(POLICY.replace("queue: Fin.Daily_1, pool: pool, ", "")), EXECUTORS)
    assert owners(alone, "executor", "fast") == ["compartment 'finance'"]


def test_an_executor_that_is_not_configured_keeps_its_name(places: Places) -> None:
    """A worker may have another configuration, and known classes have one name everywhere."""
    nowhere = Places(policy(), Executors())
    assert owners(nowhere, "executor", LOCAL) == ["compartment 'legal'", "identity 'caretaker'"]
    assert owners(nowhere, "executor", "here") == []
    assert owners(places, "executor", "never.heard.Of") == []


def test_open_places_are_open_as_they_are_written(places: Places) -> None:
    """In another spelling a queue may be somebody's, and another field's value is not meant."""
    assert places.is_open("queue", "big.q", None)
    assert not places.is_open("queue", "big-q", None)
    assert places.is_open("service_account", "nobody", None)
    assert not places.is_open("run_as_user", "nobody", None)
    assert places.is_open("run_as_user", "guest", None)
    assert places.is_open("executor", "x.y.Other", None)
    assert not places.is_open("executor", "LocalExecutor", None)
    told = Places(policy(), Executors((Executor("x.y.Other", "other"),)))
    assert told.is_open("executor", "other", None)
    assert told.is_open("executor", Executor("x.y.Other", "other"), None)


def test_a_place_is_the_same_by_each_name_of_an_executor_alone(places: Places) -> None:
    """Every other field is compared as it is written."""
    assert places.same("executor", "here", "LocalExecutor", None)
    assert places.same("executor", "LocalExecutor", LOCAL, "legal")
    assert places.same("executor", "never.heard.Of", "never.heard.Of", None)
    assert not places.same("executor", "fast", "LocalExecutor", None)
    assert places.same("queue", "a", "a", None)
    assert not places.same("queue", "a.b", "a-b", None)


def test_places_are_closed_once_anybody_has_one() -> None:
    """A pool alone closes nothing, and an identity's place does."""
    assert Places(policy(), EXECUTORS).closed
    head, _, _ = POLICY.partition("    tasks_run_on")
    assert not Places(policy(head), EXECUTORS).closed
    assert not Places(policy(head + "    tasks_run_on: {pool: p}\n"), EXECUTORS).closed
    of_identity = head + "identities: [{name: day, runs_on: {queue: q}}]\n"
    assert Places(policy(of_identity), EXECUTORS).closed


def test_a_dag_has_the_places_of_its_compartment_and_of_its_workers(places: Places) -> None:
    """Or those of the identity that runs it, and nothing else."""
    made = policy()
    finance, legal, opened = made.compartments
    day, _, caretaker = made.identities
    of_day = {("queue", "fin-daily-1"), ("run_as_user", "fin"), ("run_as_user", "fin2")}
    names = {("compartment", "finance"), ("identity", "day"), ("identity", "night")}
    assert places.own(finance, None) == Own(frozenset(names), frozenset(of_day))
    assert places.own(legal, None) == Own(frozenset({("compartment", "legal")}))
    assert places.own(opened, None) == Own(frozenset({("compartment", "open"), ("identity", "night")}))
    assert places.own(None, None) == Own()
    kept = frozenset({("queue", "caretaker"), ("executor", "LocalExecutor")})
    for compartment in (finance, None):
        assert places.own(compartment, caretaker) == Own(frozenset({("identity", "caretaker")}), kept)
    assert places.own(None, day).places == of_day


def test_the_places_of_a_policy_are_kept_for_its_executors() -> None:
    """Other executors, or another policy, have places of their own."""
    made = policy()
    assert places_of(made, EXECUTORS) is places_of(made, Executors(EXECUTORS._configured))
    assert places_of(made, EXECUTORS) is not places_of(made, Executors())
    assert places_of(made, EXECUTORS) is not places_of(policy(), EXECUTORS)


def test_an_owner_cannot_be_changed(places: Places) -> None:
    """What was worked out once is used for every task."""
    [owner] = places.owners("run_as_user", "fin", None)
    with pytest.raises(FrozenInstanceError):
        owner.name = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Own().places = frozenset()  # type: ignore[misc]
    assert len({owner, owner}) == 1
