"""The cluster policy that places tasks, in a fresh Airflow: what its parse of DAG files makes of them."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from tests.unit.airflow.plugin.test_plugin import run

POLICY = """\
version: 1
defaults: {hide_return_values: true}
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["local:///k.json"]
    store_uri: file:///s
    hide_return_values: false
    tasks_run_on: {queue: finance, pool: finance_pool, executor: own, service_account: finance-worker}
  - name: legal
    dags: ["legal_*"]
    key_uris: ["local:///k.json"]
    store_uri: file:///s
    tasks_run_on: {queue: legal, refuse_elsewhere: false}
  - name: audit
    dags: ["audit_*"]
    bundles: [audit-dags]
    key_uris: ["local:///k.json"]
    store_uri: file:///s
  - name: open
    dags: ["open_*"]
    key_uris: ["local:///k.json"]
    store_uri: file:///s
identities:
  - name: caretaker
    runs_on: {queue: [caretaker, night], service_account: airflow-scheduler, dags: [upkeep]}
    vault: {auth: other}
open_places: {queue: [big], executor: [EdgeExecutor], service_account: [nobody], run_as_user: [guest]}
"""
# CeleryExecutor is the default and nobody's; LocalExecutor is finance's.
_EDGE = "airflow.providers.edge3.executors.EdgeExecutor"
_ECS = "airflow.providers.amazon.aws.executors.ecs.ecs_executor.AwsEcsExecutor"
EXECUTORS = f"CeleryExecutor,own:airflow.executors.local_executor.LocalExecutor,KubernetesExecutor,{_EDGE},{_ECS}"
HEAD = """
from datetime import datetime
from airflow.sdk import DAG, task, setup, teardown, TaskGroup
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.sensors.python import PythonSensor
def bash(name="t", **options): return BashOperator(task_id=name, bash_command="true", **options)
def give(*_): return 1
"""
# File name -> what stands in it below the head. Each name says which DAG id it has.
FILES = {
    "finance_kinds": """
with DAG("finance_kinds", schedule=None) as dag:
    bash("plain")
    bash("same", queue="finance", pool="finance_pool", executor="own")
    bash("class", executor="LocalExecutor")
    bash("path", executor="airflow.executors.local_executor.LocalExecutor")
    BashOperator.partial(task_id="mapped").expand(bash_command=["true", "false"])
    BashOperator.partial(task_id="mapped_same", queue="finance").expand(bash_command=["true"])
    PythonSensor(task_id="sensor", python_callable=give, mode="reschedule")
    @setup
    def make(): return 1
    @teardown
    def clean(): return 2
    @task
    def decorated(x): return x
    with TaskGroup("group"):
        decorated.expand(x=[1, 2])
    clean().as_teardown(setups=make())
""",
    "legal_moved": """
with DAG("legal_moved", schedule=None, default_args={"queue": "big"}):
    bash("sent")
    BashOperator.partial(task_id="mapped", queue="bigger", pool="p").expand(bash_command=["true"])
    PythonOperator(task_id="returns", python_callable=give)
""",
    "open_free": """
with DAG("open_free", schedule=None):
    bash("asked", queue="big", pool="finance_pool")
    bash("open", executor="airflow.providers.edge3.executors.EdgeExecutor", run_as_user="guest")
    bash("default", executor="CeleryExecutor", queue="default")
    PythonOperator(task_id="returns", python_callable=give)
""",
    "upkeep": 'with DAG("upkeep", schedule=None): bash(queue="caretaker")',
    "finance_queue": 'with DAG("finance_queue", schedule=None): bash(queue="big")',
    "finance_args": 'with DAG("finance_args", schedule=None, default_args={"queue": "big"}): bash()',
    "finance_partial": """
with DAG("finance_partial", schedule=None):
    BashOperator.partial(task_id="m", queue="big").expand(bash_command=["true"])
""",
    "finance_expanded": """
with DAG("finance_expanded", schedule=None):
    BashOperator.partial(task_id="m").expand(bash_command=["true"], queue=["big"])
""",
    "finance_executors": """
with DAG("finance_executors", schedule=None):
    BashOperator.partial(task_id="m").expand(bash_command=["true"], executor=["own"])
""",
    "finance_pool": 'with DAG("finance_pool", schedule=None): bash(pool="big")',
    "finance_late": 'with DAG("finance_late", schedule=None):\n    t = task(give)()\n    t.operator.queue = "big"',
    "finance_pod": """
from kubernetes.client import models
spec = models.V1PodSpec(containers=[models.V1Container(name="base")], service_account_name="admin")
with DAG("finance_pod", schedule=None):
    bash(executor_config={"pod_override": models.V1Pod(spec=spec)})
""",
    "finance_dictionary": """
with DAG("finance_dictionary", schedule=None):
    bash(executor_config={"pod_override": {"spec": {"serviceAccount": "admin"}}})
""",
    "open_other": 'with DAG("open_other", schedule=None): bash(queue="mine")',
    "open_list": 'with DAG("open_list", schedule=None): bash(queue="big,finance")',
    "open_priority": 'with DAG("open_priority", schedule=None): bash(queue="big\\x06\\x169")',
    "open_case": 'with DAG("open_case", schedule=None): bash(queue="Finance")',
    "open_args": 'with DAG("open_args", schedule=None, default_args={"queue": "finance"}): bash()',
    "open_group": """
with DAG("open_group", schedule=None):
    with TaskGroup("g", default_args={"run_as_user": "root"}): bash()
""",
    "open_alias": 'with DAG("open_alias", schedule=None): bash(executor="own")',
    "open_class": 'with DAG("open_class", schedule=None): bash(executor="LocalExecutor")',
    "open_path": """
with DAG("open_path", schedule=None): bash(executor="airflow.executors.local_executor.LocalExecutor")
""",
    "open_kubernetes": 'with DAG("open_kubernetes", schedule=None): bash(executor="KubernetesExecutor")',
    "open_caretaker": 'with DAG("open_caretaker", schedule=None): bash(queue="night")',
    "open_user": 'with DAG("open_user", schedule=None): bash(run_as_user="root")',
    "open_template": """
with DAG("open_template", schedule=None): bash(executor_config={"pod_template_file": "/tmp/pod.yaml"})
""",
    "open_legacy": """
with DAG("open_legacy", schedule=None): bash(executor_config={"KubernetesExecutor": {"image": "x"}})
""",
    "open_role": """
with DAG("open_role", schedule=None): bash(executor_config={"overrides": {"taskRoleArn": "arn:aws:iam::1:role/x"}})
""",
    "open_partial": """
with DAG("open_partial", schedule=None):
    BashOperator.partial(task_id="m", executor_config={"pod_template_file": "x"}).expand(bash_command=["true"])
""",
    "open_mapped": """
with DAG("open_mapped", schedule=None):
    BashOperator.partial(task_id="m").expand_kwargs([{"bash_command": "true", "queue": "finance"}])
""",
    "finance_template": """
with DAG("finance_template", schedule=None): bash(executor_config={"pod_template_file": "/tmp/pod.yaml"})
""",
    "finance_label": """
from kubernetes.client import models
pod = models.V1Pod(metadata=models.V1ObjectMeta(labels={"component": "api-server"}))
with DAG("finance_label", schedule=None): bash(executor_config={"pod_override": pod})
""",
    "open_takes": 'with DAG("open_takes", schedule=None): bash(queue="finance")',
    "nobodys": 'with DAG("nobodys", schedule=None): bash(queue="legal")',
    "audit_elsewhere": 'with DAG("audit_elsewhere", schedule=None): bash()',
}
PARSE = """
import json, os
from pathlib import Path
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
from airflow.serialization.serialized_objects import LazyDeserializedDAG
try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization
named = {"bundle_name": os.environ["BUNDLE"]} if "BUNDLE" in os.environ else {}
bag = DagBag(Path(os.environ["AIRFLOW_HOME"]) / "dags", **named)
def facts(dag):
    return {
        task.task_id: [task.queue, task.pool, task.executor]
        for task in dag.tasks
    }
def switch(task):
    mapped = getattr(task, "partial_kwargs", {})
    return getattr(task, "show_return_value_in_logs", mapped.get("show_return_value_in_logs"))
def read(dag): return DagSerialization.from_dict(DagSerialization.to_dict(dag))
print(json.dumps({
    "errors": {Path(name).stem: text for name, text in bag.import_errors.items()},
    # As the scheduler reads them.
    "read": {name: facts(read(dag)) for name, dag in bag.dags.items()},
    "callbacks": {
        name: [alert.callback.executor for alert in dag.deadline]
        for name, dag in bag.dags.items() if getattr(dag, "deadline", None)
    },
    "shown": {name: {task.task_id: switch(task) for task in dag.tasks} for name, dag in bag.dags.items()},
}))
"""


def parsed(
    home: Path, policy: str, files: dict[str, str], team: str | None = None, **settings: str
) -> dict[str, Any]:
    """What Airflow's own parse gives: import errors, and each task as the scheduler reads it."""
    dags = home / "dags"
    dags.mkdir()
    for name, text in files.items():
        (dags / f"{name}.py").write_text(HEAD + text)
    (home / "policy.yaml").write_text(policy)
    bundles = [
        {
            "name": "all-dags",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(dags)},
            **({"team_name": team} if team else {}),
        }
    ]
    settings.setdefault("AIRFLOW__SECURE_XCOM__ACCESS_POLICY", str(home / "policy.yaml"))
    settings["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(bundles)
    settings.setdefault("AIRFLOW__CORE__EXECUTOR", EXECUTORS)
    found: dict[str, Any] = json.loads(run(PARSE, home, **settings).stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One parse of every file."""
    return parsed(tmp_path_factory.mktemp("placing"), POLICY, FILES)


def test_every_kind_of_task_is_sent_to_its_place(bag: dict[str, Any]) -> None:
    """Classic, decorated, mapped, setup, teardown and sensor tasks have the place in what the scheduler reads."""
    read = bag["read"]["finance_kinds"]
    assert len(read) == 10
    assert set(map(tuple, read.values())) == {("finance", "finance_pool", "own")}


def test_a_dag_may_be_sent_instead_of_refused(bag: dict[str, Any]) -> None:
    """With refuse_elsewhere: false a DAG that names another queue is sent to its own and keeps its pool."""
    read = bag["read"]["legal_moved"]
    assert read["sent"] == ["legal", "default_pool", None]
    assert read["mapped"] == ["legal", "p", None]


def test_an_identitys_dag_runs_at_its_place(bag: dict[str, Any]) -> None:
    """A DAG that runs_on of an identity names is sent to that identity's place, which no other DAG may name."""
    assert bag["read"]["upkeep"]["t"] == ["caretaker", "default_pool", None]


def test_a_compartment_without_a_place_is_left_alone(bag: dict[str, Any]) -> None:
    """A DAG whose compartment says nothing of a place runs where its author wrote, if that is open to all."""
    assert bag["read"]["open_free"]["asked"] == ["big", "finance_pool", None]
    assert bag["read"]["open_free"]["open"] == ["default", "default_pool", _EDGE]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("finance_queue", "queue 'big', and tasks_run_on of compartment 'finance' sends it to queue 'finance'"),
        ("finance_args", "asks for queue 'big'"),
        ("finance_partial", "asks for queue 'big'"),
        ("finance_pool", "asks for pool 'big'"),
        ("finance_late", "asks for queue 'big'"),
        ("finance_pod", "asks for service account 'admin'"),
        ("finance_dictionary", "asks for service account 'admin'"),
        ("open_takes", "asks for queue 'finance', which is that of compartment 'finance'"),
        ("nobodys", "asks for queue 'legal', which is that of compartment 'legal'"),
        ("open_other", "asks for queue 'mine', which the access policy does not open to tasks of compartment"),
        ("open_list", "asks for queue 'big,finance', which has other characters than letters"),
        ("open_priority", "which has other characters than letters"),
        ("open_case", "asks for queue 'Finance', which is that of compartment 'finance'"),
        ("open_args", "asks for queue 'finance', which is that of compartment 'finance'"),
        ("open_group", "asks for run_as_user 'root'"),
        ("open_alias", "asks for executor 'own', which is that of compartment 'finance'"),
        ("open_class", "asks for executor 'LocalExecutor', which is that of compartment 'finance'"),
        ("open_path", "LocalExecutor', which is that of compartment 'finance'"),
        ("open_kubernetes", "asks for executor 'KubernetesExecutor', which the access policy does not open"),
        ("open_caretaker", "asks for queue 'night', which is that of identity 'caretaker'"),
        ("open_user", "asks for run_as_user 'root'"),
        ("open_template", "asks for executor_config.pod_template_file, which may"),
        ("open_legacy", "asks for executor_config.KubernetesExecutor, which may"),
        ("open_role", "asks for executor_config.overrides, which may"),
        ("open_partial", "asks for executor_config.pod_template_file"),
        ("open_mapped", "it is mapped over queue"),
        ("finance_template", "asks for executor_config.pod_template_file"),
        ("finance_label", "asks for executor_config.pod_override.metadata.labels"),
        ("audit_elsewhere", "'audit_elsewhere' from bundle 'audit-dags' only, and it comes from 'all-dags'"),
    ],
)  # fmt: skip
def test_a_dag_that_would_run_elsewhere_is_an_import_error(bag: dict[str, Any], file: str, said: str) -> None:
    """The import error names the DAG, the task, the rule and what to do; and Airflow has no such DAG."""
    error = bag["errors"][file]
    assert error.startswith("AirflowClusterPolicyViolation: ")
    assert said in error
    assert f"DAG {file}" in error
    assert "What to do: " in error
    assert file not in bag["read"]


def test_a_place_cannot_be_mapped_over(bag: dict[str, Any]) -> None:
    """A task that is mapped over its place is an import error, of Airflow's own or ours."""
    assert "unmappable or already specified argument: queue" in bag["errors"]["finance_expanded"]
    assert "it is mapped over executor" in bag["errors"]["finance_executors"]


def test_nothing_else_is_an_import_error(bag: dict[str, Any]) -> None:
    """Only the DAGs that ask for what is not theirs are refused."""
    assert set(bag["read"]) == {"finance_kinds", "legal_moved", "open_free", "upkeep"}
    assert set(bag["errors"]) == set(FILES) - set(bag["read"])


def test_a_compartment_says_whether_returned_values_are_logged(bag: dict[str, Any]) -> None:
    """hide_return_values of the compartment, or else of the file's defaults, decides for its operators."""
    shown = bag["shown"]
    assert shown["finance_kinds"]["make"] is True
    assert shown["finance_kinds"]["group.decorated"] is None
    assert shown["legal_moved"]["returns"] is False
    assert shown["open_free"]["returns"] is False


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (POLICY.replace("version: 1", "version: 9"), "policy.yaml, line 1"),
        (
            POLICY.replace("    bundles: [audit-dags]", "    teams: [audit]"),
            "has teams, and this Airflow does not",
        ),
    ],
    ids=["broken", "teams without multi_team"],
)
def test_without_a_policy_nothing_runs_unplaced(tmp_path: Path, policy: str, said: str) -> None:
    """A policy file that cannot be used makes every DAG an import error that says what is wrong with the file."""
    found = parsed(tmp_path, policy, {name: FILES[name] for name in ("finance_kinds", "open_free")})
    assert found["read"] == {}
    assert len(found["errors"]) == 2
    assert all(said in text and "What to do" in text for text in found["errors"].values())


def test_placing_can_be_switched_off(tmp_path: Path) -> None:
    """With place_tasks = False tasks run where their authors wrote; what compartments say of logs still holds."""
    files = {name: FILES[name] for name in ("finance_queue", "legal_moved", "finance_kinds", "audit_elsewhere")}
    found = parsed(tmp_path, POLICY, files, AIRFLOW__SECURE_XCOM__PLACE_TASKS="False")
    assert found["errors"] == {}
    assert found["read"]["finance_queue"]["t"] == ["big", "default_pool", None]
    assert found["shown"]["finance_kinds"]["make"] is True
    assert found["shown"]["legal_moved"]["returns"] is False


@pytest.mark.skipif(
    Version(metadata.version("apache-airflow-core")) < Version("3.3"),
    reason="this Airflow does not tell the team of a DAG",
)
@pytest.mark.parametrize("named", ["finance", "Finance"])
def test_a_team_has_a_default_pool_and_a_lower_case_name(tmp_path: Path, named: str) -> None:
    """From 3.4 on a team's tasks that name no pool have default_pool_TEAM, and its name is lower case."""
    policy = POLICY.replace("    bundles: [audit-dags]", f"    teams: [{named}]")
    names_none = """
with DAG("audit_any", schedule=None):
    bash("plain")
    BashOperator.partial(task_id="mapped").expand(bash_command=["true"])
"""
    names_one = 'with DAG("finance_other", schedule=None): bash(pool="other_pool")'
    found = parsed(
        tmp_path,
        policy,
        {"audit_any": names_none, "finance_kinds": FILES["finance_kinds"], "finance_other": names_one},
        team="finance",
        BUNDLE="all-dags",
        AIRFLOW__CORE__MULTI_TEAM="True",
    )
    assert set(found["errors"]) == {"finance_other"}
    assert {place[1] for place in found["read"]["finance_kinds"].values()} == {"finance_pool"}
    assert set(found["read"]["audit_any"]) == {"plain", "mapped"}


DEADLINES = """
from datetime import timedelta
from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback
def late(**context): return None
def alert(**options):
    callback = SyncCallback("airflow.utils.helpers.validate_key", **options)
    return DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=1), callback)
"""
ALERTS = {
    "finance_alert": 'with DAG("finance_alert", schedule=None, deadline=alert()): bash()',
    "open_alert": 'with DAG("open_alert", schedule=None, deadline=[alert(executor="LocalExecutor")]): bash()',
}


@pytest.mark.parametrize("name", ALERTS)
def test_callbacks_of_deadlines_are_placed(tmp_path: Path, name: str) -> None:
    """A deadline's callback runs on its compartment's executor, and cannot ask for another's."""
    if not _gives_runs():
        # Airflow before 3.3 has no callbacks that run on an executor.
        assert (
            "ok"
            in run("import airflow.sdk as s; print('' if hasattr(s, 'SyncCallback') else 'ok')", tmp_path).stdout
        )
        return
    found = parsed(tmp_path, POLICY, {name: DEADLINES + ALERTS[name]})
    if name == "finance_alert":
        assert (found["callbacks"], found["errors"]) == ({name: ["own"]}, {})
    else:
        said = "executor 'LocalExecutor', which is that of compartment 'finance'"
        assert said in found["errors"][name]
        assert "callback of a deadline" in found["errors"][name]


INSTANCE = """
import json, logging, sys
from types import SimpleNamespace as Thing
import airflow
from airflow import settings
from secure_xcom.airflow.plugin import cluster_policy

def placed(dag_id, bundle="audit-dags", pool="default_pool", **asked):
    fields = {"queue": "default", "pool": pool, "executor": None, "executor_config": None, **asked}
    task = Thing(pool=pool)
    instance = Thing(dag_id=dag_id, task_id="t", task=task, **fields)
    run = None if bundle is None else Thing(dag_model=Thing(bundle_name=bundle))
    cluster_policy._place_instance(instance, run)
    first = instance.pool
    cluster_policy._place_instance(instance, run)
    assert instance.pool == first
    config = instance.executor_config
    pod = config.get("pod_override") if isinstance(config, dict) else None
    account = getattr(getattr(pod, "spec", None), "service_account_name", None)
    return [instance.queue, instance.pool, instance.executor, account]
"""
CASES = """
row = Thing(dag_id="audit_x", task_id="t", queue="a", pool="default_pool", executor=None, executor_config=None)
def taken(bundle):
    cluster_policy._place_instance(row, Thing(dag_model=Thing(bundle_name=bundle)))
    return row.pool
print(json.dumps({
    "noop": bool(settings.task_instance_mutation_hook.is_noop),
    "sent": placed("finance_x"),
    "late": placed("finance_x", queue="legal", pool="p", executor="CeleryExecutor"),
    "stolen": placed("open_x", queue="finance"),
    "nobodys": placed("nobodys", queue="finance"),
    "free": placed("open_x", queue="big"),
    "right": placed("audit_x"),
    "wrong": placed("audit_x", bundle="marketing"),
    "unknown": placed("audit_x", bundle=None),
    "turns": [taken("marketing"), taken("audit-dags")],
}))
"""
HELD = "held by secure_xcom: see the log of the scheduler and the API server"


def test_task_instances_are_placed_where_no_dag_file_is_loaded(tmp_path: Path) -> None:
    """The scheduler's hook sends back what was moved after parsing, and holds what asks for another's identity.

    What is held because another bundle defined its DAG stays so when the first bundle's turn comes again.
    """
    (tmp_path / "policy.yaml").write_text(
        POLICY.replace("[audit-dags]", "[audit-dags]\n    tasks_run_on: {queue: a}")
    )
    settings = {
        "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(tmp_path / "policy.yaml"),
        "AIRFLOW__CORE__EXECUTOR": EXECUTORS,
    }
    done = run(INSTANCE + CASES, tmp_path, **settings)
    found = json.loads(done.stdout.splitlines()[-1])
    finance = ["finance", "finance_pool", "own", "finance-worker"]
    assert found["noop"] is False
    if _gives_runs():
        assert found["sent"] == found["late"] == finance
        assert found["free"] == ["big", "default_pool", None, None]
        assert found["right"] == ["a", "default_pool", None, None]
        for name in ("stolen", "nobodys", "wrong", "unknown"):
            assert found[name][1] == HELD
        assert found["turns"] == [HELD, HELD]
        said = done.stdout + done.stderr
        assert "queue 'finance', which is that of compartment 'finance'" in said
        assert "from bundle 'audit-dags' only, and it comes from 'marketing'" in said
    else:
        # Airflow before 3.3 does not tell a hook the run, so this policy is refused and every task is held.
        assert {places[1] for name, places in found.items() if name != "noop"} == {HELD}  # of "turns", the second
        assert "has bundles beside tasks_run_on" in done.stdout + done.stderr


ATTACKS = """
from kubernetes.client import models as k
base = [k.V1Container(name="base")]
def pod(**spec): return {"pod_override": k.V1Pod(spec=k.V1PodSpec(containers=base, **spec))}
LOCAL = "airflow.executors.local_executor.LocalExecutor"
secret = k.V1Volume(name="v", secret=k.V1SecretVolumeSource(secret_name="finance"))
token = k.V1VolumeProjection(service_account_token=k.V1ServiceAccountTokenProjection(path="t", audience="vault"))
attacks = [
    {"queue": "finance"}, {"queue": "Finance"}, {"queue": "mine"}, {"queue": "night"}, {"queue": "big,finance"},
    {"queue": "finance\\x06\\x169"}, {"queue": " finance"}, {"queue": "finance\\n"}, {"queue": "f\u0131nance"},
    {"executor": "own"}, {"executor": "LocalExecutor"}, {"executor": LOCAL}, {"executor": "KubernetesExecutor"},
    {"executor": "x:LocalExecutor"}, {"executor": "finance=" + LOCAL}, {"executor": "=" + LOCAL},
    {"run_as_user": "root"}, {"run_as_user": "#0"},
    {"executor_config": {"pod_template_file": "/tmp/x"}},
    {"executor_config": {"KubernetesExecutor": {"image": "x"}}},
    {"executor_config": {"overrides": {"taskRoleArn": "x"}}}, {"executor_config": ["pod_override"]},
    {"executor_config": {"pod_override": "x"}}, {"executor_config": {"pod_override": {"__type": "k8s.V1Pod"}}},
    {"executor_config": {"pod_override": {"spec": {"serviceAccountName": "finance-worker"}}}},
    {"executor_config": pod(service_account_name="finance-worker")},
    {"executor_config": pod(service_account="admin")},
    {"executor_config": pod(service_account_name="airflow-scheduler")},
    {"executor_config": pod(host_network=True)},
    {"executor_config": pod(automount_service_account_token=True)}, {"executor_config": pod(volumes=[secret])},
    {"executor_config": pod(volumes=[k.V1Volume(name="v", projected=k.V1ProjectedVolumeSource(sources=[token]))])},
    {"executor_config": {"pod_override": k.V1Pod(metadata=k.V1ObjectMeta(namespace="kube-system"))}},
    {"executor_config": {"pod_override": k.V1Pod(metadata=k.V1ObjectMeta(labels={"component": "api-server"}))}},
]
harmless = [
    {}, {"queue": "default"}, {"queue": "big"}, {"executor": "CeleryExecutor"}, {"run_as_user": "guest"},
    {"executor": "EdgeExecutor"}, {"executor": "airflow.providers.edge3.executors.EdgeExecutor"},
    {"executor_config": pod(node_selector={"disk": "ssd"})},
    {"executor_config": pod(service_account_name="nobody")},
]
print(json.dumps([
    [placed("open_x", bundle="b", **asked)[1] for asked in attacks],
    [placed("nobodys", bundle="b", **asked)[1] for asked in attacks],
    [placed("open_x", bundle="b", **asked)[1] for asked in harmless],
    placed("upkeep", bundle="b"),
]))
"""


def test_no_spelling_of_anothers_place_passes_the_scheduler(tmp_path: Path) -> None:
    """Whatever a file that undid the policy asks for is held when the instance is made; what is open runs."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    settings = {
        "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(tmp_path / "policy.yaml"),
        "AIRFLOW__CORE__EXECUTOR": EXECUTORS,
    }
    attacks, nobodys, harmless, upkeep = json.loads(
        run(INSTANCE + ATTACKS, tmp_path, **settings).stdout.splitlines()[-1]
    )
    assert [number for number, pool in enumerate(attacks) if pool != HELD] == []
    assert [number for number, pool in enumerate(nobodys) if pool != HELD] == []
    assert [number for number, pool in enumerate(harmless) if pool == HELD] == []
    assert upkeep == ["caretaker", "default_pool", None, "airflow-scheduler"]


DEFAULTS = """
print(json.dumps([placed("open_x", bundle="b"), placed("finance_x", bundle="b")]))
"""


@pytest.mark.parametrize(
    ("change", "executor", "said"),
    [
        (
            ("queue: finance,", "queue: default,"),
            EXECUTORS,
            "default queue 'default' is that of compartment 'finance'",
        ),
        (
            ("queue: finance,", "queue: Default,"),
            EXECUTORS,
            "default queue 'default' is that of compartment 'finance'",
        ),
        (
            ("", ""),
            "x.y.Unknown,own:airflow.executors.local_executor.LocalExecutor",
            "is of a class",
        ),
        (("[caretaker, night]", "[caretaker, default]"), EXECUTORS, "is that of identity 'caretaker'"),
        (("", ""), "own:airflow.executors.local_executor.LocalExecutor", "default executor 'own' is that of"),
        (("", ""), "airflow.executors.local_executor.LocalExecutor", None),
    ],
)
def test_airflows_defaults_are_closed_where_they_are_somebodys(
    tmp_path: Path, change: tuple[str, str], executor: str, said: str | None
) -> None:
    """A task that names nothing runs on Airflow's defaults, unless these are another's or of an unknown class."""
    (tmp_path / "policy.yaml").write_text(POLICY.replace(*change) if change[0] else POLICY)
    settings = {
        "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(tmp_path / "policy.yaml"),
        "AIRFLOW__CORE__EXECUTOR": executor,
    }
    done = run(INSTANCE + DEFAULTS, tmp_path, **settings)
    free, finance = json.loads(done.stdout.splitlines()[-1])
    assert finance[1] != HELD
    assert (free[1] == HELD) is (said is not None)
    if said is not None:
        assert said in done.stdout + done.stderr


@pytest.mark.parametrize(("user", "held"), [("caretaker", True), ("guest", False), ("airflow", False)])
def test_the_default_user_is_closed_where_it_is_somebodys(tmp_path: Path, user: str, held: bool) -> None:
    """A task that names no user runs as [core] default_impersonation, unless that is another's place."""
    (tmp_path / "policy.yaml").write_text(POLICY.replace("[caretaker, night]", "night, run_as_user: caretaker"))
    settings = {
        "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(tmp_path / "policy.yaml"),
        "AIRFLOW__CORE__EXECUTOR": EXECUTORS,
        "AIRFLOW__CORE__DEFAULT_IMPERSONATION": user,
    }
    done = run(INSTANCE + DEFAULTS, tmp_path, **settings)
    free, finance = json.loads(done.stdout.splitlines()[-1])
    assert [place[1] == HELD for place in (free, finance)] == [held, held]
    said = f"it names no run_as_user, and Airflow's default run_as_user '{user}' is that of identity 'caretaker'"
    assert (said in done.stdout + done.stderr) is held


@pytest.mark.parametrize(
    ("account", "held"), [("airflow-scheduler", True), ("finance-worker", True), ("rest", False)]
)
def test_the_pod_templates_account_is_closed_where_it_is_somebodys(
    tmp_path: Path, account: str, held: bool
) -> None:
    """On Kubernetes a task that names no account runs as the template's, unless that is another's place."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "template.yaml").write_text(f"spec: {{serviceAccountName: {account}, containers: []}}")
    settings = {
        "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(tmp_path / "policy.yaml"),
        "AIRFLOW__CORE__EXECUTOR": "KubernetesExecutor,own:airflow.executors.local_executor.LocalExecutor",
        "AIRFLOW__KUBERNETES_EXECUTOR__POD_TEMPLATE_FILE": str(tmp_path / "template.yaml"),
    }
    done = run(INSTANCE + DEFAULTS, tmp_path, **settings)
    free, finance = json.loads(done.stdout.splitlines()[-1])
    assert finance == ["finance", "finance_pool", "own", "finance-worker"]
    assert (free[1] == HELD) is held
    assert (f"default service account '{account}' is that of" in done.stdout + done.stderr) is held


@pytest.mark.parametrize("in_task", [False, True])
def test_a_tasks_own_process_does_not_judge_executors(tmp_path: Path, in_task: bool) -> None:
    """Its configuration may name others, as in pods of Airflow's chart; the scheduler has decided by its own."""
    file = """
from airflow.sdk.execution_time import task_runner
if IN_TASK: task_runner.SUPERVISOR_COMMS = object()
with DAG("open_ecs", schedule=None): bash(executor_config={"overrides": {"cpu": "512"}})
"""
    text = file.replace("IN_TASK", str(in_task))
    found = parsed(tmp_path, POLICY, {"open_ecs": text}, AIRFLOW__CORE__EXECUTOR="CeleryExecutor")
    assert ("open_ecs" in found["read"]) is in_task
    assert ("open_ecs" in found["errors"]) is not in_task


CALLBACKS = """
import airflow
import json
from airflow import settings
from secure_xcom.airflow.plugin import cluster_policy
from airflow.models import Trigger
from airflow.models.callback import CallbackFetchMethod, ExecutorCallback
from airflow.sdk.definitions.callback import SyncCallback
from airflow.utils.state import CallbackState
from airflow.models.dag import DagModel
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import Session
engine = create_engine("sqlite://")
for table in (Trigger.__table__, ExecutorCallback.__table__, DagModel.__table__): table.create(engine)
found = {}
with Session(engine) as session:
    for dag_id, bundle in (("audit_x", "audit-dags"), ("audit_y", "thief"), ("open_x", "all-dags")):
        columns = {"dag_id": dag_id, "bundle_name": bundle, "max_active_tasks": 1, "fail_fast": False}
        session.execute(insert(DagModel.__table__).values(
            max_consecutive_failed_dag_runs=0, has_task_concurrency_limits=False, **columns))
    for dag_id, bundle, queue in (
        ("audit_x", "audit-dags", None), ("audit_y", "audit-dags", None), ("audit_x", "thief", None),
        ("open_x", "all-dags", "finance"), ("open_x", "all-dags", "big"),
    ):
        row = ExecutorCallback(SyncCallback("os.getcwd"), CallbackFetchMethod.IMPORT_PATH)
        row.bundle_name = bundle
        # Airflow's own callback names no queue. Who reads DAG files writes what the scheduler makes it of.
        row.data = {**row.data, **({"queue": queue} if queue else {}), "dag_id": dag_id, "dag_run_id": "1"}
        row.state = CallbackState.PENDING
        session.add(row)
        session.flush()
        found[f"{dag_id} {bundle} {queue}"] = [str(row.state), row.output]
    for dag_id, executor in (
        ("finance_x", None), ("finance_x", "CeleryExecutor"), ("open_x", None), ("open_x", "own"),
        ("open_x", "airflow.executors.local_executor.LocalExecutor"), ("open_x", "EdgeExecutor"),
        ("nobodys", "own"),
    ):
        row = ExecutorCallback(SyncCallback("os.getcwd", executor=executor), CallbackFetchMethod.IMPORT_PATH)
        row.bundle_name = "all-dags"
        session.add(row)
        session.flush()
        assert row.state == CallbackState.SCHEDULED
        # As airflow/models/deadline.py, handle_miss, does it.
        row.data = {**row.data, "dag_id": dag_id, "dag_run_id": "1"}
        row.state = CallbackState.PENDING
        session.flush()
        session.refresh(row)
        place = [row.data.get("executor"), row.data.get("queue")]
        found[f"{dag_id} {executor}"] = [str(row.state), *place, row.output]
print(json.dumps(found))
"""


def test_callbacks_of_deadlines_are_placed_by_the_scheduler(tmp_path: Path) -> None:
    """The row that sends a deadline's callback to an executor gets its compartment's place, or never runs."""
    if not _gives_runs():
        pytest.skip("Airflow before 3.3 has no callbacks that run on an executor")
    (tmp_path / "policy.yaml").write_text(POLICY)
    settings = {
        "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(tmp_path / "policy.yaml"),
        "AIRFLOW__CORE__EXECUTOR": EXECUTORS,
    }
    found = json.loads(run(CALLBACKS, tmp_path, **settings).stdout.splitlines()[-1])
    assert found["finance_x None"] == ["pending", "own", "finance", None]
    assert found["open_x None"] == ["pending", None, None, None]
    assert found["open_x EdgeExecutor"] == ["pending", "EdgeExecutor", None, None]
    refused = {"finance_x CeleryExecutor", "open_x own", "open_x airflow.executors.local_executor.LocalExecutor"}
    for name in (*refused, "nobodys own"):
        state, _, _, why = found[name]
        assert state == "failed"
        assert "asks for executor" in why
    assert found["audit_x audit-dags None"] == ["pending", None]
    assert found["open_x all-dags big"] == ["pending", None]
    # The DAG is another bundle's by now, or was when the callback was made.
    assert "it comes from 'thief'" in found["audit_y audit-dags None"][1]
    assert "it comes from 'thief'" in found["audit_x thief None"][1]
    assert "queue 'finance', which is that of compartment 'finance'" in found["open_x all-dags finance"][1]


def _gives_runs() -> bool:
    from importlib import metadata

    from packaging.version import Version

    return Version(metadata.version("apache-airflow-core")) >= Version("3.3")


def test_the_scheduler_keeps_the_last_good_policy(tmp_path: Path) -> None:
    """A file that breaks while the scheduler runs holds no task; the last policy holds until it is mended."""
    code = INSTANCE + (
        "from pathlib import Path\n"
        "file = Path(__import__('os').environ['AIRFLOW__SECURE_XCOM__ACCESS_POLICY'])\n"
        "text = file.read_text(); found = [placed('legal_x')]\n"
        "file.write_text('version: 9'); found.append(placed('legal_x'))\n"
        "file.write_text(text.replace('queue: legal', 'queue: law')); found.append(placed('legal_x'))\n"
        "print(json.dumps([queue for queue, *_ in found]))\n"
    )
    (tmp_path / "policy.yaml").write_text(POLICY)
    settings = {
        "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(tmp_path / "policy.yaml"),
        "AIRFLOW__CORE__EXECUTOR": EXECUTORS,
    }
    done = run(code, tmp_path, **settings)
    assert json.loads(done.stdout.splitlines()[-1]) == ["legal", "legal", "law"]
    assert "placed by the last valid file" in done.stdout + done.stderr


@pytest.mark.parametrize("what", ["no policy", "switched off", "a broken policy"])
def test_when_the_scheduler_places(tmp_path: Path, what: str) -> None:
    """Without a policy, or switched off, making task instances stays as it is; with a broken one they are held."""
    settings = {"AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(tmp_path / "policy.yaml")}
    (tmp_path / "policy.yaml").write_text("version: 9" if what == "a broken policy" else POLICY)
    if what == "no policy":
        settings.clear()
    if what == "switched off":
        settings["AIRFLOW__SECURE_XCOM__PLACE_TASKS"] = "False"
    code = INSTANCE + (
        "noop = bool(settings.task_instance_mutation_hook.is_noop)\n"
        "print(json.dumps([noop, placed('legal_x', queue='finance')]))"
    )
    noop, place = json.loads(run(code, tmp_path, **settings).stdout.splitlines()[-1])
    if what == "a broken policy":
        assert (noop, place[1]) == (False, HELD)
    else:
        assert (noop, place) == (True, ["finance", "default_pool", None, None])


def test_the_process_of_a_task_knows_its_bundle(tmp_path: Path) -> None:
    """What a task's context says of its bundle is still known when its return value is pushed."""
    code = (
        "import json, os\nfrom types import SimpleNamespace as Thing\nimport airflow\n"
        "from airflow import settings\n"
        "from secure_xcom.airflow import task_context\n"
        "from secure_xcom.core.coordinate import Coordinate\n"
        "ti = Thing(dag_id='d', run_id='r', task_id='t', map_index=3, try_number=2)\n"
        "ti.bundle_instance = Thing(name='b')\n"
        "before = task_context.task()\n"
        "variables = settings.get_airflow_context_vars({'ti': ti, 'dag_run': Thing(team_name='finance')})\n"
        "settings.get_airflow_context_vars({'ti': None}); settings.get_airflow_context_vars({})\n"
        "for name, value in (('DAG_ID', 'd'), ('DAG_RUN_ID', 'r'), ('TASK_ID', 't'), ('TRY_NUMBER', '2')):\n"
        "    os.environ['AIRFLOW_CTX_' + name] = value\n"
        "own = task_context.producer(Coordinate('d', 'r', 't', 3, 'k'))\n"
        "os.environ['AIRFLOW_CTX_TRY_NUMBER'] = '3'\n"
        "other = task_context.task()\n"
        "own = [own.bundle, own.team, own.map_index]\n"
        "print(json.dumps([before, variables, own, [other.bundle, other.team]]))\n"
    )
    found = json.loads(run(code, tmp_path).stdout.splitlines()[-1])
    assert found == [None, {}, ["b", "finance", 3], [None, None]]
