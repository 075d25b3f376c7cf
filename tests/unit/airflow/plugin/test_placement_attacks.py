"""What a hostile task asks for: every spelling of another's place, and every field that brings an identity."""

from __future__ import annotations

import copy
import string
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client import models
from packaging.version import Version

from secure_xcom.airflow.plugin import harmless_config, service_accounts
from secure_xcom.core.access_policy.dag_placement import placement
from secure_xcom.core.access_policy.executors import KINDS, Executor, Executors, Kind
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.policy_errors import PlacementRefused, PolicyInvalid

OLDEST = Version(metadata.version("apache-airflow-core")) < Version("3.2")
LOCAL = "airflow.executors.local_executor.LocalExecutor"
CELERY = "airflow.providers.celery.executors.celery_executor.CeleryExecutor"
OWN = {
    "queue": "finance",
    "executor": "own",
    "service_account": "finance-worker",
    "run_as_user": "finance",
}
POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["memory-key://finance"]
    store_uri: memory://finance
    tasks_run_on: {queue: finance, executor: own, service_account: finance-worker, run_as_user: finance}
  - name: open
    dags: ["open_*"]
    key_uris: ["memory-key://open"]
    store_uri: memory://open
identities:
  - name: caretaker
    runs_on: {queue: [caretaker, night], service_account: airflow-scheduler, dags: [upkeep]}
open_places: {queue: [big], executor: [a.b.Shared], service_account: [nobody], run_as_user: [guest]}
"""
OPEN = {"queue": "big", "executor": "a.b.Shared", "service_account": "nobody", "run_as_user": "guest"}
POLICY_READ = AccessPolicy.parse(POLICY.encode(), where="policy.yaml")
EXECUTORS = Executors(
    [
        Executor(CELERY, "CeleryExecutor"),
        Executor(LOCAL, "own"),
        Executor("a.b.Shared"),
        Executor(LOCAL, "theirs", team="finance"),
    ]
)


def refused(dag_id: str, **asked: object) -> bool:
    """Whether a DAG's task may not ask for this."""
    try:
        placement(POLICY_READ, dag_id, executors=EXECUTORS).check(asked, "task t")
    except PlacementRefused:
        return True
    return False


# What brokers, shells and parsers of names are known to read as separators, wildcards or nothing.
ODD = st.sampled_from(
    [",", "\x06\x16", "\x069", ":", ";", "/", "=", "@", "*", "#", " ", "\n", "\0", "\u200b", "\u0130", "\\"]
)
PIECES = st.sampled_from(
    [*OWN.values(), *OPEN.values(), "night", "caretaker", LOCAL, "LocalExecutor", "9", "3", ""]
)
SPELLINGS = st.one_of(
    st.lists(st.one_of(PIECES, ODD), min_size=1, max_size=5).map("".join),
    st.text(string.printable, max_size=12),
    PIECES.map(str.upper),
    PIECES.map(str.title),
)


@given(field=st.sampled_from(sorted(OWN)), name=SPELLINGS, dag_id=st.sampled_from(["open_x", "nobodys"]))
def test_nothing_but_an_open_name_passes(field: str, name: str, dag_id: str) -> None:
    """Whatever the spelling, a DAG without places gets an open one by its very name and no other."""
    same = {"a.b.Shared", "Shared"} if field == "executor" else {OPEN[field]}
    assert refused(dag_id, **{field: name}) is (name not in same)


@given(field=st.sampled_from(sorted(OWN)), name=SPELLINGS)
def test_nothing_but_its_own_name_passes_for_the_owner(field: str, name: str) -> None:
    """A DAG whose compartment has a place is refused every other one, the open ones included."""
    same = {"own", LOCAL, "LocalExecutor"} if field == "executor" else {OWN[field]}
    assert refused("finance_x", **{field: name}) is (name not in same)


@pytest.mark.parametrize(
    "value",
    [["finance"], ("finance",), {"finance": 1}, b"finance", 3, object()],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("field", sorted(OWN))
def test_what_is_no_text_is_no_name(field: str, value: object) -> None:
    """A list, bytes or an object in place of a name is refused."""
    assert refused("open_x", **{field: value})


def test_a_text_that_lies_about_itself_is_no_name() -> None:
    """A subclass of str that says it equals everything is refused."""

    class Liar(str):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash("big")

    assert refused("open_x", queue=Liar("finance"))


@pytest.mark.parametrize("name", ["own", "LocalExecutor", LOCAL])
def test_an_executor_is_one_by_any_of_its_names(name: str) -> None:
    """Alias, class name and module path are the same executor, for its owner and for others."""
    assert not refused("finance_x", executor=name)
    assert refused("open_x", executor=name)


def test_executors_are_found_as_airflow_finds_them() -> None:
    """The first that has the name and is the team's or everybody's; the default is the team's own first."""
    found = EXECUTORS.find("LocalExecutor", "finance")
    assert found == Executor(LOCAL, "own")
    assert EXECUTORS.find("theirs", "finance") == Executor(LOCAL, "theirs", team="finance")
    assert EXECUTORS.find("theirs", "marketing") is None
    assert EXECUTORS.find("theirs", None) is None
    assert EXECUTORS.default("finance") == Executor(LOCAL, "theirs", team="finance")
    assert EXECUTORS.default("marketing") == EXECUTORS.default(None) == Executor(CELERY, "CeleryExecutor")


@pytest.mark.parametrize(
    ("name", "module"), [(name, path) for path in KINDS for name in (path, path.split(".")[-1])]
)
def test_known_executors_are_one_by_name_and_path_without_a_configuration(name: str, module: str) -> None:
    """Where nobody knows ``[core] executor`` the class name of a known executor is its module path."""
    assert Executors.unknown(name) == f"={module}"


@pytest.mark.parametrize(
    ("executor", "beside", "free"),
    [("CeleryExecutor", "queue: q", True), ("KubernetesExecutor", "service_account: q", True),
     ("LocalExecutor", "queue: q", False), ("CeleryExecutor", "service_account: q", False),
     ("x.Own", "queue: q", False)],
)  # fmt: skip
def test_a_default_executor_for_many_is_nobodys(executor: str, beside: str, free: bool) -> None:
    """An executor is a place unless what tells its workers apart is named beside it."""
    text = POLICY.partition("    tasks_run_on")[0] + f"    tasks_run_on: {{executor: {executor}, {beside}}}\n"
    found = placement(AccessPolicy.parse(text.encode(), where="p"), "nobodys")
    if free:
        found.check_defaults({"executor": executor}, "task t")
    else:
        with pytest.raises(PlacementRefused, match=r"default executor .* is that of compartment 'finance'"):
            found.check_defaults({"executor": executor}, "task t")


@pytest.mark.parametrize("queue", ["finance", "Finance", "fin.ance", "fin_ance"])
def test_a_default_queue_that_a_broker_takes_for_anothers_is_refused(queue: str) -> None:
    """SQS has no dots, Azure's storage queues no underscores, and some brokers no case."""
    text = POLICY.replace(
        "queue: finance", f"queue: {'finance' if 'n.' not in queue and '_' not in queue else 'fin-ance'}"
    )
    found = placement(AccessPolicy.parse(text.encode(), where="p"), "open_x")
    with pytest.raises(PlacementRefused, match="default queue"):
        found.check_defaults({"queue": queue}, "task t")


def test_a_policy_without_places_closes_nothing() -> None:
    """Files of before work as they did: no place, or pools alone, and every DAG names what it likes."""
    for places in ("", "    tasks_run_on: {pool: finance}\n"):
        text = POLICY.partition("    tasks_run_on")[0] + places
        found = placement(AccessPolicy.parse(text.encode(), where="p"), "nobodys")
        assert not found.closed
        found.check({"queue": "a,b", "executor": "x:y", "run_as_user": "root", "service_account": "any"}, "task t")
        found.check_defaults({"queue": "default", "executor": "LocalExecutor"}, "task t")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("queue: [big]", "queue: [big, finance]", "the queue 'finance' belongs to compartment 'finance'"),
        ("queue: [big]", "queue: [night]", "the queue 'night' belongs to identity 'caretaker'"),
        ("queue: [big]", 'queue: ["a,b"]', "has characters that are not allowed"),
        ("queue: [caretaker, night], service_account: airflow-scheduler,", "", "runs_on names no place"),
        ("[caretaker, night]", "[]", "too few entries"),
    ],
)
def test_what_the_file_may_not_say(old: str, new: str, said: str) -> None:
    """A place is not somebody's and everybody's, and new names have no odd characters."""
    assert old in POLICY
    with pytest.raises(PolicyInvalid, match=said):
        AccessPolicy.parse(POLICY.replace(old, new).encode(), where="policy.yaml")


# --- pods ---------------------------------------------------------------------------------------------------


def _container(**more: Any) -> models.V1Container:
    return models.V1Container(name="base", **more)


def _spec(**more: Any) -> dict[str, Any]:
    containers = more.pop("containers", [_container()])
    return {"spec": models.V1PodSpec(containers=containers, **more)}


def _meta(**more: Any) -> dict[str, Any]:
    return {"metadata": models.V1ObjectMeta(**more)}


def _volume(**more: Any) -> dict[str, Any]:
    return _spec(volumes=[models.V1Volume(name="v", **more)])


def _from(**more: Any) -> dict[str, Any]:
    return _spec(
        containers=[_container(env=[models.V1EnvVar(name="x", value_from=models.V1EnvVarSource(**more))])]
    )


TOKEN = models.V1VolumeProjection(
    service_account_token=models.V1ServiceAccountTokenProjection(path="t", audience="vault")
)
SECRET = models.V1SecretKeySelector(name="finance", key="k")
PRIVILEGED = models.V1SecurityContext(privileged=True)
HOSTILE: dict[str, dict[str, Any]] = {
    "another namespace": _meta(namespace="kube-system"),
    "a name": _meta(name="other"),
    "an owner": _meta(owner_references=[]) | _meta(finalizers=["x/y"]),
    "a Service's label": _meta(labels={"component": "api-server"}),
    "without our label": _meta(labels={"secure-xcom": "no"}),
    "an empty label": _meta(labels={"secure-xcom": ""}),
    "a role by annotation": _meta(annotations={"iam.amazonaws.com/role": "finance"}),
    "another network": _meta(annotations={"k8s.v1.cni.cncf.io/networks": "finance"}),
    "another task": _meta(annotations={"task_id": "theirs"}),
    "a token": _spec(automount_service_account_token=True),
    "a token in a volume": _volume(projected=models.V1ProjectedVolumeSource(sources=[TOKEN])),
    "a secret": _volume(secret=models.V1SecretVolumeSource(secret_name="finance")),
    "a projected secret": _volume(
        projected=models.V1ProjectedVolumeSource(
            sources=[models.V1VolumeProjection(secret=models.V1SecretProjection(name="finance"))]
        )
    ),
    "a secret of a driver": _volume(csi=models.V1CSIVolumeSource(driver="secrets-store.csi.k8s.io")),
    "the host's files": _volume(host_path=models.V1HostPathVolumeSource(path="/var/lib/kubelet")),
    "a claim": _volume(persistent_volume_claim=models.V1PersistentVolumeClaimVolumeSource(claim_name="finance")),
    "a secret in env": _from(secret_key_ref=SECRET),
    "env of a secret": _spec(
        containers=[_container(env_from=[models.V1EnvFromSource(secret_ref=models.V1SecretEnvSource(name="f"))])]
    ),
    "a privileged container": _spec(containers=[_container(security_context=PRIVILEGED)]),
    "a privileged sidecar": _spec(containers=[_container(), _container(security_context=PRIVILEGED)]),
    "a privileged init container": _spec(init_containers=[_container(security_context=PRIVILEGED)]),
    "an ephemeral container": _spec(
        ephemeral_containers=[models.V1EphemeralContainer(name="x", security_context=PRIVILEGED)]
    ),
    "another security context": _spec(security_context=models.V1PodSecurityContext(run_as_user=0)),
    "the host's network": _spec(host_network=True),
    "the host's processes": _spec(host_pid=True),
    "the host's IPC": _spec(host_ipc=True),
    "the host's port": _spec(
        containers=[_container(ports=[models.V1ContainerPort(container_port=1, host_port=1)])]
    ),
    "a node by name": _spec(node_name="finance-1"),
    "a runtime": _spec(runtime_class_name="runc"),
    "a scheduler": _spec(scheduler_name="theirs"),
    "a pull secret": _spec(image_pull_secrets=[models.V1LocalObjectReference(name="finance")]),
    "a resource claim": _spec(resource_claims=[models.V1PodResourceClaim(name="x")]),
}  # fmt: skip
HARMLESS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a node's kind": _spec(node_selector={"disk": "ssd"}, tolerations=[models.V1Toleration(key="gpu")]),
    "resources": _spec(
        containers=[
            _container(resources=models.V1ResourceRequirements(limits={"memory": "2Gi", "nvidia.com/gpu": "1"}))
        ]
    ),
    "an image and env": _spec(containers=[_container(image="mine", env=[models.V1EnvVar(name="A", value="b")])]),
    "env of the pod": _from(field_ref=models.V1ObjectFieldSelector(field_path="spec.nodeName")),
    "a sidecar": _spec(containers=[_container(), models.V1Container(name="side", image="x", command=["y"])]),
    "scratch": _volume(empty_dir=models.V1EmptyDirVolumeSource()),
    "a mount": _spec(containers=[_container(volume_mounts=[models.V1VolumeMount(mount_path="/x", name="v")])]),
    "annotations": _meta(annotations={"note": "x", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}),
}
KUBERNETES = Kind("service_account", "kubernetes")


def decided(config: Any, kind: Kind | None = KUBERNETES) -> bool:
    """Whether an executor_config passes."""
    try:
        harmless_config.check(service_accounts.as_data(config), kind, "it")
    except PlacementRefused:
        return False
    return True


def _dictionary(pod: models.V1Pod, *, python_names: bool) -> Any:
    return pod.to_dict() if python_names else harmless_config.plain(pod)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_pod_that_brings_an_identity_is_refused(kind: str) -> None:
    """As Kubernetes' model and as a dictionary in either way of writing it, whatever the executor."""
    pod = models.V1Pod(**copy.deepcopy(HOSTILE[kind]))
    forms = [pod, _dictionary(pod, python_names=False), _dictionary(pod, python_names=True)]
    for form in forms:
        for executor in (KUBERNETES, Kind("queue", "unread"), None):
            assert not decided({"pod_override": form}, executor), form


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_pod_of_ones_own_passes(kind: str) -> None:
    """What tasks ask for every day is no identity."""
    pod = models.V1Pod(**copy.deepcopy(HARMLESS[kind]))
    assert decided({"pod_override": pod})
    assert decided({"pod_override": harmless_config.plain(pod)})
    assert not decided({"pod_override": pod}, None)


@given(parts=st.lists(st.sampled_from([*HOSTILE.values(), *HARMLESS.values()]), max_size=4), account=st.booleans())
def test_airflows_own_pod_keeps_what_the_deployment_relies_on(parts: list[dict[str, Any]], account: bool) -> None:
    """Whatever override passes: Airflow's pod of it has its account, namespace, labels and limits."""
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

    override = models.V1Pod()
    for part in copy.deepcopy(parts):
        for name, value in part.items():
            before = getattr(override, name)
            if before is None:
                setattr(override, name, value)
            else:
                for field in value.attribute_map:
                    setattr(before, field, getattr(value, field) or getattr(before, field))
    if account:
        override.spec = override.spec or models.V1PodSpec(containers=[_container()])
        override.spec.service_account_name = "airflow-scheduler"
    placed = service_accounts.placed({"pod_override": override}, "finance-worker")
    if not decided(placed):
        return
    template = models.V1Pod(
        metadata=models.V1ObjectMeta(labels={"secure-xcom": "task", "component": "worker", "tier": "airflow"}),
        spec=models.V1PodSpec(
            service_account_name="airflow-no-compartment",
            automount_service_account_token=False,
            security_context=models.V1PodSecurityContext(run_as_non_root=True),
            containers=[_container(security_context=models.V1SecurityContext(allow_privilege_escalation=False))],
        ),
    )
    pod = PodGenerator.construct_pod(
        dag_id="finance_x", task_id="t", pod_id="p", try_number=1, kube_image="image", date=None, args=["airflow"],
        pod_override_object=PodGenerator.from_obj(placed), base_worker_pod=template, namespace="airflow",
        scheduler_job_id="1",
    )  # fmt: skip
    assert (pod.spec.service_account_name, pod.spec.service_account) == ("finance-worker", None)
    assert pod.spec.automount_service_account_token is False
    assert (pod.metadata.namespace, pod.metadata.name) == ("airflow", "p")
    assert {name: pod.metadata.labels[name] for name in ("secure-xcom", "component", "tier")} == {
        "secure-xcom": "task",
        "component": "worker",
        "tier": "airflow",
    }
    assert pod.metadata.annotations["task_id"] == "t"
    assert pod.spec.security_context.run_as_non_root is True
    assert pod.spec.containers[0].security_context.allow_privilege_escalation is False
    assert not any((pod.spec.host_network, pod.spec.host_pid, pod.spec.host_ipc, pod.spec.node_name))
    assert all(volume.secret is None and volume.host_path is None for volume in pod.spec.volumes or ())


@pytest.mark.parametrize(
    "config",
    [
        {"pod_template_file": "/tmp/x"},
        {"podOverride": {}},
        {"KubernetesExecutor": {"service_account_name": "x"}},
        {"pod_override": "x"},
        {"pod_override": [models.V1Pod()]},
        {"pod_override": {"__type": "k8s.V1Pod", "__var": {}}},
        {"pod_override": object()},
        {"anything": 1},
        [{}],
        "text",
    ],
)
def test_what_is_no_pod_override_is_refused(config: Any) -> None:
    """Another file, the old form, other types and any other key are refused for every executor."""
    for kind in (*KINDS.values(), None):
        assert not decided(config, kind)


# --- Amazon's executors -------------------------------------------------------------------------------------

ECS = Kind(None, "ecs")
BATCH = Kind(None, "batch")
ENVIRONMENT = [{"name": "A", "value": "b"}]
ECS_CONFIGS: list[tuple[dict[str, Any], bool]] = [
    ({"overrides": {"taskRoleArn": "arn:aws:iam::1:role/finance"}}, False),
    ({"overrides": {"executionRoleArn": "arn:aws:iam::1:role/finance"}}, False),
    ({"taskDefinition": "finance"}, False),
    ({"cluster": "finance"}, False),
    ({"networkConfiguration": {"awsvpcConfiguration": {"securityGroups": ["sg-finance"]}}}, False),
    ({"volumeConfigurations": [{"managedEBSVolume": {"roleArn": "x"}}]}, False),
    ({"capacityProviderStrategy": []}, False),
    ({"placementConstraints": []}, False),
    ({"enableExecuteCommand": True}, False),
    ({"tags": [{"key": "team", "value": "finance"}]}, False),
    ({"overrides": {"containerOverrides": [{"name": "c", "environmentFiles": [{"value": "arn"}]}]}}, False),
    ({"overrides": {"cpu": "1024", "memory": "2048"}}, True),
    ({"overrides": {"containerOverrides": [{"name": "c", "cpu": 1, "environment": ENVIRONMENT}]}}, True),
]  # fmt: skip
BATCH_CONFIGS: list[tuple[dict[str, Any], bool]] = [
    ({"jobDefinition": "finance"}, False),
    ({"jobQueue": "finance"}, False),
    ({"nodeOverrides": {}}, False),
    ({"eksPropertiesOverride": {"podProperties": {"metadata": {"namespace": "finance"}}}}, False),
    ({"ecsPropertiesOverride": {}}, False),
    ({"parameters": {"role": "x"}}, False),
    ({"tags": {"team": "finance"}}, False),
    ({"containerOverrides": {"instanceType": "x"}}, False),
    ({"containerOverrides": {"memory": 1, "environment": [{"name": "A", "value": "b"}]}}, True),
    ({"timeout": {"attemptDurationSeconds": 60}}, True),
]


@pytest.mark.parametrize(("config", "passes"), ECS_CONFIGS, ids=repr)
def test_what_a_task_may_ask_of_ecs(config: dict[str, Any], passes: bool) -> None:
    """Amazon's own executor merges all of it into the call; what changes more than the container is refused."""
    from airflow.providers.amazon.aws.executors.ecs.ecs_executor import AwsEcsExecutor

    configured = {
        "cluster": "ours",
        "taskDefinition": "ours",
        "overrides": {"taskRoleArn": "ours", "containerOverrides": [{"name": "c", "command": []}]},
    }
    executor: Any = SimpleNamespace(run_task_kwargs=configured, container_name="c")
    executor.get_container = lambda found: AwsEcsExecutor.get_container(executor, found)
    assert decided(config, ECS) is passes
    # It writes into what it is given.
    config = copy.deepcopy(config)
    merged = AwsEcsExecutor._run_task_kwargs(executor, None, ["airflow"], "default", config)  # type: ignore[arg-type]
    if passes:
        assert (merged["cluster"], merged["taskDefinition"]) == ("ours", "ours")
        assert merged["overrides"]["taskRoleArn"] == "ours"
        assert set(merged) == set(configured)


@pytest.mark.parametrize(("config", "passes"), BATCH_CONFIGS, ids=repr)
def test_what_a_task_may_ask_of_batch(config: dict[str, Any], passes: bool) -> None:
    """The same for Batch, whose role is in the job definition."""
    from airflow.providers.amazon.aws.executors.batch.batch_executor import AwsBatchExecutor

    configured = {"jobQueue": "ours", "jobDefinition": "ours", "containerOverrides": {"command": []}}
    executor: Any = SimpleNamespace(submit_job_kwargs=configured)
    assert decided(config, BATCH) is passes
    config = copy.deepcopy(config)
    merged = AwsBatchExecutor._submit_job_kwargs(executor, None, ["airflow"], "default", config)  # type: ignore[arg-type]
    if passes:
        assert (merged["jobQueue"], merged["jobDefinition"]) == ("ours", "ours")
        assert set(merged) <= {*configured, "timeout"}


def test_nothing_is_passed_on_to_code_that_nobody_knows() -> None:
    """Lambda's executor gives the whole of it to the function, and another executor may do anything."""
    for kind in (Kind(None, "passed on"), None):
        assert not decided({"overrides": {"cpu": "1"}}, kind)
        assert decided({}, kind)


@pytest.mark.parametrize("path", KINDS)
def test_the_known_executors_are_there(path: str) -> None:
    """Each module path is that of a class of the installed provider; edge3 is not among the requirements."""
    from importlib import import_module

    module, _, name = path.rpartition(".")
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        # The oldest Airflow's environment has no Celery, and its Amazon provider imports a module of its tests.
        if ".edge3." in path or OLDEST:
            pytest.skip(f"{error.name} is not installed")
        raise
    assert isinstance(getattr(loaded, name), type)
