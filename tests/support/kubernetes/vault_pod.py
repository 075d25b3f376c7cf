"""OpenBao in a pod, with TLS, its Kubernetes method and a log of its own, as deploy-on-kubernetes.md says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.manifests import shipped
from tests.support.servers.vault_server import VaultServer

NAMESPACE = "vault"
HOST = "vault.vault.svc"
AUDIT_LOG = "audit.log"
_SERVER = f"""
storage "raft" {{
  path = "/data"
  node_id = "tests"
}}
listener "tcp" {{
  address = "0.0.0.0:8200"
  tls_cert_file = "/tls/tls.crt"
  tls_key_file = "/tls/tls.key"
}}
api_addr = "https://{HOST}:8200"
cluster_addr = "https://127.0.0.1:8201"
unsafe_allow_api_audit_creation = true
ui = false
"""


@dataclass
class VaultPod:
    """The server, and where its pod keeps its data on the node."""

    server: VaultServer
    data: Path

    @property
    def audit_log(self) -> Path:
        """The file of its audit device."""
        return self.data / AUDIT_LOG


def start(cluster: Cluster) -> VaultPod:
    """Start the pod, initialize and unseal the server, and turn its Kubernetes method on."""
    pair = cluster.ca.issue("vault", server=True, names=(HOST, f"{HOST}.cluster.local"))
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    cluster.apply(
        *_objects(cluster, pair.cert.read_text(), pair.key.read_text()), *shipped("vault-token-reviewer")
    )
    cluster.until(lambda: _pod(cluster).status.phase == "Running", "the pod of OpenBao does not run")
    host = cluster.host_of(NAMESPACE, "vault", 8200)
    server = VaultServer(f"https://{host}", "", "openbao", ca=str(cluster.ca.cert))
    cluster.until(lambda: _answers(server), "OpenBao does not answer")
    made = server.do("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, token="")
    server.token = made["root_token"]
    server.do("PUT", "sys/unseal", {"key": made["keys_base64"][0]}, token="")
    cluster.until(lambda: server.api("GET", "sys/health").status_code == 200, "OpenBao is not active")
    server.do("PUT", "sys/audit/file", {"type": "file", "options": {"file_path": f"/data/{AUDIT_LOG}"}})
    server.do("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
    server.do("POST", "auth/kubernetes/config", {"kubernetes_host": "https://kubernetes.default.svc"})
    volume = f"data/kubelet/pods/{_pod(cluster).metadata.uid}/volumes/kubernetes.io~empty-dir/data"
    return VaultPod(server, cluster.folder / volume)


def _pod(cluster: Cluster) -> Any:
    return cluster.core.read_namespaced_pod("vault", NAMESPACE)


def _answers(server: VaultServer) -> bool:
    import requests

    try:
        return server.api("GET", "sys/seal-status").status_code in (200, 400, 501, 503)
    except requests.exceptions.ConnectionError:
        return False


def _objects(cluster: Cluster, cert: str, key: str) -> list[dict[str, Any]]:
    named = {"name": "vault", "namespace": NAMESPACE}
    mounts = {"conf": {"configMap": {"name": "vault"}}, "tls": {"secret": {"secretName": "vault"}}}
    container = {
        "name": "bao",
        "image": cluster.images["openbao"].name,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/bao", "server", "-config=/conf/server.hcl"],
        "ports": [{"containerPort": 8200}],
        "readinessProbe": {"tcpSocket": {"port": 8200}, "periodSeconds": 1},
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in (*mounts, "data")],
    }
    volumes = [{"name": name, **source} for name, source in mounts.items()]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": {"server.hcl": _SERVER}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": named,
            "stringData": {"tls.crt": cert, "tls.key": key},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": named,
            "spec": {"selector": {"app": "vault"}, "ports": [{"port": 8200}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**named, "labels": {"app": "vault"}},
            "spec": {
                "serviceAccountName": "vault",
                "terminationGracePeriodSeconds": 1,
                "containers": [container],
                "volumes": [*volumes, {"name": "data", "emptyDir": {}}],
            },
        },
    ]
