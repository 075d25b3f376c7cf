"""The chart of Airflow with the values of deploy/helm, installed by helm on the cluster: `make test-chart`.

``SECURE_XCOM_TEST_AIRFLOW_CHART`` is the chart as a folder or package; `helm` and `kubectl` are on PATH. It is a
target of its own, because the other tests have an Airflow in the same namespace.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml
from cryptography.fernet import Fernet

from tests.support.kubernetes.forwarder import forwarder
from tests.support.kubernetes.manifests import HELM
from tests.support.kubernetes.node_files import ADDRESS
from tests.support.kubernetes.site import AUDIT_SINK, DATABASE_PORT, NAMESPACE, Services, template
from tests.support.servers.postgres_server import postgres_server

CHART = os.environ.get("SECURE_XCOM_TEST_AIRFLOW_CHART")
NO_IMAGE = ("registry.example.com/secure-xcom-airflow", f"sha256:{'0' * 64}")
COMPONENTS = ("airflow-api-server", "airflow-dag-processor", "airflow-scheduler", "airflow-triggerer")
pytestmark = [
    pytest.mark.skipif(not CHART, reason="SECURE_XCOM_TEST_AIRFLOW_CHART names no chart"),
    pytest.mark.skipif(
        not shutil.which("helm") or not shutil.which("kubectl"), reason="no helm or kubectl on PATH"
    ),
]


@dataclass
class Release:
    """The chart, installed."""

    services: Services
    folder: Path
    database: sqlalchemy.Engine
    seed: str

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `helm` or `kubectl` as somebody who may do everything."""
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        return subprocess.run(
            words, env={**kept, "KUBECONFIG": str(self.services.cluster.kubeconfig)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def do(self, *words: str) -> str:
        """Run it, and show the pods where it fails."""
        done = self.run(*words)
        if done.returncode:
            pods = self.run("kubectl", "-n", NAMESPACE, "get", "pods", "-o", "wide")
            raise AssertionError(f"{' '.join(words)}: {done.stderr[-2000:]}{done.stdout[-1000:]}\n{pods.stdout}")
        return done.stdout

    def install(self, **more: Any) -> None:
        """Install or upgrade, as the quickstart does."""
        files = [*self._shipped("values", "values-vault-kubernetes"), self._here(more)]
        self.do(
            *("helm", "upgrade", "--install", "airflow", str(CHART), "--namespace", NAMESPACE),
            *(word for file in files for word in ("--values", str(file))),
        )
        self.wait()

    def wait(self) -> None:
        """Wait until each component is the one of the newest revision and ready.

        `helm --wait` would wait for ever: the chart's hook, which migrates the database, comes after it.
        """
        for component in COMPONENTS:
            words = ("rollout", "status", f"deployment/{component}", "--timeout", "20m")
            self.do("kubectl", "-n", NAMESPACE, *words)

    def in_scheduler(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the scheduler's pod."""
        pod = ("kubectl", "-n", NAMESPACE, "exec", "deployment/airflow-scheduler", "-c", "scheduler", "--")
        return self.run(*pod, *words)

    def trigger(self, dag_id: str, run_id: str) -> None:
        """Start a run."""
        self.services.cluster.until(lambda: self.rows("SELECT 1 FROM dag WHERE dag_id = :dag", dag=dag_id) != [],
                                    f"the DAG {dag_id} is parsed", timeout=600)  # fmt: skip
        done = self.in_scheduler("airflow", "dags", "trigger", dag_id, "--run-id", run_id)
        assert done.returncode == 0, done.stderr[-3000:]

    def ended(self, dag_id: str, run_id: str) -> str:
        """Wait for the end of a run; return its state."""

        def state() -> str:
            found = self.rows(
                "SELECT state FROM dag_run WHERE dag_id = :dag AND run_id = :run", dag=dag_id, run=run_id
            )
            return str(found[0][0]) if found else ""

        until = self.services.cluster.until
        until(lambda: state() in ("success", "failed"), f"{dag_id} {run_id} ends", timeout=900)
        return state()

    def rows(self, statement: str, **values: str) -> list[tuple[Any, ...]]:
        """Ask the metadata database."""
        with self.database.begin() as connection:
            return [tuple(row) for row in connection.execute(sqlalchemy.text(statement), values)]

    def _shipped(self, *names: str) -> list[Path]:
        """Return the product's values, with this cluster's image."""
        image = self.services.cluster.images["airflow"].by_digest.split("@")
        files = []
        for name in names:
            text = (HELM / f"{name}.yaml").read_text()
            for shown, real in zip(NO_IMAGE, image, strict=True):
                text = text.replace(shown, real)
            files.append(self.folder / f"{name}.yaml")
            files[-1].write_text(text)
        return files

    def _here(self, more: dict[str, Any]) -> Path:
        """Return what this cluster needs more: S3 by its own STS, and what the stand-in image does not have."""
        no_groomer = {"logGroomerSidecar": {"enabled": False}}
        core = {
            "auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
            "simple_auth_manager_all_admins": "True",
            "dags_are_paused_at_creation": "False",
            "dagbag_import_timeout": "120",
        }
        values = {
            "podTemplate": yaml.safe_dump(template(self.services, self.seed)),
            "config": {
                "core": core,
                "secure_xcom": {"audit_sinks": AUDIT_SINK},
                "dag_processor": {"dag_file_processor_timeout": "300"},
                "kubernetes_executor": {"delete_worker_pods": "False"},
                "workers": {"min_heartbeat_interval": "1", "execution_api_timeout": "60"},
                **more,
            },
            "scheduler": no_groomer,
            "dagProcessor": no_groomer,
            "triggerer": {**no_groomer, "persistence": {"enabled": False}},
            "apiServer": {"startupProbe": {"failureThreshold": 60}},
        }
        file = self.folder / "here.yaml"
        file.write_text(yaml.safe_dump(values))
        return file


def _secret(name: str, **values: str) -> dict[str, Any]:
    data = {key.replace("_", "-"): value for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": data,
    }


@pytest.fixture(scope="module")
def release(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The chart, installed with its secrets; what the other tests put in its place is removed first."""
    cluster = services.cluster
    for account in ("airflow-scheduler", "airflow-no-compartment"):
        cluster.core.delete_namespaced_service_account(account, NAMESPACE)
    cluster.core.delete_namespaced_config_map("airflow-config", NAMESPACE)
    with postgres_server() as postgres:
        url = sqlalchemy.make_url(postgres.new_database())
        with forwarder((ADDRESS, DATABASE_PORT), ("127.0.0.1", int(url.port or 0))):
            inside = url.set(drivername="postgresql", host=ADDRESS, port=DATABASE_PORT)
            cluster.apply(
                _secret("airflow-metadata", connection=inside.render_as_string(hide_password=False)),
                _secret("airflow-fernet-key", fernet_key=Fernet.generate_key().decode()),
                _secret("airflow-api-secret-key", api_secret_key=base64.b64encode(os.urandom(32)).decode()),
                _secret("airflow-jwt-secret", jwt_secret=base64.b64encode(os.urandom(32)).decode()),
            )
            engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
            made = Release(services, tmp_path_factory.mktemp("release"), engine, os.urandom(8).hex())
            made.install()
            yield made


def test_every_component_is_ready(release: Release) -> None:
    """Scheduler, API server, DAG processor and triggerer, each with the account of the values."""
    pods = release.services.cluster.core.list_namespaced_pod(NAMESPACE).items
    accounts = {pod.spec.service_account_name for pod in pods if pod.status.phase == "Running"}
    assert set(COMPONENTS) <= accounts


def test_finance_pushes_and_marketing_reads(release: Release) -> None:
    """The rows are sealed references, and each pod had its compartment's account."""
    release.trigger("finance_daily", "daily")
    assert release.ended("finance_daily", "daily") == "success"
    release.trigger("marketing_reads", "reads")
    assert release.ended("marketing_reads", "reads") == "success"
    rows = release.rows("SELECT value FROM xcom WHERE dag_id = 'finance_daily'")
    assert rows
    assert all(value["head"]["object"].startswith("s3://xcom/sealed/finance/") for (value,) in rows)
    pods = release.services.cluster.core.list_namespaced_pod(NAMESPACE).items
    tasks = [pod for pod in pods if (pod.metadata.labels or {}).get("component") == "worker"]
    assert {pod.spec.service_account_name for pod in tasks} == {"xcom-finance", "xcom-marketing"}


def test_check_in_the_schedulers_pod(release: Release) -> None:
    """It says which connections exist in task pods only, and finds no error."""
    done = release.in_scheduler("secure-xcom", "check")
    print(done.stdout[-4000:])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "pod" in done.stdout


@pytest.mark.parametrize("account", [*COMPONENTS, "airflow-no-compartment", "xcom-finance", "xcom-marketing"])
def test_only_the_scheduler_creates_pods(release: Release, account: str) -> None:
    """The API server says who may, whatever the chart's own roles are."""
    who = f"system:serviceaccount:{NAMESPACE}:{account}"
    answer = release.run("kubectl", "auth", "can-i", "create", "pods", "--as", who, "-n", NAMESPACE)
    assert answer.stdout.strip() == ("yes" if account == "airflow-scheduler" else "no")


def test_an_upgrade_and_a_rollback_lose_nothing(release: Release) -> None:
    """Runs that are under way while the release changes end right, and what was sealed before opens after."""
    release.trigger("finance_ways", "upgraded")
    release.install(logging={"logging_level": "DEBUG"})
    assert release.ended("finance_ways", "upgraded") == "success"
    release.trigger("marketing_ways", "rolled-back")
    release.do("helm", "rollback", "airflow", "1", "--namespace", NAMESPACE)
    release.wait()
    assert release.ended("marketing_ways", "rolled-back") == "success"
    release.trigger("marketing_reads", "after")
    assert release.ended("marketing_reads", "after") == "success"
