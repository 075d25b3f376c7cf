"""deploy/helm: pods and manifests against Kubernetes' own models, values and access policies by each other."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import models

from secure_xcom.connections.vault.auth import token_source
from secure_xcom.core.access_policy.dag_placement import placement
from secure_xcom.core.access_policy.places import every_place
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.config import Settings
from secure_xcom.core.policy_errors import PlacementRefused
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from secure_xcom.ops.service_policies.lint.access_policy import lint
from tests.support import deployed
from tests.support.deployed import DIGEST, HELM

VARIANTS = {None: "irsa", "vault-kubernetes": "vault", "vault-agent": "vault_agent"}
POLICIES = sorted(HELM.glob("access_policy_*.yaml"))
# The chart's parameters that are used here, as its values.yaml has them.
PARAMETERS = {"executor", "airflowVersion", "images", "config", "volumes", "volumeMounts", "data", "podTemplate"}
PARAMETERS |= {
    "fernetKeySecretName",
    "apiSecretKeySecretName",
    "jwtSecretName",
    "createUserJob",
    "allowPodLaunching",
}
PARAMETERS |= {"postgresql", "redis", "statsd", "scheduler", "apiServer", "dagProcessor", "triggerer", "workers"}
KINDS = {
    "Namespace": models.V1Namespace,
    "ServiceAccount": models.V1ServiceAccount,
    "ClusterRoleBinding": models.V1ClusterRoleBinding,
    "ConfigMap": models.V1ConfigMap,
    "NetworkPolicy": models.V1NetworkPolicy,
    "Role": models.V1Role,
    "RoleBinding": models.V1RoleBinding,
    "Pod": models.V1Pod,
    "Service": models.V1Service,
    "Deployment": models.V1Deployment,
}


def faults(value: Any, kind: str, where: str) -> list[str]:
    """What Kubernetes' API does not know in an object, or knows with another type."""
    if kind.startswith("list["):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [fault for i, one in enumerate(value) for fault in faults(one, kind[5:-1], f"{where}[{i}]")]
    # Newer clients write dict[str, str], older ones dict(str, str).
    if kind.startswith(("dict[", "dict(")):
        of = kind[5:-1].split(", ")[1]
        if not isinstance(value, dict):
            return [f"{where} is no mapping"]
        return [fault for name, one in value.items() for fault in faults(one, of, f"{where}.{name}")]
    plain: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "bool": bool, "object": (str, int)}
    if kind in plain:
        good = isinstance(value, plain[kind]) and (kind == "bool" or not isinstance(value, bool))
        return [] if good else [f"{where} is no {kind}"]
    model = getattr(models, kind)
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    found = [f"{where}.{name} is not known" for name in value if name not in names]
    for name, one in value.items():
        if name in names:
            found += faults(one, model.openapi_types[names[name]], f"{where}.{name}")
    return found


def pod(variant: str | None) -> dict[str, Any]:
    """The pod of a task."""
    found: dict[str, Any] = yaml.safe_load(deployed.values(variant)["podTemplate"])
    return found


def containers(variant: str | None) -> list[dict[str, Any]]:
    """All of a pod's."""
    spec = pod(variant)["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def test_the_models_notice_what_is_wrong() -> None:
    """A field of no such name and a value of another type are faults, at any depth."""
    wrong = {"metadata": {"nam": "x"}, "spec": {"containers": [{"name": "x", "env": {}}], "hostIPC": "yes"}}
    assert faults(wrong, "V1Pod", "pod") == [
        "pod.metadata.nam is not known",
        "pod.spec.containers[0].env is no list",
        "pod.spec.hostIPC is no bool",
    ]


def test_every_manifest_is_an_object_of_kubernetes() -> None:
    """Each has a known kind and version, the API's fields, and a place in Airflow's or reveal's namespace."""
    for one in deployed.manifests():
        assert faults(one, KINDS[one["kind"]].__name__, one["kind"]) == []
        group = dict.fromkeys(("ClusterRoleBinding", "Role", "RoleBinding"), "rbac.authorization.k8s.io/v1")
        group |= {"NetworkPolicy": "networking.k8s.io/v1", "Deployment": "apps/v1"}
        assert one["apiVersion"] == group.get(one["kind"], "v1")
        scoped = one["kind"] not in ("Namespace", "ClusterRoleBinding")
        assert one["metadata"].get("namespace") in (("airflow", "xcom-reveal") if scoped else (None,))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pod_of_a_task_is_one_that_kubernetes_takes(variant: str | None) -> None:
    """Known fields only, the container's name as Airflow wants it, a volume for each mount and no other."""
    found = pod(variant)
    assert faults(found, "V1Pod", "pod") == []
    assert [one["name"] for one in found["spec"]["containers"]] == ["base"]
    mounted = {mount["name"] for one in containers(variant) for mount in one["volumeMounts"]}
    assert mounted == {volume["name"] for volume in found["spec"]["volumes"]}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_task_has_no_more_than_its_own_account(variant: str | None) -> None:
    """No token of the cluster's API, not root, no secret of Airflow's, by default an account without rights."""
    spec = pod(variant)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["serviceAccountName"] == deployed.values()["workers"]["kubernetes"]["serviceAccount"]["name"]
    assert "secretKeyRef" not in json.dumps(spec)
    assert not any("secret" in volume for volume in spec["volumes"])
    for one in containers(variant):
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["securityContext"]["allowPrivilegeEscalation"] is False


def test_every_image_is_named_by_digest() -> None:
    """In pods and in the chart's values; ours is a placeholder, and the same one everywhere."""
    ours = deployed.values()["images"]["airflow"]
    for variant in VARIANTS:
        for one in containers(variant):
            assert DIGEST.match(one["image"]), one["image"]
            if one["name"] == "base":
                assert one["image"] == f"{ours['repository']}@{ours['digest']}"
            else:
                assert one["image"] == deployed.images_env()["VAULT_IMAGE"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_executor_keeps_the_image_that_is_named_by_digest(
    variant: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With our values the executor's own code makes a pod with the template's image, and puts no tag over it."""
    from airflow.providers.cncf.kubernetes.kube_config import KubeConfig
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

    options = deployed.values(variant)["config"]["kubernetes_executor"]
    # Left out, the chart would fill them in.
    assert {"worker_container_repository", "worker_container_tag"} <= set(options)
    for name, value in options.items():
        monkeypatch.setenv(f"AIRFLOW__KUBERNETES_EXECUTOR__{name.upper()}", value)
    base = PodGenerator.deserialize_model_dict(pod(variant))
    made = PodGenerator.construct_pod(
        dag_id="risk_daily",
        task_id="t",
        pod_id="p",
        try_number=1,
        kube_image=KubeConfig().kube_image,
        date=None,
        args=["airflow"],
        pod_override_object=None,
        base_worker_pod=base,
        namespace="airflow",
        scheduler_job_id="1",
    )
    assert [one.image for one in made.spec.containers] == [base.spec.containers[0].image]


def test_nobody_but_the_scheduler_may_start_pods() -> None:
    """The chart's own role, which tasks and the triggerer hold too, is not made; ours names one account."""
    found = deployed.values()
    assert found["allowPodLaunching"] is False
    (binding,) = [one for one in deployed.manifests() if one["kind"] == "RoleBinding"]
    (role,) = [one for one in deployed.manifests() if one["kind"] == "Role"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [one["name"] for one in binding["subjects"]] == [found["scheduler"]["serviceAccount"]["name"]]
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"pods", "pods/log", "events"}


def test_the_values_are_parameters_of_the_chart() -> None:
    """Names at the top are those of the chart, which test_deploy_rendered.py holds all of it against."""
    for variant in VARIANTS:
        assert set(deployed.values(variant)) == PARAMETERS


def test_no_secret_stands_in_the_values() -> None:
    """Secrets are named and never written; no user and no database with a known password is made."""
    found = deployed.values()
    for name in ("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName"):
        assert re.fullmatch(r"airflow-[a-z-]+", found[name])
    assert found["data"] == {"metadataSecretName": "airflow-metadata"}
    assert (
        found["createUserJob"]["enabled"] is found["postgresql"]["enabled"] is found["redis"]["enabled"] is False
    )


def test_every_setting_of_ours_exists() -> None:
    """The section is taken by our own parser, and the access policy lies where components and pods mount it."""
    found = deployed.values()
    settings = Settings.parse(found["config"]["secure_xcom"])
    assert settings.access_policy
    folder = os.path.dirname(settings.access_policy)
    assert [mount["mountPath"] for mount in found["volumeMounts"]] == [folder]
    for variant in VARIANTS:
        base = pod(variant)["spec"]["containers"][0]
        assert folder in [mount["mountPath"] for mount in base["volumeMounts"]]
        assert deployed.unknown_settings(deployed.values(variant)["podTemplate"]) == set()
    assert found["config"]["core"]["xcom_backend"] == "secure_xcom.SecureXComBackend"


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_an_access_policy_is_clean_and_its_accounts_are_made(path: Path) -> None:
    """Nothing for lint or the compiler to remark; its service accounts are in the manifests, its roles on them."""
    assert list(lint(path.read_bytes(), where=path.name)) == []
    policy = AccessPolicy.load(str(path))
    assert compile_policy(policy).notes == []
    gke = path.stem.endswith("gke")
    file = "service-accounts-workload-identity.yaml" if gke else "service-accounts-irsa.yaml"
    made = {
        one["metadata"]["name"]: one["metadata"]["annotations"]
        for one in yaml.safe_load_all((HELM / "manifests" / file).read_text())
    }
    placed = {own["tasks_run_on"]["service_account"] for own in yaml.safe_load(path.read_text())["compartments"]}
    assert placed == set(made) == {identity.name for identity in policy.identities if identity.workers_of}
    for raw in yaml.safe_load(path.read_text())["identities"]:
        if "workers_of" not in raw:
            continue
        # The pod logs in to the role that has its account's name.
        assert raw.get("vault", {"service_accounts": [raw["name"]]})["service_accounts"] == [raw["name"]]
        if gke:
            assert (
                raw["google"]["member"] == f"serviceAccount:{made[raw['name']]['iam.gke.io/gcp-service-account']}"
            )
        else:
            assert raw["aws"]["principal"] == made[raw["name"]]["eks.amazonaws.com/role-arn"]


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_every_account_that_is_shipped_has_an_owner(path: Path) -> None:
    """Airflow's own accounts, and the pod template's, are somebody's places, so that no DAG may name them."""
    values = yaml.safe_load((HELM / "values.yaml").read_text())
    shipped = {
        values[component]["serviceAccount"]["name"]
        for component in ("scheduler", "apiServer", "dagProcessor", "triggerer")
    }
    shipped.add(values["workers"]["kubernetes"]["serviceAccount"]["name"])
    shipped |= {
        one["metadata"]["name"]
        for file in (HELM / "manifests").glob("*.yaml")
        for one in yaml.safe_load_all(file.read_text())
        if one["kind"] == "ServiceAccount" and one["metadata"].get("namespace", "airflow") == "airflow"
    }
    policy = AccessPolicy.load(str(path))
    for found in (placement(policy, "anything"), placement(policy, "risk_x")):
        for account in shipped - {found.places["service_account"]}:
            with pytest.raises(PlacementRefused):
                found.check({"service_account": account}, "task t")
    assert shipped == {value for _, field, value, _ in every_place(policy) if field == "service_account"}


def test_the_kubernetes_variant_has_the_connection_of_its_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection of the key URIs is in the pod and logs in as its account, by a token for Vault alone."""
    spec = pod("vault-kubernetes")["spec"]
    env = {one["name"]: one for one in spec["containers"][0]["env"]}
    assert list(env).index("XCOM_SERVICE_ACCOUNT") < list(env).index("AIRFLOW_CONN_VAULT_XCOM")
    assert env["XCOM_SERVICE_ACCOUNT"]["valueFrom"] == {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}
    connection = json.loads(env["AIRFLOW_CONN_VAULT_XCOM"]["value"])
    assert connection["extra"]["auth_type"] == "kubernetes"
    assert connection["extra"]["kubernetes_role"] == "$(XCOM_SERVICE_ACCOUNT)"
    monkeypatch.setenv("AIRFLOW_CONN_VAULT_XCOM", json.dumps(connection))
    server = token_source("vault_xcom").server
    assert (server.address, server.verify) == ("https://vault.vault.svc:8200", "/etc/vault-ca/ca.pem")
    (token,) = [volume for volume in spec["volumes"] if volume["name"] == "vault-token"]
    (source,) = token["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "vault"
    assert connection["extra"]["kubernetes_jwt_path"] == "/var/run/secrets/vault/token"
    for name in ("vault", "gke"):
        assert "vault://vault_xcom/" in (HELM / f"access_policy_{name}.yaml").read_text()


def test_the_agent_variant_reads_the_token_that_the_agent_writes() -> None:
    """The agent logs in as the pod's account, by its own projected token; the task sees only the agent's file."""
    spec = pod("vault-agent")["spec"]
    (agent,) = spec["initContainers"]
    (base,) = spec["containers"]
    assert agent["restartPolicy"] == "Always"
    env = {one["name"]: one.get("value") for one in base["env"]}
    text = (HELM / "manifests/vault-agent.yaml").read_text()
    assert f'path = "{env["VAULT_TOKEN_FILE"]}"' in text
    assert f'address = "{env["VAULT_ADDR"]}"' in text
    assert env["VAULT_TOKEN_FILE"] in agent["startupProbe"]["exec"]["command"]
    assert 'role       = "SERVICE_ACCOUNT"' in text
    assert "vault-login" not in {mount["name"] for mount in base["volumeMounts"]}
    assert "vault://default/" in (HELM / "access_policy_vault_agent.yaml").read_text()
