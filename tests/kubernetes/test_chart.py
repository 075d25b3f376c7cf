"""The chart of Airflow with the values of deploy/helm, installed by helm on the cluster: `make test-chart`.

``SECURE_XCOM_TEST_AIRFLOW_CHART`` is the chart as a folder or package; `helm` and `kubectl` are on PATH. It is a
target of its own, because the other tests have an Airflow in the same namespace. The tests run in their order.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support.kubernetes.forwarder import forwarder
from tests.support.kubernetes.node_files import ADDRESS
from tests.support.kubernetes.release import AGENT, CHART, COMPONENTS, IRSA, Release
from tests.support.kubernetes.release import release as installed
from tests.support.kubernetes.site import NAMESPACE, Services
from tests.support.servers.kms_double import KmsDouble

KMS_PORT = 8500
pytestmark = [
    pytest.mark.skipif(not CHART, reason="SECURE_XCOM_TEST_AIRFLOW_CHART names no chart"),
    pytest.mark.skipif(
        not shutil.which("helm") or not shutil.which("kubectl"), reason="no helm or kubectl on PATH"
    ),
]


@pytest.fixture(scope="module")
def release(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The chart with `values-vault-kubernetes.yaml`."""
    with installed(services, tmp_path_factory.mktemp("release")) as made:
        yield made


def sealed(release: Release, dag_id: str, run_id: str) -> set[str]:
    """Return the URIs of the keys in the rows of a run. There is a row at least, each of an object of finance."""
    rows = release.rows("SELECT value FROM xcom WHERE dag_id = :dag AND run_id = :run", dag=dag_id, run=run_id)
    assert rows
    assert all(value["head"]["object"].startswith("s3://xcom/sealed/finance/") for (value,) in rows)
    return {key["uri"].partition("?")[0] for (value,) in rows for key in value["keys"]}


def audiences(pod: Any) -> dict[str, set[str]]:
    """Return whom the tokens are for that each container of a pod can read."""
    tokens = {
        volume.name: {one.service_account_token.audience for one in volume.projected.sources}
        for volume in pod.spec.volumes
        if volume.projected
    }
    containers = [*pod.spec.containers, *(pod.spec.init_containers or ())]
    return {
        one.name: {audience for mount in one.volume_mounts for audience in tokens.get(mount.name, ())}
        for one in containers
    }


def test_every_component_is_ready(release: Release) -> None:
    """Scheduler, API server, DAG processor and triggerer, each with the account of the values."""
    pods = release.cluster.core.list_namespaced_pod(NAMESPACE).items
    accounts = {pod.spec.service_account_name for pod in pods if pod.status.phase == "Running"}
    assert set(COMPONENTS) <= accounts


def test_finance_pushes_and_marketing_reads(release: Release) -> None:
    """The rows are sealed references, and each pod had its compartment's account and a token for each service."""
    for dag_id, run_id in (("finance_daily", "daily"), ("marketing_reads", "reads")):
        release.trigger(dag_id, run_id)
        release.succeed(dag_id, run_id)
        pods = release.pods(dag_id, run_id)
        assert {pod.spec.service_account_name for pod in pods} == {f"xcom-{dag_id.partition('_')[0]}"}
        assert all(audiences(pod) == {"base": {"vault", "sts.amazonaws.com"}} for pod in pods)
    assert sealed(release, "finance_daily", "daily") == {"vault://vault_xcom/transit/keys/xcom-finance"}
    assert dict(release.notes("marketing_reads", "reads")) == {"total": 42, "not shared": "AccessRefused"}


def test_check_in_the_schedulers_pod(release: Release) -> None:
    """It says which connections exist in task pods only, and finds no error."""
    done = release.in_scheduler("secure-xcom", "check")
    print(done.stdout[-4000:])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "pod" in done.stdout


@pytest.mark.parametrize(("account", "phase"), [("xcom-finance", "Succeeded"), ("xcom-marketing", "Failed")])
def test_check_in_a_pod_of_the_template(release: Release, account: str, phase: str) -> None:
    """As a task of finance: its own account may wrap and put, and another team's is refused."""
    core, name = release.cluster.core, f"check-{account}"
    pod = yaml.safe_load(
        core.read_namespaced_config_map("airflow-config", NAMESPACE).data["pod_template_file.yaml"]
    )
    pod["metadata"] |= {"name": name, "namespace": NAMESPACE}
    pod["spec"]["serviceAccountName"] = account
    pod["spec"]["containers"][0]["args"] = ["secure-xcom", "check", "--dag", "finance_daily"]
    release.cluster.apply(pod)

    def ended() -> str:
        found = str(core.read_namespaced_pod(name, NAMESPACE).status.phase)
        return found if found in ("Succeeded", "Failed") else ""

    release.until(lambda: ended() != "", f"{name} ends")
    said = core.read_namespaced_pod_log(name, NAMESPACE, container="base")
    print(said)
    assert ended() == phase, said
    assert ("a data key was wrapped and unwrapped" in said) == (phase == "Succeeded")
    assert ("an object was written and read" in said) == (phase == "Succeeded")


@pytest.mark.parametrize("account", [*COMPONENTS, "airflow-no-compartment", "xcom-finance", "xcom-marketing"])
def test_only_the_scheduler_creates_pods(release: Release, account: str) -> None:
    """The API server says who may, whatever the chart's own roles are."""
    who = f"system:serviceaccount:{NAMESPACE}:{account}"
    answer = release.run("kubectl", "auth", "can-i", "create", "pods", "--as", who, "-n", NAMESPACE)
    assert answer.stdout.strip() == ("yes" if account == "airflow-scheduler" else "no")


def test_an_upgrade_and_a_rollback_lose_nothing(release: Release) -> None:
    """Runs that are under way while the release changes end right, and what was sealed before opens after."""
    release.trigger("finance_ways", "upgraded")
    release.install(logging_level="DEBUG")
    release.succeed("finance_ways", "upgraded")
    release.trigger("marketing_ways", "rolled-back")
    release.do("helm", "rollback", "airflow", "1", "--namespace", NAMESPACE)
    release.wait()
    release.succeed("marketing_ways", "rolled-back")
    release.trigger("marketing_reads", "after")
    release.succeed("marketing_reads", "after")


def test_the_agent_logs_in_for_the_task(release: Release) -> None:
    """A sidecar of OpenBao has the token for Vault, and the task reads what Vault gave for it."""
    release.install(AGENT)
    release.trigger("finance_daily", "agent")
    release.succeed("finance_daily", "agent")
    assert sealed(release, "finance_daily", "agent") == {"vault://default/transit/keys/xcom-finance"}
    for pod in release.pods("finance_daily", "agent"):
        assert pod.spec.service_account_name == "xcom-finance"
        assert audiences(pod) == {"base": {"sts.amazonaws.com"}, "vault-agent": {"vault"}}


def test_a_pod_has_keys_and_bucket_by_its_web_identity_alone(release: Release) -> None:
    """values.yaml alone: the STS gives passing keys for the pod's token, for the bucket and for a KMS double."""
    with KmsDouble() as kms, forwarder((ADDRESS, KMS_PORT), ("127.0.0.1", int(urlsplit(kms.endpoint).port or 0))):
        for team in ("finance", "marketing", "upkeep"):
            kms.alias(f"xcom-{team}", kms.create_key("us-east-1"))
        release.install(IRSA, AWS_ENDPOINT_URL_KMS=f"http://{ADDRESS}:{KMS_PORT}")
        release.trigger("finance_daily", "irsa")
        release.succeed("finance_daily", "irsa")
        assert {"Encrypt", "Decrypt"} <= set(kms.count)
    assert sealed(release, "finance_daily", "irsa") == {"aws-kms://default/alias/xcom-finance"}
    for pod in release.pods("finance_daily", "irsa"):
        assert pod.spec.service_account_name == "xcom-finance"
        assert audiences(pod) == {"base": {"sts.amazonaws.com"}}
        names = {one.name for one in pod.spec.containers[0].env}
        assert names.isdisjoint({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "VAULT_TOKEN_FILE", "VAULT_ADDR"})
