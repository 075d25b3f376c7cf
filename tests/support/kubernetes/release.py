"""The chart of Airflow, installed by helm with a variant of the values of ``deploy/helm``."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
import yaml
from cryptography.fernet import Fernet

from tests.support.kubernetes.forwarder import forwarder
from tests.support.kubernetes.manifests import HELM, config_map, shipped
from tests.support.kubernetes.node_files import ADDRESS
from tests.support.kubernetes.s3_node import HTTPS
from tests.support.kubernetes.site import (
    AUDIT_SINK,
    DATABASE_PORT,
    NAMESPACE,
    POLICY,
    Deployment,
    Services,
    template,
)
from tests.support.servers.postgres_server import postgres_server

CHART = os.environ.get("SECURE_XCOM_TEST_AIRFLOW_CHART")
COMPONENTS = ("airflow-api-server", "airflow-dag-processor", "airflow-scheduler", "airflow-triggerer")
_NO_IMAGE = ("registry.example.com/secure-xcom-airflow", f"sha256:{'0' * 64}")


@dataclass(frozen=True)
class Variant:
    """A way to log in: the file of ``deploy/helm`` beside values.yaml, and the URIs of keys and stores there."""

    values: str
    key_uri: str
    """Of finance, whose key bears the name of its service account."""
    store_uri: str = f"s3://xcom/sealed?addressing=path&endpoint=https://{ADDRESS}:{HTTPS}"

    @property
    def access_policy(self) -> str:
        """The tests' policy with these URIs."""
        text = POLICY.read_text().replace("s3://s3_xcom@xcom/sealed?addressing=path", self.store_uri)
        text = text.replace("vault://vault_xcom/transit/keys/xcom-finance?grant=scoped", self.key_uri)
        prefix = self.key_uri.partition("xcom-finance")[0]
        return text.replace("vault://vault_xcom/transit/keys/", prefix)


KUBERNETES = Variant(
    "values-vault-kubernetes",
    "vault://vault_xcom/transit/keys/xcom-finance?grant=scoped",
    "s3://s3_xcom@xcom/sealed?addressing=path",
)
AGENT = Variant("values-vault-agent", "vault://default/transit/keys/xcom-finance?grant=scoped")
IRSA = Variant("values", "aws-kms://default/alias/xcom-finance")


@dataclass
class Release(Deployment):
    """The chart, installed."""

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `helm` or `kubectl` as somebody who may do everything."""
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        return subprocess.run(
            words, env={**kept, "KUBECONFIG": str(self.cluster.kubeconfig)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def do(self, *words: str) -> str:
        """Run it, and show the pods where it fails."""
        done = self.run(*words)
        if done.returncode:
            pods = self.run("kubectl", "-n", NAMESPACE, "get", "pods", "-o", "wide")
            raise AssertionError(f"{' '.join(words)}: {done.stderr[-2000:]}{done.stdout[-1000:]}\n{pods.stdout}")
        return done.stdout

    def install(self, variant: Variant = KUBERNETES, *, logging_level: str = "INFO", **environment: str) -> None:
        """Install or upgrade, as the quickstart does.

        :param environment: other variables of tasks.
        """
        self.cluster.core.replace_namespaced_config_map(
            "xcom-access-policy",
            NAMESPACE,
            config_map(NAMESPACE, "xcom-access-policy", **{"access_policy.yaml": variant.access_policy}),
        )
        pod = template(self.services, self.seed, variant.values, **environment)
        names = dict.fromkeys(("values", variant.values))
        files = [*(self._shipped(name) for name in names), self._here(pod, logging_level)]
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
        self.until(
            lambda: self.rows("SELECT 1 FROM dag WHERE dag_id = :dag", dag=dag_id) != [],
            f"the DAG {dag_id} is parsed", 600,
        )  # fmt: skip
        done = self.in_scheduler("airflow", "dags", "trigger", dag_id, "--run-id", run_id)
        assert done.returncode == 0, done.stderr[-3000:]

    def succeed(self, dag_id: str, run_id: str) -> None:
        """Wait for the end of a run.

        :raises AssertionError: it did not succeed.
        """
        self.until(
            lambda: self.state(dag_id, run_id) in ("success", "failed"), f"{dag_id} {run_id} ends", timeout=900
        )
        assert self.state(dag_id, run_id) == "success", self.logs(dag_id, run_id)[-6000:]

    def _shipped(self, name: str) -> Path:
        """Return the product's values, with this cluster's image."""
        image = self.cluster.images["airflow"].by_digest.split("@")
        text = (HELM / f"{name}.yaml").read_text()
        for shown, real in zip(_NO_IMAGE, image, strict=True):
            text = text.replace(shown, real)
        file = self.folder / f"{name}.yaml"
        file.write_text(text)
        return file

    def _here(self, pod: dict[str, Any], logging_level: str) -> Path:
        """Return what this cluster needs more: S3 by its own STS, and what the stand-in image does not have."""
        # A probe by command starts an Airflow, which takes longer than the chart's 20 seconds on a busy machine.
        patient = {"timeoutSeconds": 100, "periodSeconds": 110}
        no_groomer = {"logGroomerSidecar": {"enabled": False}, "livenessProbe": patient}
        core = {
            "auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
            "simple_auth_manager_all_admins": "True",
            "dags_are_paused_at_creation": "False",
            "dagbag_import_timeout": "120",
        }
        values = {
            "podTemplate": yaml.safe_dump(pod),
            "config": {
                "core": core,
                "secure_xcom": {"audit_sinks": AUDIT_SINK},
                "dag_processor": {"dag_file_processor_timeout": "300"},
                "kubernetes_executor": {"delete_worker_pods": "False"},
                "workers": {"min_heartbeat_interval": "1", "execution_api_timeout": "60"},
                "logging": {"logging_level": logging_level},
            },
            "scheduler": {**no_groomer, "startupProbe": {"failureThreshold": 60, "timeoutSeconds": 100}},
            "dagProcessor": no_groomer,
            "triggerer": {**no_groomer, "persistence": {"enabled": False}},
            "apiServer": {"startupProbe": {"failureThreshold": 60}},
        }
        file = self.folder / "here.yaml"
        file.write_text(yaml.safe_dump(values))
        return file


def _secret(name: str, **values: str) -> dict[str, Any]:
    data = {key.replace("_", "-"): value for key, value in values.items()}
    named = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": data}


@contextmanager
def release(services: Services, folder: Path) -> Iterator[Release]:
    """Install the chart with its secrets; what the other tests put in its place is removed first.

    :param folder: a new folder for values.
    """
    cluster = services.cluster
    for account in ("airflow-scheduler", "airflow-no-compartment"):
        cluster.core.delete_namespaced_service_account(account, NAMESPACE)
    cluster.core.delete_namespaced_config_map("airflow-config", NAMESPACE)
    with postgres_server() as postgres:
        url = sqlalchemy.make_url(postgres.new_database())
        with forwarder((ADDRESS, DATABASE_PORT), ("127.0.0.1", int(url.port or 0))):
            inside = url.set(drivername="postgresql+psycopg2", host=ADDRESS, port=DATABASE_PORT)
            cluster.apply(
                _secret("airflow-metadata", connection=inside.render_as_string(hide_password=False)),
                _secret("airflow-fernet-key", fernet_key=Fernet.generate_key().decode()),
                _secret("airflow-api-secret-key", api_secret_key=base64.b64encode(os.urandom(32)).decode()),
                _secret("airflow-jwt-secret", jwt_secret=base64.b64encode(os.urandom(32)).decode()),
                *shipped("vault-agent"),
            )
            engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
            made = Release(services, folder, engine, os.urandom(8).hex())
            made.install()
            yield made
