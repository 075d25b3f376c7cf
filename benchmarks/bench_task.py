"""What sealing costs a task that begins as a fork of a worker, and what 1,000 such tasks ask of Vault.

    python benchmarks/bench_task.py [--tasks 100] [--rounds 3] [--login NAME] [--profile FILE]

A worker process imports what Airflow and this package import before they fork a task, and then forks tasks in
turns: one pulls a list and pushes a dict of 900 bytes by our backend, the next does the same by Airflow's own
database backend. The difference of their processor time is what sealing costs. What the database itself does is in
neither.

Vault is a real OpenBao or Vault with raft storage over TLS, S3 is SeaweedFS. Connections come from a file, as in
deploy/compose. The login differs: an AppRole with service tokens, one with batch tokens, and a token that all
tasks of a worker read from a file, as Vault Agent keeps it. Vault's own telemetry counts logins, leases and
storage writes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import machine
from tests.support.servers.s3_server import REGION, s3_server
from tests.support.servers.vault_auth import Auth
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_own import own_server
from tests.support.servers.vault_realm import Realm, new_realm, own_flavours
from tests.support.servers.vault_server import VaultServer

LOGINS = ("AppRole, service tokens", "AppRole, batch tokens", "token file")
COORDINATE = {"dag_id": "bench", "run_id": "manual__2026-01-01"}
TARGET = 0.02
"""The most that sealing may cost a task in its own process, in seconds of processor time."""

# Names of OpenBao's and Vault's metrics; those that the other does not have stay 0.
METRICS = {
    "requests": r"(?:vault|bao|openbao)_core_handle(?:_login)?_request_count",
    "logins": r"(?:vault|bao|openbao)_core_handle_login_request_count",
    "storage writes": r"(?:vault|bao|openbao)_barrier_put_count",
    "storage reads": r"(?:vault|bao|openbao)_barrier_get_count",
}


@dataclass(frozen=True)
class Site:
    """The servers, and the worker's environment without its login."""

    realm: Realm
    key: str
    policy: str
    environment: dict[str, str]
    connections: dict[str, Any]
    vault: psutil.Process


def worker(count: int, rounds: int, folder: Path) -> None:
    """Fork tasks in turns, and print the processor time of each."""
    import airflow.sdk.execution_time.task_runner  # noqa: F401
    from airflow.sdk.api.client import Client
    from airflow.sdk.bases.xcom import BaseXCom
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    from secure_xcom import SecureXComBackend
    from secure_xcom.airflow.plugin import cluster_policy  # noqa: F401  # its hook runs before each fork

    # A supervisor has both before it forks a task: its client makes the process's first context of TLS.
    ensure_secrets_backend_loaded()
    Client(base_url="http://127.0.0.1:1/execution/", token="")
    row = folder / "row.json"

    def upstream() -> None:
        pushed = SecureXComBackend.serialize_value(
            list(range(1000)), key="return_value", task_id="numbers", map_index=-1, **COORDINATE
        )
        row.write_text(json.dumps(pushed))

    _forked(upstream)
    sealed = json.loads(row.read_text())
    plain = BaseXCom.serialize_value(list(range(1000)))
    used: dict[str, list[float]] = {"ours": [], "database": []}
    for number in range(count * rounds):
        for name, backend, pulled in (("ours", SecureXComBackend, sealed), ("database", BaseXCom, plain)):

            def task(backend: type[BaseXCom] = backend, pulled: Any = pulled, number: int = number) -> None:
                found = backend.deserialize_value(Row(pulled))
                assert len(found) == 1000
                value = {"number": number, "password": f"secret {number}", "text": "x" * 800}
                backend.serialize_value(value, key="return_value", task_id="each", map_index=number, **COORDINATE)

            used[name].append(_forked(task))
    print(json.dumps(used))


class Row:
    """What a backend is given of a row in Airflow's database."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _forked(work: Any) -> float:
    """Run as a task does, in a fork that ends by `os._exit`; the processor time of it."""
    pid = os.fork()
    if pid == 0:
        try:
            if profile := os.environ.get("BENCH_PROFILE"):
                _profiled(work, profile)
            else:
                work()
            os._exit(0)
        except BaseException:  # noqa: BLE001  # a fork must not run on as its parent
            import traceback

            traceback.print_exc()
            os._exit(1)
    _, status, times = os.wait4(pid, 0)
    if status:
        raise SystemExit("a task failed: see its error above")
    return times.ru_utime + times.ru_stime


def _profiled(work: Any, path: str) -> None:
    import cProfile

    profile = cProfile.Profile()
    profile.runcall(work)
    # The last fork's stays.
    if "backend" in work.__code__.co_varnames and work.__defaults__[0].__name__ == "SecureXComBackend":
        profile.dump_stats(path)


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Start the servers, with a key, a policy and a bucket."""
    flavour = own_flavours()[0]
    with ExitStack() as stack:
        (folder / "vault").mkdir()
        server, *_ = stack.enter_context(own_server(binary_of(flavour), folder / "vault", flavour))
        realm = stack.enter_context(new_realm(server))
        s3 = stack.enter_context(s3_server())
        key = realm.new_key()
        paths = [f"{realm.transit}/{operation}/{key}" for operation in ("encrypt", "decrypt")]
        policy = realm.policy("\n".join(f'path "{path}" {{ capabilities = ["update"] }}' for path in paths))
        left_out = ("AWS_", "VAULT_", "BAO_", "AIRFLOW", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        connections = folder / "connections.json"
        environment = {
            **kept,
            "AIRFLOW_HOME": str(folder / "airflow"),
            "PYTHONPATH": str(ROOT),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "AIRFLOW__CORE__XCOM_BACKEND": "secure_xcom.SecureXComBackend",
            "AIRFLOW__SECURE_XCOM__STORE_URI": f"s3://bucket@{s3.make_bucket()}/xcom",
            "AIRFLOW__WORKERS__SECRETS_BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
            "AIRFLOW__WORKERS__SECRETS_BACKEND_KWARGS": json.dumps({"connections_file_path": str(connections)}),
        }
        bucket = {
            "conn_type": "aws",
            "login": s3.root.access_key,
            "password": s3.root.secret_key,
            "extra": {"endpoint_url": s3.endpoint, "region_name": REGION},
        }
        process = server.process
        assert process is not None
        print(f"{flavour} {server.do('GET', 'sys/health')['version']} with raft storage over TLS; SeaweedFS")
        yield Site(realm, key, policy, environment, {"bucket": bucket}, psutil.Process(process.pid))


def login(site: Site, name: str, folder: Path) -> dict[str, str]:
    """Write the worker's connections, and return its environment."""
    server, connections = site.realm.server, dict(site.connections)
    environment = dict(site.environment)
    if name == "token file":
        token = folder / "token"
        token.write_text(server.new_token(site.policy, ttl="24h"))
        environment |= {
            "VAULT_ADDR": server.address,
            "VAULT_CACERT": server.ca or "",
            "VAULT_TOKEN_FILE": str(token),
        }
        uri = site.realm.uri("default", site.key)
    else:
        role = Auth(site.realm).approle(site.policy, token_type=name.split()[1])
        connections["vault"] = role.connection(server)
        connections["vault"]["extra"] |= {"use_tls": True, "client_kwargs": {"verify": server.ca}}
        uri = site.realm.uri("vault", site.key)
    (folder / "connections.json").write_text(json.dumps(connections))
    return {**environment, "AIRFLOW__SECURE_XCOM__KEY_URIS": uri}


def counted(server: VaultServer) -> dict[str, float]:
    """Vault's own counters, and the leases that it holds now."""
    text = server.api("GET", "sys/metrics?format=prometheus").text
    found = {
        name: sum(float(value) for value in re.findall(rf"^{metric}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))
        for name, metric in METRICS.items()
    }
    # A service token is a lease of its own; a batch token is none.
    held = server.do("LIST", "auth/token/accessors")
    found["leases"] = float(len(held["data"]["keys"]))
    return found


def measured(site: Site, name: str, tasks: int, rounds: int, folder: Path, profile: str) -> bool:
    """Run a worker with a login and print what its tasks cost; whether the target is reached."""
    environment = login(site, name, folder)
    server = site.realm.server
    before, vault = counted(server), site.vault.cpu_times()
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(folder)]
    done = subprocess.run(
        [*command, "--tasks", str(tasks), "--rounds", str(rounds)],
        env={**environment, **({"BENCH_PROFILE": profile} if profile else {})},
        stdout=subprocess.PIPE,
        check=True,
    )
    after, later = counted(server), site.vault.cpu_times()
    used: Mapping[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    by_round = [
        {kind: statistics.median(times[at * tasks : (at + 1) * tasks]) for kind, times in used.items()}
        for at in range(rounds)
    ]
    costs = [one["ours"] - one["database"] for one in by_round]
    ours, database = (statistics.median(one[kind] for one in by_round) for kind in ("ours", "database"))
    cost = statistics.median(costs)
    print(
        f"{name}: {ours * 1000:.1f} ms of processor time against {database * 1000:.1f} ms, so {cost * 1000:.1f} "
        f"ms for sealing ({min(costs) * 1000:.1f} to {max(costs) * 1000:.1f} in {rounds} rounds)"
    )
    # The task that pushed the list, and the reading of the counters, are in the numbers too.
    all_tasks = tasks * rounds
    spent = (later.user + later.system - vault.user - vault.system) / all_tasks
    print(f"  Vault: {spent * 1000:.1f} ms of processor time for a task; for 1,000 tasks:", end=" ")
    print(
        ", ".join(f"{(after[what] - before[what]) / all_tasks * 1000:,.0f} {what}" for what in before), flush=True
    )
    return cost <= TARGET


def main() -> None:
    """Measure every login, and say by the exit code whether the target was reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100, help="tasks of each backend in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--login", choices=LOGINS, action="append", help="only this one")
    parser.add_argument("--profile", default="", metavar="FILE", help="write the profile of a task, for pstats")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.tasks, options.rounds, options.worker)
        return
    print(machine())
    with tempfile.TemporaryDirectory(prefix="secure_xcom_task_") as name:
        folder = Path(name)
        with site(folder) as servers:
            logins = options.login or LOGINS
            reached = [
                measured(servers, one, options.tasks, options.rounds, folder, options.profile) for one in logins
            ]
    if not all(reached):
        raise SystemExit(f"sealing costs a task more than {TARGET * 1000:.0f} ms")


if __name__ == "__main__":
    main()
