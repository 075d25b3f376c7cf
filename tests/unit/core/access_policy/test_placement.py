"""Where the access policy sends tasks, what a task may not ask for, and the file in a process that lives on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import models

from secure_xcom.airflow.plugin import service_accounts
from secure_xcom.core.access_policy.dag_origin import Origin, check_told
from secure_xcom.core.access_policy.dag_placement import placement
from secure_xcom.core.access_policy.executors import Executors
from secure_xcom.core.access_policy.places import places_of
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.watched_policy import WatchedPolicy
from secure_xcom.core.policy_errors import OriginRefused, PlacementRefused, PolicyInvalid

POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["memory-key://finance"]
    store_uri: memory://finance
    tasks_run_on: {queue: finance, pool: finance_pool, service_account: finance-worker}
  - name: legal
    dags: ["legal_*"]
    key_uris: ["memory-key://legal"]
    store_uri: memory://legal
    tasks_run_on: {executor: LegalExecutor, refuse_elsewhere: false}
  - name: audit
    dags: ["audit_*"]
    bundles: [audit-dags]
    key_uris: ["memory-key://audit"]
    store_uri: memory://audit
    tasks_run_on: {queue: audit, refuse_elsewhere: false}
  - name: open
    dags: ["open_*"]
    key_uris: ["memory-key://open"]
    store_uri: memory://open
identities:
  - name: finance-workers
    workers_of: [finance]
    runs_on: {run_as_user: fin}
  - name: caretaker
    runs_on: {queue: [caretaker, night], executor: "a.b.Caretaker", dags: ["upkeep*"], bundles: [upkeep-dags]}
open_places: {queue: [big], executor: [CeleryExecutor], service_account: [nobody], run_as_user: [guest]}
"""


@pytest.fixture
def policy() -> AccessPolicy:
    """Compartments with places of their own, one that sends without refusing, and one without a place."""
    return AccessPolicy.parse(POLICY.encode(), where="policy.yaml")


@pytest.mark.parametrize(
    ("dag_id", "places"),
    [
        ("finance_x", {"queue": "finance", "pool": "finance_pool", "service_account": "finance-worker"}),
        ("legal_x", {"executor": "LegalExecutor"}),
        ("open_x", {}),
        ("nobodys", {}),
    ],
)
def test_where_a_dags_tasks_run(policy: AccessPolicy, dag_id: str, places: dict[str, str]) -> None:
    """A DAG's tasks run where its compartment says; without a place, or without a compartment, where they are."""
    assert dict(placement(policy, dag_id).places) == places


@pytest.mark.parametrize(
    ("dag_id", "asked", "said"),
    [
        (
            "finance_x",
            {"queue": "big"},
            "asks for queue 'big', and tasks_run_on of compartment 'finance' sends it",
        ),
        ("finance_x", {"pool": "big"}, "asks for pool 'big'"),
        ("finance_x", {"service_account": "default"}, "asks for service account 'default'"),
        (
            "finance_x",
            {"executor": "LegalExecutor"},
            "executor 'LegalExecutor', which is that of compartment 'legal'",
        ),
        ("legal_x", {"queue": "finance"}, "queue 'finance', which is that of compartment 'finance'"),
        ("open_x", {"queue": "finance"}, "tasks of compartment 'open' do not run with its identity"),
        ("open_x", {"service_account": "finance-worker"}, "service account 'finance-worker', which is that of"),
        (
            "nobodys",
            {"executor": "LegalExecutor"},
            "tasks of a DAG without a compartment do not run with its identity",
        ),
        ("finance_x", {"executor": "OtherExecutor"}, "does not open to tasks of compartment 'finance'"),
        ("open_x", {"queue": "mine"}, "does not open to tasks of compartment 'open'"),
        ("open_x", {"service_account": "default"}, "does not open to tasks of compartment 'open'"),
        ("open_x", {"queue": "caretaker"}, "which is that of identity 'caretaker'"),
        ("nobodys", {"queue": "night"}, "which is that of identity 'caretaker'"),
        ("nobodys", {"executor": "a.b.Caretaker"}, "which is that of identity 'caretaker'"),
        ("open_x", {"run_as_user": "root"}, "asks for run_as_user 'root', which the access policy does not open"),
        ("open_x", {"run_as_user": "fin"}, "which is that of identity 'finance-workers'"),
    ],
)
def test_what_a_task_may_not_ask_for(policy: AccessPolicy, dag_id: str, asked: dict[str, str], said: str) -> None:
    """Another place than the compartment's, or one that carries another's identity, is refused by name."""
    with pytest.raises(PlacementRefused, match=said) as caught:
        placement(policy, dag_id).check(asked, "task t")
    assert f"[DAG {dag_id}, task t]. What to do: remove" in str(caught.value)


@pytest.mark.parametrize(
    ("dag_id", "asked"),
    [
        ("finance_x", {"queue": "finance", "pool": "finance_pool", "service_account": "finance-worker"}),
        ("finance_x", {"executor": "CeleryExecutor"}),
        ("legal_x", {"executor": "OtherExecutor", "queue": "big"}),
        ("open_x", {"pool": "finance_pool", "queue": "big", "run_as_user": "guest"}),
    ],
)
def test_what_a_task_may_ask_for(policy: AccessPolicy, dag_id: str, asked: dict[str, str]) -> None:
    """The very place, what nobody's policy names, any pool, and anything that is overwritten anyway may stand."""
    placement(policy, dag_id).check(asked, "task t")


def test_a_dag_of_another_bundle_is_not_placed(policy: AccessPolicy) -> None:
    """A DAG that bears the name of a compartment's gets no place there from elsewhere, or from nowhere known."""
    assert placement(policy, "audit_x", Origin(bundle="audit-dags")).places == {"queue": "audit"}
    assert placement(policy, "audit_x", Origin(), unknown_passes=True).places == {"queue": "audit"}
    for origin in (Origin(bundle="marketing"), Origin(), None):
        with pytest.raises(OriginRefused, match="compartment 'audit' takes the DAG 'audit_x' from bundle"):
            placement(policy, "audit_x", origin)
    with pytest.raises(OriginRefused):
        placement(policy, "audit_x", Origin(bundle="marketing"), unknown_passes=True)


def test_an_identitys_dag_of_another_bundle_is_not_placed(policy: AccessPolicy) -> None:
    """A DAG that bears the name of the maintenance DAG gets its place from the right bundle alone."""
    found = placement(policy, "upkeep_nightly", Origin(bundle="upkeep-dags"))
    assert found.places == {"queue": "caretaker", "executor": "a.b.Caretaker"}
    with pytest.raises(PlacementRefused, match="runs_on of identity 'caretaker' sends it to queue 'caretaker'"):
        found.check({"queue": "night"}, "task t")
    for origin in (Origin(bundle="marketing"), None):
        with pytest.raises(OriginRefused, match="runs_on of identity 'caretaker' takes the DAG 'upkeep_nightly'"):
            placement(policy, "upkeep_nightly", origin)


def test_bundles_of_an_identity_must_be_told(policy: AccessPolicy) -> None:
    """Where this Airflow does not tell a scheduler the bundle, such a policy is refused."""
    check_told((), {"bundles", "placed bundles"}, where="p", identities=policy.identities)
    with pytest.raises(PolicyInvalid, match="identity 'caretaker' has bundles beside runs_on"):
        check_told((), {"bundles"}, where="p", identities=policy.identities)


# --- service accounts ---------------------------------------------------------------------------------------


def _pod(**spec: Any) -> models.V1Pod:
    return models.V1Pod(spec=models.V1PodSpec(containers=[models.V1Container(name="base")], **spec))


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({}, []),
        ({"pod_override": models.V1Pod()}, []),
        ({"pod_override": _pod()}, []),
        ({"pod_override": _pod(service_account_name="a")}, ["a"]),
        ({"pod_override": _pod(service_account="b")}, ["b"]),
        ({"pod_override": {"spec": {"serviceAccountName": "c"}}}, ["c"]),
        ({"pod_override": {"spec": {"service_account_name": "c", "serviceAccount": "d"}}}, ["c", "d"]),
        ({"pod_override": {"spec": None}}, []),
        ({"KubernetesExecutor": {"image": "x"}}, []),
    ],
    ids=str,
)
def test_service_accounts_that_a_task_asks_for(config: dict[str, Any], found: list[str]) -> None:
    """Each way of naming a service account in an executor_config is seen."""
    assert list(service_accounts.service_accounts(config)) == found


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"pod_override": models.V1Pod()},
        {"pod_override": _pod(service_account_name="hostile", node_selector={"disk": "ssd"})},
        {"pod_override": _pod(service_account="hostile")},
        {"pod_override": models.V1Pod(metadata=models.V1ObjectMeta(labels={"secure-xcom": "no"}))},
    ],
    ids=["nothing", "an empty pod", "another name", "the old field", "another label"],
)
def test_the_executors_own_pod_has_the_service_account(config: dict[str, Any]) -> None:
    """What the KubernetesExecutor builds from the config has our service account, whatever stood there before."""
    import dill
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
    from airflow.utils.sqlalchemy import ExecutorConfigType
    from sqlalchemy.dialects import sqlite

    before = str(config)
    placed = service_accounts.placed(config, "finance-worker")
    assert str(config) == before
    # By way of the database, where Airflow keeps it in a form of its own.
    column: Any = ExecutorConfigType(pickler=dill)
    stored = column.bind_processor(sqlite.dialect())(placed)
    placed = column.result_processor(sqlite.dialect(), None)(stored)
    pod = PodGenerator.construct_pod(
        dag_id="finance_x",
        task_id="t",
        pod_id="p",
        try_number=1,
        kube_image="image",
        date=None,
        args=["airflow"],
        pod_override_object=PodGenerator.from_obj(placed),
        base_worker_pod=_pod(service_account_name="airflow-worker"),
        namespace="airflow",
        scheduler_job_id="1",
    )
    assert pod.spec.service_account_name == "finance-worker"
    assert pod.spec.service_account is None
    assert pod.metadata.labels["secure-xcom"] == "task"
    kept = getattr(config.get("pod_override"), "spec", None)
    assert pod.spec.node_selector == (kept.node_selector if kept else None)


def test_a_dictionary_keeps_its_form() -> None:
    """An override that is written as a dictionary gets the service account and keeps the rest."""
    config = {"pod_override": {"spec": {"service_account_name": "x", "nodeName": "n"}, "kind": "Pod"}, "other": 1}
    spec = {"nodeName": "n", "serviceAccountName": "finance-worker"}
    metadata = {"labels": {"secure-xcom": "task"}}
    assert service_accounts.placed(config, "finance-worker") == {
        "pod_override": {"spec": spec, "kind": "Pod", "metadata": metadata},
        "other": 1,
    }
    assert config["pod_override"]["spec"]["service_account_name"] == "x"  # type: ignore[index]


def test_the_pod_of_a_task_that_asks_for_nothing_is_made_once() -> None:
    """Kubernetes' models take a millisecond to make, and a scheduler asks for each of thousands of instances."""
    assert service_accounts.of_the_policy("finance-worker") is service_accounts.of_the_policy("finance-worker")
    assert service_accounts.of_the_policy("finance-worker") == service_accounts.placed({}, "finance-worker")
    # What is written for a task that asks for something is a copy of its own.
    asked = service_accounts.of_the_policy("finance-worker")
    other = service_accounts.placed(asked, "audit-worker")
    assert other["pod_override"].spec.service_account_name == "audit-worker"
    assert asked["pod_override"].spec.service_account_name == "finance-worker"


def test_a_policys_places_are_worked_out_once() -> None:
    """Not for each task of a DAG file: of a thousand compartments they take some milliseconds."""
    policy = AccessPolicy.parse(POLICY.encode(), where="policy.yaml")
    assert places_of(policy, Executors()) is places_of(policy, Executors())


# --- the file in a process that lives on --------------------------------------------------------------------


def test_a_file_is_read_once_and_again_when_it_changes(tmp_path: Path) -> None:
    """The same policy is given until the file's content changes; touching it changes nothing."""
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    watched = WatchedPolicy(str(file))
    first = watched.current()
    assert watched.current() is first
    os.utime(file, (1, 1))
    assert watched.current() is first
    file.write_text(POLICY.replace("finance_pool", "finance_slots"))
    second = watched.current()
    assert second.digest != first.digest
    assert second.compartments[0].tasks_run_on is not None
    assert second.compartments[0].tasks_run_on.pool == "finance_slots"
    replaced = tmp_path / "new.yaml"
    replaced.write_text(POLICY)
    replaced.replace(file)
    assert watched.current().digest == first.digest


def test_a_broken_file_is_refused_until_it_is_mended(tmp_path: Path) -> None:
    """A file that cannot be used is refused each time, and the last good policy is still known."""
    file = tmp_path / "policy.yaml"
    watched = WatchedPolicy(str(file))
    for _ in range(2):
        with pytest.raises(PolicyInvalid, match="cannot be read"):
            watched.current()
    assert watched.last_good is None
    file.write_text(POLICY)
    good = watched.current()
    file.write_text(POLICY.replace("version: 1", "version: 9"))
    for _ in range(2):
        with pytest.raises(PolicyInvalid, match="version"):
            watched.current()
    file.unlink()
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        watched.current()
    assert watched.last_good is good
    file.write_text(POLICY)
    assert watched.current() is good
