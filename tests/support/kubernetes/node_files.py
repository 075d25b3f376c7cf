"""The files of a one-node cluster: certificates, tokens, kubeconfigs, and each component's configuration.

Everything lies in one folder. The API server knows each component by a token of its own.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.kubernetes.airflow_image import PAUSE
from tests.support.kubernetes.programs import PLUGINS
from tests.support.servers.certificates import Pair, PrivateCa

ADDRESS = "10.244.0.1"
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/24"
FIRST_SERVICE = "10.96.0.1"
NODE = "node"
BRIDGE = "cni0"
ISSUER = "https://kubernetes.default.svc"
SERVER = f"https://{ADDRESS}:6443"
# Component -> its user and groups at the API server (the roles that RBAC brings for them).
USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "proxy": ("system:kube-proxy", ""),
}


@dataclass(frozen=True)
class NodeFiles:
    """A folder, and the paths of what `write` put there."""

    folder: Path
    ca: PrivateCa
    apiserver: Pair
    kubelet: Pair
    kubelet_client: Pair

    @classmethod
    def write(cls, folder: Path, cgroup: str) -> NodeFiles:
        """Write all of it.

        :param cgroup: the cgroup of all pods, below each controller's root.
        """
        for name in ("pki", "etc", "etc/cni", "log", "data", "run"):
            (folder / name).mkdir(mode=0o755, exist_ok=True)
        pki = folder / "pki"
        ca = PrivateCa(pki)
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
        cluster = ("kubernetes.default.svc.cluster.local", FIRST_SERVICE, ADDRESS)
        files = cls(
            folder,
            ca,
            ca.issue("kube-apiserver", server=True, names=(*names, *cluster)),
            ca.issue("kubelet", server=True, names=(ADDRESS, NODE)),
            ca.issue("kubelet-client", server=False, group="system:masters"),
        )
        files._write_account_keys()
        files._write_users()
        (folder / "etc" / "resolv.conf").write_text(f"nameserver {ADDRESS}\n")
        for name, document in _documents(folder, cgroup).items():
            # Every JSON document is YAML.
            (folder / "etc" / name).write_text(json.dumps(document, indent=1))
        (folder / "etc" / "containerd.toml").write_text(_containerd(folder))
        (folder / "etc" / "Corefile").write_text(_corefile(folder))
        return files

    def kubeconfig(self, user: str) -> Path:
        """The way in of a component, or of ``admin``."""
        return self.folder / "etc" / f"{user}.kubeconfig"

    def _write_account_keys(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        write_secret(self.folder / "pki" / "accounts.key", private.decode())
        (self.folder / "pki" / "accounts.pub").write_bytes(public)

    def _write_users(self) -> None:
        lines = []
        for component, (user, group) in USERS.items():
            token = secrets.token_hex(24)
            lines.append(",".join([token, user, component, *filter(None, [group])]))
            write_kubeconfig(self.kubeconfig(component), self.ca.cert, token)
        write_secret(self.folder / "pki" / "tokens.csv", "\n".join(lines) + "\n")


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner reads."""
    path.touch(mode=0o600)
    path.write_text(text)


def write_kubeconfig(path: Path, ca: Path, token: str) -> None:
    """Write the way into the cluster of whoever has a token."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": {"server": SERVER, "certificate-authority": str(ca)}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "user"}}],
        "current-context": "tests",
    }
    write_secret(path, json.dumps(document))


def _documents(folder: Path, cgroup: str) -> dict[str, dict[str, Any]]:
    return {
        "kubelet.yaml": {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            # What follows lets it run beside other work on a machine with cgroup v1, where it is not the boss.
            "failCgroupV1": False,
            "failSwapOn": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroup}",
            "enforceNodeAllocatable": [],
            "containerRuntimeEndpoint": f"unix://{folder}/run/containerd.sock",
            "address": ADDRESS,
            "healthzBindAddress": "127.0.0.1",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{folder}/pki/ca.pem"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{folder}/pki/kubelet.pem",
            "tlsPrivateKeyFile": f"{folder}/pki/kubelet.key",
            "clusterDNS": [ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": f"{folder}/etc/resolv.conf",
            "podLogsDir": f"{folder}/log/pods",
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
                "nodefs.inodesFree": "1%",
            },
            # No registry has the images, so a full disk must not cost them.
            "imageGCHighThresholdPercent": 100,
            "syncFrequency": "10s",
            "maxPods": 50,
        },
        "proxy.yaml": {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": PODS,
            "hostnameOverride": NODE,
            "bindAddress": ADDRESS,
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "nodePortAddresses": ["127.0.0.0/8"],
            # These are settings of the whole machine.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "clientConnection": {"kubeconfig": f"{folder}/etc/proxy.kubeconfig"},
        },
        "cni/10-tests.conflist": {
            "cniVersion": "1.0.0",
            "name": "tests",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": BRIDGE,
                    "isGateway": True,
                    "isDefaultGateway": True,
                    "ipMasq": False,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": f"{folder}/run/addresses",
                        "ranges": [[{"subnet": PODS, "gateway": ADDRESS}]],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
    }


def _containerd(folder: Path) -> str:
    # Without CAP_SYS_RESOURCE no process may be given a better oom_score_adj. AppArmor may not be there.
    runtime = 'plugins."io.containerd.grpc.v1.cri"'
    needless = ("snapshotter.v1.btrfs", "snapshotter.v1.zfs", "snapshotter.v1.aufs", "snapshotter.v1.devmapper")
    disabled = ", ".join(f'"io.containerd.{name}"' for name in ("internal.v1.opt", *needless))
    return f"""version = 2
root = "{folder}/data/containerd"
state = "{folder}/run/containerd-state"
oom_score = 0
disabled_plugins = [{disabled}]
[grpc]
  address = "{folder}/run/containerd.sock"
[{runtime}]
  sandbox_image = "{PAUSE}"
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = {"false" if _may_lower_oom_score() else "true"}
  disable_apparmor = true
  disable_hugetlb_controller = true
  [{runtime}.containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [{runtime}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [{runtime}.containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{folder}/run/runc"
  [{runtime}.cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{folder}/etc/cni"
"""


def _may_lower_oom_score() -> bool:
    """Whether this process has CAP_SYS_RESOURCE (capability 24 of linux/capability.h)."""
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(effective, 16) >> 24 & 1)


def _corefile(folder: Path) -> str:
    return f""".:53 {{
  bind {ADDRESS}
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {folder}/etc/admin.kubeconfig
    ttl 5
  }}
  cache 5
}}
"""
