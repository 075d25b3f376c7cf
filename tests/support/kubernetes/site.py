"""A deployment on the cluster: Airflow's components as processes of the node, each task a pod.

Manifests, pod template and the rights of the scheduler's account are those of ``deploy/helm``. The template has
this image, and what EKS' webhook would write for S3. Vault's roles come from ``secure-xcom policy apply``, the
policies of S3's roles from the compiler."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
import yaml

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from tests.kubernetes.kit import NOTE, SEED
from tests.support.kubernetes import s3_node, vault_pod
from tests.support.kubernetes.cluster import Cluster, NodeCluster
from tests.support.kubernetes.forwarder import forwarder
from tests.support.kubernetes.manifests import config_map, pod_template, shipped
from tests.support.kubernetes.node_files import ADDRESS
from tests.support.kubernetes.within import DAGS
from tests.support.servers.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.servers.postgres_server import postgres_server
from tests.support.servers.s3_server import ACCOUNT, S3Server

NAMESPACE = "airflow"
POLICY = DAGS.parent / "access_policy.yaml"
ACCOUNTS = ("xcom-finance", "xcom-marketing", "xcom-maintenance", "airflow-no-compartment", "airflow-scheduler")
WITH_S3 = ("xcom-finance", "xcom-marketing", "xcom-maintenance")
BUCKET, AUDIT_BUCKET = "xcom", "xcom-audit"
AUDIT_SINK = f"s3://{AUDIT_BUCKET}/access-log?addressing=path&endpoint=https://{ADDRESS}:{s3_node.HTTPS}"
HEARTBEAT_SECONDS = 20
API_PORT = 8080
DATABASE_PORT = 5432
RUN_SECONDS = 240
ONE_OF_EACH_FILE = {
    "finance_ways",
    "marketing_reads",
    "marketing_hostile",
    "marketing_costs_ours",
    "marketing_takes_account",
    "secure_xcom_maintenance",
}
_WEB_IDENTITY = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
_ACCOUNT_OF_POD = {
    "name": "XCOM_SERVICE_ACCOUNT",
    "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}},
}


@dataclass
class VaultSite:
    """OpenBao in a pod, with the roles of the access policy; the namespace with its accounts."""

    cluster: Cluster
    vault: vault_pod.VaultPod
    operator: dict[str, str] = field(repr=False)
    """The environment of somebody who may do everything at Vault."""
    applied: dict[str, str] = field(default_factory=dict)
    """What `policy apply` says it made."""

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `secure-xcom` as an operator."""
        return subprocess.run(
            [str(Path(sys.executable).parent / "secure-xcom"), *words],
            env={**self.operator, **more}, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip


def vault_site(cluster: Cluster, folder: Path) -> VaultSite:
    """Make the namespace with its accounts, and Vault in a pod; apply the access policy.

    :param folder: a new folder for an operator's files.
    """
    cluster.apply(*shipped("namespace"), *shipped("network-policy"))
    cluster.apply(*(_account(name) for name in ACCOUNTS), *shipped("pod-launcher"))
    vault = vault_pod.start(cluster)
    operator = {
        **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        "HOME": str(folder),
        "AIRFLOW_HOME": str(folder / "operator"),
        "VAULT_ADDR": vault.server.address,
        "VAULT_TOKEN": vault.server.token,
        "VAULT_CACERT": str(cluster.ca.cert),
    }
    (folder / "operator").mkdir(exist_ok=True)
    site = VaultSite(cluster, vault, operator)
    done = site.command("policy", "apply", str(POLICY), "--to", "vault", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    site.applied = {step["step"]: step["state"] for step in json.loads(done.stdout)["steps"]}
    return site


def remove(cluster: Cluster) -> None:
    """Take out of somebody's cluster what `vault_site` put there."""
    from kubernetes import client

    made = {NAMESPACE, vault_pod.NAMESPACE, "elsewhere"}
    for namespace in cluster.core.list_namespace().items:
        if namespace.metadata.name in made:
            cluster.core.delete_namespace(namespace.metadata.name)
    client.RbacAuthorizationV1Api(cluster.api).delete_cluster_role_binding("vault-token-reviewer")


@dataclass
class Services:
    """Vault and S3, set up for the access policy."""

    cluster: NodeCluster
    vault: vault_pod.VaultPod
    s3: S3Server
    proxy: FaultyProxy
    command: Callable[..., subprocess.CompletedProcess[str]]

    def objects(self, bucket: str = BUCKET) -> list[str]:
        """Return the keys of a bucket, as its owner lists them."""
        pages = self.s3.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]


@contextmanager
def services(cluster: NodeCluster, at_vault: VaultSite, folder: Path) -> Iterator[Services]:
    """Start S3 on the node, and put what pods need into the namespace.

    :param folder: a new folder for S3's data.
    """
    with s3_node.s3_on_node(cluster, folder, _roles()) as s3, faulty_proxy(s3.endpoint, ADDRESS) as proxy:
        for bucket in (BUCKET, AUDIT_BUCKET):
            s3.client().create_bucket(Bucket=bucket)
        cluster.apply(
            config_map(NAMESPACE, "xcom-access-policy", **{"access_policy.yaml": POLICY.read_text()}),
            config_map(NAMESPACE, "vault-ca", **{"ca.pem": cluster.ca.cert.read_text()}),
            config_map(NAMESPACE, "airflow-config", **{"airflow.cfg": _airflow_cfg()}),
        )
        yield Services(cluster, at_vault.vault, s3, proxy, at_vault.command)


def _account(name: str) -> dict[str, Any]:
    named = {"name": name, "namespace": NAMESPACE}
    return {
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": named, "automountServiceAccountToken": False,
    }  # fmt: skip


def _roles() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return S3's roles: what the compiler says, and the right to write the access log, which is not in there."""
    files = compile_policy(AccessPolicy.load(str(POLICY))).files
    roles = {}
    for name in WITH_S3:
        document = json.loads(files[f"aws/identities/{name}.json"])
        log = {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [f"arn:aws:s3:::{AUDIT_BUCKET}/*"]}
        document["Statement"].append(log)
        roles[name] = (f"{NAMESPACE}:{name}", document)
    return roles


def _airflow_cfg() -> str:
    """What the chart's ConfigMap has for the pods of tasks."""
    sections = {
        "core": {
            "dags_folder": "/opt/airflow/dags",
            "execution_api_server_url": f"http://{ADDRESS}:{API_PORT}/execution/",
            "load_examples": "False",
            "xcom_backend": "secure_xcom.SecureXComBackend",
        },
        "secure_xcom": {
            "access_policy": "/opt/airflow/config/access_policy/access_policy.yaml",
            "audit_sinks": AUDIT_SINK,
        },
        # A busy machine takes longer than 5 seconds for the first answer.
        "workers": {"min_heartbeat_interval": "1", "execution_api_timeout": "60"},
        "usage_data_collection": {"enabled": "False"},
        "logging": {"base_log_folder": "/opt/airflow/logs"},
    }
    lines = []
    for section, options in sections.items():
        # A percent sign is configparser's own.
        lines += [f"[{section}]", *(f"{name} = {value.replace('%', '%%')}" for name, value in options.items()), ""]
    return "\n".join(lines)


def template(
    services: Services, seed: str, values: str = "values-vault-kubernetes", **more: str
) -> dict[str, Any]:
    """Return a shipped pod template with this cluster's images, and with what EKS' webhook adds to pods.

    :param values: the file of ``deploy/helm`` that has it.
    :param more: other variables of the task's container.
    """
    document = copy.deepcopy(pod_template(values))
    spec = document["spec"]
    container = spec["containers"][0]
    for some, image in ((spec["containers"], "airflow"), (spec.get("initContainers", ()), "openbao")):
        for one in some:
            one.update(image=services.cluster.images[image].by_digest, imagePullPolicy="Never")
    connection = {
        "conn_type": "aws",
        "extra": {"endpoint_url": services.proxy.endpoint, "region_name": "us-east-1"},
    }
    if _ACCOUNT_OF_POD not in container["env"]:
        container["env"].append(_ACCOUNT_OF_POD)
    container["env"] += [
        {"name": name, "value": value}
        for name, value in {
            "AIRFLOW_CONN_S3_XCOM": json.dumps(connection),
            "AWS_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/$(XCOM_SERVICE_ACCOUNT)",
            "AWS_WEB_IDENTITY_TOKEN_FILE": f"{_WEB_IDENTITY}/token",
            "AWS_ENDPOINT_URL_STS": f"https://{ADDRESS}:{s3_node.HTTPS}",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            # The private CA of this cluster, for obstore and for botocore.
            "SSL_CERT_FILE": "/etc/vault-ca/ca.pem",
            "AWS_CA_BUNDLE": "/etc/vault-ca/ca.pem",
            SEED: seed,
            **more,
        }.items()
    ]
    token = {"path": "token", "audience": s3_node.AUDIENCE, "expirationSeconds": 3600}
    added: dict[str, tuple[str, dict[str, Any]]] = {
        "aws-iam-token": (_WEB_IDENTITY, {"projected": {"sources": [{"serviceAccountToken": token}]}}),
        "vault-ca": ("/etc/vault-ca", {"configMap": {"name": "vault-ca"}}),
    }
    for name, (path, source) in added.items():
        if name not in {volume["name"] for volume in spec["volumes"]}:
            spec["volumes"].append({"name": name, **source})
            container["volumeMounts"].append({"name": name, "mountPath": path, "readOnly": True})
    return document


@dataclass
class Deployment:
    """A running Airflow whose tasks are pods, wherever its components run."""

    services: Services
    folder: Path
    database: sqlalchemy.Engine
    seed: str

    @property
    def cluster(self) -> NodeCluster:
        """The cluster below."""
        return self.services.cluster

    def state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run; "" where it does not exist."""
        made = self.rows("SELECT state FROM dag_run WHERE dag_id = :dag AND run_id = :run", dag=dag_id, run=run_id)
        return str(made[0][0]) if made else ""

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Ask the metadata database."""
        with self.database.begin() as connection:
            lists: list[Any] = [
                sqlalchemy.bindparam(name, expanding=True)
                for name, value in values.items()
                if isinstance(value, tuple)
            ]
            query = sqlalchemy.text(statement).bindparams(*lists)
            return [tuple(row) for row in connection.execute(query, values)]

    def states(self, dag_id: str, run_id: str) -> dict[str, tuple[str, int]]:
        """Return the state of each task of a run, and how many tries it took."""
        rows = self.rows(
            "SELECT task_id, state, try_number FROM task_instance WHERE dag_id = :dag AND run_id = :run",
            dag=dag_id, run=run_id,
        )  # fmt: skip
        return {task: (state, tries) for task, state, tries in rows}

    def pods(self, dag_id: str, run_id: str, task_id: str = "") -> list[Any]:
        """Return the pods of a run's tasks that are still there, oldest first."""
        items = self.cluster.core.list_namespaced_pod(NAMESPACE).items
        pods = [pod for pod in items if _is_of(pod.metadata.annotations or {}, dag_id, run_id, task_id)]
        return sorted(pods, key=lambda pod: pod.metadata.creation_timestamp)

    def logs(self, dag_id: str, run_id: str, task_id: str = "") -> str:
        """Return what these pods printed."""
        read = self.cluster.core.read_namespaced_pod_log
        answers = [
            # Read whole, the client gives the text as Python would write its bytes.
            read(pod.metadata.name, NAMESPACE, _preload_content=False)
            for pod in self.pods(dag_id, run_id, task_id)
        ]
        return "".join(answer.data.decode(errors="replace") for answer in answers)

    def notes(self, dag_id: str, run_id: str, task_id: str = "") -> list[tuple[str, Any]]:
        """Return what these tasks noted, in order."""
        notes = []
        for line in self.logs(dag_id, run_id, task_id).splitlines():
            event = json.loads(line).get("event", "") if line.startswith("{") else line
            if isinstance(event, str) and event.startswith(NOTE):
                record = json.loads(event.removeprefix(NOTE))
                notes.append((record["name"], record["value"]))
        return notes

    def until(self, holds: Any, what: str, timeout: float = 120) -> None:
        """Wait until something holds."""
        self.cluster.until(holds, what, timeout)


@dataclass
class Site(Deployment):
    """Airflow's components as processes of the node."""

    airflow: LocalAirflow
    database_url: str

    def run(self, dag_id: str, run_id: str, timeout: float = RUN_SECONDS) -> str:
        """Run a DAG to its end; return the run's state."""
        self.airflow.trigger(dag_id, run_id=run_id)
        return self.airflow.wait(dag_id, run_id, timeout=timeout)

    def once(self, dag_id: str, run_id: str) -> str:
        """Run a DAG to its end, unless another test did; return the run's state."""
        return self.state(dag_id, run_id) or self.run(dag_id, run_id)


def _is_of(annotations: Mapping[str, str], dag_id: str, run_id: str, task_id: str) -> bool:
    return (
        annotations.get("dag_id") == dag_id
        and annotations.get("run_id") == run_id
        and task_id in ("", annotations.get("task_id"))
    )


@contextmanager
def site(services: Services, folder: Path, seed: str) -> Iterator[Site]:
    """Start Airflow's components on the node; its tasks are pods that the scheduler's account starts."""
    template_file = folder / "pod_template.yaml"
    template_file.write_text(yaml.safe_dump(template(services, seed)))
    kubeconfig = services.cluster.account_kubeconfig(NAMESPACE, "airflow-scheduler")
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server())
        url = postgres.new_database()
        port = sqlalchemy.make_url(url).port
        # Maintenance, in pods, has the database too.
        stack.enter_context(forwarder((ADDRESS, DATABASE_PORT), ("127.0.0.1", int(port or 0))))
        airflow = LocalAirflow(folder / "airflow", _settings(url, kubeconfig, template_file), DAGS, triggerer=True)
        stack.enter_context(airflow)
        stack.enter_context(forwarder((ADDRESS, API_PORT), ("127.0.0.1", airflow.port)))
        airflow.migrate()
        airflow.start()
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        made = Site(services, folder, engine, seed, airflow, url)
        known = "SELECT count(DISTINCT dag_id) FROM serialized_dag WHERE dag_id IN :ids"
        ids = tuple(sorted(ONE_OF_EACH_FILE))
        # Triggering complains of any import error while it waits for its DAG, and one file has one.
        made.until(lambda: made.rows(known, ids=ids) == [(len(ids),)], "each DAG file is parsed", timeout=300)
        yield made


def _settings(url: str, kubeconfig: Path, template_file: Path) -> dict[str, str]:
    return {
        "core.executor": "KubernetesExecutor",
        # The models of Kubernetes' client are 700 modules, which a busy machine takes its time to import.
        "core.dagbag_import_timeout": "120",
        "dag_processor.dag_file_processor_timeout": "300",
        "core.fernet_key": "",
        "core.parallelism": "6",
        "core.xcom_backend": "secure_xcom.SecureXComBackend",
        "database.sql_alchemy_conn": url,
        "secure_xcom.access_policy": str(POLICY),
        "kubernetes_executor.namespace": NAMESPACE,
        "kubernetes_executor.in_cluster": "False",
        "kubernetes_executor.config_file": str(kubeconfig),
        "kubernetes_executor.pod_template_file": str(template_file),
        "kubernetes_executor.worker_container_repository": "",
        "kubernetes_executor.worker_container_tag": "",
        # Pods stay, so that their logs and what they left on the node's disk can be searched.
        "kubernetes_executor.delete_worker_pods": "False",
        "scheduler.scheduler_idle_sleep_time": "0.2",
        "scheduler.task_instance_heartbeat_timeout_detection_interval": "2",
        "scheduler.task_instance_heartbeat_timeout": str(HEARTBEAT_SECONDS),
        "triggerer.job_heartbeat_sec": "2",
    }
