"""A cluster for tests: one that is started here, of etcd, Kubernetes' own programs, containerd and CoreDNS.

It is started inside the namespaces of `within`, and ends with them.
"""

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

START_SECONDS = 120
NAMESPACE = "k8s.io"
# nodeipam and routes are the CNI plugin's here.
CONTROLLERS = "*,-node-ipam-controller,-node-route-controller,-cloud-node-lifecycle-controller"


@dataclass
class Cluster:
    """A running cluster, and the ways in."""

    files: NodeFiles
    images: dict[str, Image]
    times: dict[str, float] = field(default_factory=dict)
    """Seconds from the start until each part was ready."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    address = ADDRESS

    @property
    def folder(self) -> Path:
        """Where everything of it lies."""
        return self.files.folder

    @property
    def kubeconfig(self) -> Path:
        """The way in of somebody who may do everything."""
        return self.files.kubeconfig("admin")

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

    def account_kubeconfig(self, namespace: str, account: str) -> Path:
        """The way in of a service account."""
        path = self.folder / "etc" / f"{namespace}-{account}.kubeconfig"
        write_kubeconfig(path, self.files.ca.cert, self.account_token(namespace, account, seconds=24 * 3600))
        return path

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client; return what it printed."""
        done = subprocess.run(
            ["ctr", "-a", f"{self.folder}/run/containerd.sock", "-n", NAMESPACE, *arguments],
            env=_environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"ctr {' '.join(arguments)}: {done.stderr[-2000:]}"
        return done.stdout

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
        return (self.folder / "log" / f"{component}.log").read_text(errors="replace")


def start(folder: Path) -> Cluster:
    """Start the cluster in a folder that `within` made; return when its node takes pods.

    :raises AssertionError: a component ended or is not ready in time.
    """
    built = programs.build()
    described = json.loads((folder / "images.json").read_text())
    known = {name: Image(Path(file), *names) for name, (file, *names) in described.items()}
    cluster = Cluster(NodeFiles.write(folder, (folder / "cgroup").read_text()), known)
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
    for name, command in _components(cluster.files).items():
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


def _answers(cluster: Cluster) -> bool:
    import requests

    header = {"Authorization": f"Bearer {_admin_token(cluster)}"}
    try:
        answer = requests.get(
            f"https://{ADDRESS}:6443/readyz", headers=header, verify=str(cluster.files.ca.cert), timeout=5
        )
    except requests.exceptions.RequestException:
        return False
    return answer.text == "ok"


def _admin_token(cluster: Cluster) -> str:
    user = json.loads(cluster.kubeconfig.read_text())["users"][0]
    return str(user["user"]["token"])


def _import_images(cluster: Cluster) -> None:
    cluster.until(lambda: _runtime_answers(cluster), "containerd is not ready")
    for image in cluster.images.values():
        cluster.ctr("images", "import", str(image.file))
        # Values name an image by its digest.
        cluster.ctr("images", "tag", image.name, image.by_digest)
        image.file.unlink()


def _runtime_answers(cluster: Cluster) -> bool:
    try:
        cluster.ctr("version")
    except AssertionError:
        return False
    return True


def _is_ready(cluster: Cluster) -> bool:
    conditions = [item.status.conditions or [] for item in cluster.core.list_node().items]
    return any(one.type == "Ready" and one.status == "True" for some in conditions for one in some)
