"""Where tasks run in pods of their own, check says what only those have, and tries only what it can reach."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.findings import Finding
from secure_xcom.ops.checks.task_pods import TaskPods, findings, of_this_airflow, only_in_pods
from tests.support.deployed import HELM

POLICY = AccessPolicy.load(str(HELM / "access_policy_vault.yaml"))
IRSA = AccessPolicy.load(str(HELM / "access_policy_irsa.yaml"))
USES = {"vault_xcom": ["the keys of risk"]}


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's own logins are not those of a component."""
    for name in ("AIRFLOW_CONN_VAULT_XCOM", "AWS_ROLE_ARN", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "VAULT_ADDR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """The shipped pod template, where the chart would mount it."""
    path = tmp_path / "pod_template_file.yaml"
    path.write_text(yaml.safe_load((HELM / "values-vault-kubernetes.yaml").read_text())["podTemplate"])
    return path


def options(executor: str, template: object = "", **more: str) -> Callable[[str, str], str | None]:
    """Airflow's configuration, as far as it matters."""
    known = {"core.executor": executor, "kubernetes_executor.pod_template_file": str(template), **more}
    return lambda section, name: known.get(f"{section}.{name}")


def test_a_component_tells_which_connections_only_pods_of_tasks_have(template: Path) -> None:
    """The template sets the connection of the keys; compartments that use it are named with their accounts."""
    pods = of_this_airflow(options("KubernetesExecutor", template), {})
    assert pods is not None
    assert pods.only
    assert only_in_pods(POLICY, pods) == POLICY.compartments
    first, second = findings(pods, POLICY.compartments, USES)
    assert (first.subject, first.status) == ("task pods", "ok")
    assert "risk (service account xcom-risk), sandbox (service account xcom-sandbox)" in first.text
    text = f"of the keys of risk exists only in pods of tasks: {template} sets AIRFLOW_CONN_VAULT_XCOM"
    assert second == Finding("connection vault_xcom", "ok", text)


def test_a_connection_that_no_task_can_find_is_an_error(template: Path) -> None:
    """Neither the component nor the template has it, and no secrets backend is configured."""
    text = template.read_text().replace("AIRFLOW_CONN_VAULT_XCOM", "AIRFLOW_CONN_VAULT_XCON")
    template.write_text(text)
    pods = of_this_airflow(options("KubernetesExecutor", template), {})
    assert pods is not None
    (found,) = findings(pods, (), USES)
    assert (found.status, found.remedy) == (
        "error",
        "set AIRFLOW_CONN_VAULT_XCOM for the container 'base' of the pod template",
    )
    backend = {"workers.secrets_backend": "airflow.secrets.local_filesystem.LocalFilesystemBackend"}
    with_backend = of_this_airflow(options("KubernetesExecutor", template, **backend), {})
    assert with_backend is not None
    (found,) = findings(with_backend, (), USES)
    assert found.status == "ok"
    assert "may come from elsewhere" in found.text


def test_where_the_template_cannot_be_read_the_scheduler_is_named(tmp_path: Path) -> None:
    """The API server's configuration names the file, but only the scheduler has it."""
    pods = of_this_airflow(options("KubernetesExecutor", tmp_path / "none.yaml"), {})
    assert pods is not None
    (found,) = findings(pods, (), USES)
    assert found.status == "ok"
    assert "check shows more in the scheduler's pod" in found.text


@pytest.mark.parametrize(
    ("executor", "environment"),
    [
        ("LocalExecutor", {}),
        ("CeleryExecutor", {}),
        ("", {}),
        ("KubernetesExecutor", {"AIRFLOW_IS_K8S_EXECUTOR_POD": "True"}),
    ],
)
def test_elsewhere_everything_is_tried_as_before(executor: str, environment: dict[str, str]) -> None:
    """In a task's pod, and where no pods are started, a missing login is a fault and stays one."""
    assert of_this_airflow(options(executor), environment) is None


def test_only_compartments_with_an_account_run_in_pods_beside_another_executor() -> None:
    """A Celery worker's own compartment is tried there, whatever runs in pods."""
    pods = of_this_airflow(options("CeleryExecutor,KubernetesExecutor"), {})
    assert pods is not None
    assert not pods.only
    assert only_in_pods(POLICY, pods) == POLICY.compartments
    text = (HELM / "access_policy_vault.yaml").read_text()
    queued = AccessPolicy.parse(text.replace("{service_account: xcom-risk}", "{queue: risk}").encode(), where="p")
    assert [own.name for own in only_in_pods(queued, pods)] == ["sandbox"]


def test_a_process_with_a_login_tries_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role, or the connection itself, makes keys reachable: then they are checked as everywhere."""
    pods = TaskPods("t.yaml", frozenset(), more=False, only=True)
    assert only_in_pods(IRSA, pods) == IRSA.compartments
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/xcom-risk-pods")
    assert only_in_pods(IRSA, pods) == ()
    assert only_in_pods(POLICY, pods) == POLICY.compartments
    monkeypatch.setenv("AIRFLOW_CONN_VAULT_XCOM", json.dumps({"conn_type": "vault"}))
    assert only_in_pods(POLICY, pods) == ()


def test_check_in_the_scheduler_finds_no_fault(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the shipped files and without any login, the command tries no key, no bucket, and ends well."""
    values = yaml.safe_load((HELM / "values.yaml").read_text())
    settings = {
        "CORE__EXECUTOR": values["executor"],
        "CORE__XCOM_BACKEND": values["config"]["core"]["xcom_backend"],
        "SECURE_XCOM__ACCESS_POLICY": str(HELM / "access_policy_vault.yaml"),
        "SECURE_XCOM__AUDIT_SINKS": values["config"]["secure_xcom"]["audit_sinks"],
        "KUBERNETES_EXECUTOR__POD_TEMPLATE_FILE": str(template),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/none.db",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"AIRFLOW__{name}", value)
    result = CliRunner().invoke(app, ["check", "--json"])
    told = json.loads(result.stdout)
    assert {one["subject"]: one["text"] for one in told["findings"] if one["status"] == "error"} == {}
    subjects = {one["subject"] for one in told["findings"]}
    assert {"task pods", "connection vault_xcom", "access log s3://example-xcom-audit/access-log"} <= subjects
    assert not any(subject.startswith(("key ", "store ", "wrap ")) for subject in subjects)
