"""A cluster for tests: one that is named, or one that is started here.

The latter is made of etcd, Kubernetes' own programs, containerd and CoreDNS. It is started inside the
namespaces of `within`, and ends with them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.kubernetes import programs
from tests.support.kubernetes.airflow_image import Image
from tests.support.kubernetes.node_files import ADDRESS, ISSUER, NODE, SERVICES, NodeFiles, write_kubeconfig
from tests.support.servers.certificates import PrivateCa
from tests.support.servers.vault_server import free_port

START_SECONDS = 600
NAMESPACE = "k8s.io"
# nodeipam and routes are the CNI plugin's here.
CONTROLLERS = "*,-node-ipam-controller,-node-route-controller,-cloud-node-lifecycle-controller"


@dataclass
class Cluster:
    """A running cluster that is named by a kubeconfig, and what tests do with any cluster."""

    folder: Path
    """Where files of the tests lie."""
    kubeconfig: Path
    """The way in of somebody who may do everything."""
    ca: PrivateCa
    """Signs what the tests serve."""
    images: dict[str, Image]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def api(self) -> Any:
        """A client of the API server that may do everything."""
        from kubernetes import client, config

        configuration = client.Configuration()
        config.load_kube_config(str(self.kubeconfig), client_configuration=configuration)
        return client.ApiClient(configuration)

    @property
    def core(self) -> Any:
        """The same, for the core API."""
        from kubernetes import client

        return client.CoreV1Api(self.api)

    def apply(self, *documents: Mapping[str, Any]) -> None:
        """Create objects, as ``kubectl create`` does."""
        from kubernetes import utils

        for document in documents:
            utils.create_from_dict(self.api, dict(document))

    def wait_for_account(self, namespace: str, name: str = "default") -> None:
        """Wait for a service account; a pod without one is refused."""
        self.until(
            lambda: any(
                item.metadata.name == name for item in self.core.list_namespaced_service_account(namespace).items
            ),
            f"no service account {name} in {namespace}",
        )

    def account_token(self, namespace: str, account: str, *audiences: str, seconds: int = 3600) -> str:
        """Ask for a token of a service account, as kubelet does for a pod."""
        body = {"spec": {"audiences": list(audiences), "expirationSeconds": seconds}}
        answer = self.core.create_namespaced_service_account_token(account, namespace, body)
        return str(answer.status.token)

    def host_of(self, namespace: str, service: str, port: int) -> str:
        """Return where a service answers to the tests, ``host:port``: a port of this machine that leads there."""
        local = free_port()
        words = ["kubectl", "--kubeconfig", str(self.kubeconfig), "-n", namespace, "port-forward"]
        command = [*words, f"service/{service}", f"{local}:{port}"]
        self.processes[service] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return f"127.0.0.1:{local}"

    def end(self) -> None:
        """End what leads into the cluster."""
        for process in self.processes.values():
            process.terminate()
            process.wait()

    def until(self, holds: Callable[[], bool], what: str, timeout: float = START_SECONDS) -> None:
        """Wait until something holds.

        :raises AssertionError: it does not in time, or a component has ended; with the ends of their logs.
        """
        deadline = time.monotonic() + timeout
        while not holds():
            ended = {name: process for name, process in self.processes.items() if process.poll() is not None}
            if ended or time.monotonic() > deadline:
                tails = [f"{name}:\n{self.log(name)[-2500:]}" for name in ended or self.processes]
                raise AssertionError("\n".join([f"{what}; ended: {', '.join(ended) or 'none'}", *tails]))
            time.sleep(0.1)

    def log(self, component: str) -> str:
        """What a component printed."""
        file = self.folder / "log" / f"{component}.log"
        return file.read_text(errors="replace") if file.exists() else ""


@dataclass
class NodeCluster(Cluster):
    """A cluster of one node that was started here."""

    files: NodeFiles | None = None
    times: dict[str, float] = field(default_factory=dict)
    """Seconds from the start until each part was ready."""

    def account_kubeconfig(self, namespace: str, account: str) -> Path:
        """The way in of a service account."""
        path = self.folder / "etc" / f"{namespace}-{account}.kubeconfig"
        write_kubeconfig(path, self.ca.cert, self.account_token(namespace, account, seconds=24 * 3600))
        return path

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client; return what it printed."""
        done = subprocess.run(
            ["ctr", "-a", f"{self.folder}/run/containerd.sock", "-n", NAMESPACE, *arguments],
            env=_environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"ctr {' '.join(arguments)}: {done.stderr[-2000:]}"
        return done.stdout

    def host_of(self, namespace: str, service: str, port: int) -> str:
        """Return where a service answers to the tests, ``host:port``."""
        return f"{service}.{namespace}.svc:{port}"


def start(folder: Path) -> NodeCluster:
    """Start the cluster in a folder that `within` made; return when its node takes pods.

    :raises AssertionError: a component ended or is not ready in time.
    """
    built = programs.build()
    described = json.loads((folder / "images.json").read_text())
    known = {name: Image(Path(file), *names) for name, (file, *names) in described.items()}
    files = NodeFiles.write(folder, (folder / "cgroup").read_text())
    cluster = NodeCluster(folder, files.kubeconfig("admin"), files.ca, known, files=files)
    began = time.monotonic()

    def reach(name: str) -> None:
        cluster.times[name] = round(time.monotonic() - began, 1)

    def run(name: str, *command: str) -> None:
        with (folder / "log" / f"{name}.log").open("ab") as log:
            cluster.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=_environment()
            )

    for name, command in _store_and_runtime(folder).items():
        run(name, *command)
    for name, command in _components(files).items():
        if name == "kubelet":
            _import_images(cluster)
            reach("images")
        run(name, str(built.kubernetes), *command)
        if name == "kube-apiserver":
            cluster.until(lambda: _answers(cluster), "the API server is not ready")
            reach("API server")
    run("coredns", str(built.coredns), "-conf", f"{folder}/etc/Corefile")
    cluster.until(lambda: _is_ready(cluster), "the node is not ready")
    cluster.wait_for_account("default")
    reach("node")
    return cluster


def named(folder: Path, kubeconfig: Path) -> Cluster:
    """Return the cluster of a kubeconfig. It pulls OpenBao's official image, or another that is named.

    :param folder: a new folder for files of the tests.
    """
    image = os.environ.get("SECURE_XCOM_TEST_OPENBAO_IMAGE") or "openbao/openbao:2.4"
    return Cluster(folder, kubeconfig, PrivateCa(folder), {"openbao": Image(Path(), image, "", 0)})


def _environment() -> dict[str, str]:
    # The components read no kubeconfig of the caller's.
    kept = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    return {**kept, "PATH": f"{programs.PATH}:{os.environ.get('PATH', '')}"}


def _store_and_runtime(folder: Path) -> dict[str, Sequence[str]]:
    return {
        "etcd": (
            *("etcd", "--data-dir", "/run/etcd"),
            *("--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379"),
            *("--listen-peer-urls", "http://127.0.0.1:2380"),
        ),
        "containerd": ("containerd", "-c", f"{folder}/etc/containerd.toml"),
    }


def _components(files: NodeFiles) -> dict[str, Sequence[str]]:
    pki = files.folder / "pki"
    return {
        "kube-apiserver": (
            *("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--cert-dir=/run/apiserver"),
            *("--bind-address=0.0.0.0", f"--advertise-address={ADDRESS}", "--secure-port=6443"),
            *(f"--tls-cert-file={files.apiserver.cert}", f"--tls-private-key-file={files.apiserver.key}"),
            *(f"--client-ca-file={files.ca.cert}", f"--token-auth-file={pki}/tokens.csv"),
            *("--anonymous-auth=false", "--authorization-mode=Node,RBAC"),
            *("--enable-admission-plugins=NodeRestriction", f"--service-cluster-ip-range={SERVICES}"),
            *(f"--service-account-issuer={ISSUER}", f"--service-account-key-file={pki}/accounts.pub"),
            f"--service-account-signing-key-file={pki}/accounts.key",
            f"--kubelet-certificate-authority={files.ca.cert}",
            f"--kubelet-client-certificate={files.kubelet_client.cert}",
            f"--kubelet-client-key={files.kubelet_client.key}",
            "--kubelet-preferred-address-types=InternalIP",
        ),
        "kube-controller-manager": (
            *("kube-controller-manager", f"--kubeconfig={files.kubeconfig('controller-manager')}"),
            *("--use-service-account-credentials", f"--service-account-private-key-file={pki}/accounts.key"),
            *(f"--root-ca-file={files.ca.cert}", "--leader-elect=false", "--bind-address=127.0.0.1"),
            *("--cert-dir=/run/controllers", f"--controllers={CONTROLLERS}"),
        ),
        "kube-scheduler": (
            *("kube-scheduler", f"--kubeconfig={files.kubeconfig('scheduler')}", "--leader-elect=false"),
            *("--bind-address=127.0.0.1", "--cert-dir=/run/scheduler"),
        ),
        "kube-proxy": ("kube-proxy", f"--config={files.folder}/etc/proxy.yaml"),
        "kubelet": (
            *("kubelet", f"--config={files.folder}/etc/kubelet.yaml"),
            *(f"--kubeconfig={files.kubeconfig('kubelet')}", f"--root-dir={files.folder}/data/kubelet"),
            *("--cert-dir=/run/kubelet", f"--hostname-override={NODE}", f"--node-ip={ADDRESS}"),
        ),
    }


def _answers(cluster: NodeCluster) -> bool:
    import requests

    header = {"Authorization": f"Bearer {_admin_token(cluster)}"}
    try:
        answer = requests.get(
            f"https://{ADDRESS}:6443/readyz", headers=header, verify=str(cluster.ca.cert), timeout=5
        )
    except requests.exceptions.RequestException:
        return False
    return answer.text == "ok"


def _admin_token(cluster: Cluster) -> str:
    user = json.loads(cluster.kubeconfig.read_text())["users"][0]
    return str(user["user"]["token"])


def _import_images(cluster: NodeCluster) -> None:
    cluster.until(lambda: _runtime_answers(cluster), "containerd is not ready")
    for image in cluster.images.values():
        cluster.ctr("images", "import", str(image.file))
        # Values name an image by its digest.
        cluster.ctr("images", "tag", image.name, image.by_digest)
        image.file.unlink()


def _runtime_answers(cluster: NodeCluster) -> bool:
    try:
        cluster.ctr("version")
    except AssertionError:
        return False
    return True


def _is_ready(cluster: Cluster) -> bool:
    conditions = [item.status.conditions or [] for item in cluster.core.list_node().items]
    return any(one.type == "Ready" and one.status == "True" for some in conditions for one in some)
