"""The compose deployment without Docker: Celery on PostgreSQL and Redis, Vault, S3 with IAM, two identities.

The access policy, the broker's logins, the set-up of users and credentials, the settings of the workers, the
scheduler and the API server and the two teams' DAGs are those of `deploy/compose`; policies and roles come from
`secure-xcom policy apply`. Everything listens on 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy

from secure_xcom.demo.local_airflow import LocalAirflow
from tests.e2e.celery_worker import REPOSITORY, CeleryWorker
from tests.e2e.deployment import OURS, Notes
from tests.e2e.hunt import Hunt
from tests.support import deployed
from tests.support.servers.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.servers.postgres_server import PostgresServer, postgres_server
from tests.support.servers.redis_server import RedisServer, redis_server
from tests.support.servers.s3_server import Identity, S3Server, s3_server
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_own import sealable
from tests.support.servers.vault_realm import own_flavours
from tests.support.servers.vault_server import OwnServer

DAGS = Path(__file__).parent / "dags_distributed"
TEAMS = ("finance", "marketing")
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
# The identity whose worker each team's is.
IDENTITIES = {"finance": "finance-workers", "marketing": "marketing-workers"}
FLAVOUR = own_flavours()[0]
SETUP = deployed.compose_setup()
# A dead worker's tasks are seen after this long. Airflow waits 300 s.
HEARTBEAT_SECONDS = 12
COUNT = "SECURE_XCOM_E2E_COUNT"
WAIT_SECONDS = 300


@dataclass
class Services:
    """The servers behind Airflow."""

    vault: OwnServer
    vault_log: Path
    s3: S3Server
    proxy: FaultyProxy
    environment: dict[str, str] = field(repr=False)
    """An operator's, for `secure-xcom` and boto3."""


@dataclass
class Distributed:
    """A running deployment. What is searched for canaries lies below `root`, and nothing else does."""

    root: Path
    beside: Path
    seed: str
    airflow: LocalAirflow
    database: sqlalchemy.Engine
    postgres: PostgresServer
    redis: RedisServer
    workers: dict[str, CeleryWorker]
    services: Services | None
    made: dict[str, str]
    """What `policy apply` says it made."""
    of_component: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Environment variables that one component of Airflow alone has."""

    @property
    def signals(self) -> Path:
        """Where tasks and tests tell each other how far they are."""
        return self.beside / "signals"

    def notes(self) -> Notes:
        """What the tasks noted until now."""
        return Notes.read(self.beside / "notes.jsonl")

    def behind(self) -> Services:
        """The servers that our backend uses."""
        if self.services is None:
            raise AssertionError("the stock backend uses no servers")
        return self.services

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Ask the metadata database."""
        with self.database.begin() as connection:
            return [tuple(row) for row in connection.execute(sqlalchemy.text(statement), values)]

    def states(self, dag_id: str, run_id: str) -> dict[str, tuple[str, int]]:
        """Task id -> the state of its task instance, and how many tries it took."""
        found = self.rows(
            "SELECT task_id, state, try_number FROM task_instance WHERE dag_id = :dag AND run_id = :run",
            dag=dag_id, run=run_id,
        )  # fmt: skip
        return {task: (state, tries) for task, state, tries in found}

    def log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1) -> str:
        """A task's log, of whichever worker ran it: in the bucket, or on its disk where none was to be had."""
        team = dag_id.partition("_")[0]
        path = f"queue={team}/dag_id={dag_id}/run_id={run_id}/task_id={task_id}/attempt={attempt}.log"
        put_away = self.task_log(path) if self.services else ""
        return put_away + "".join(worker.log(path) for worker in self.workers.values())

    def task_log(self, path: str) -> str:
        """A task's log in the bucket; empty if it is not there."""
        client = self.behind().s3.client()
        try:
            body = client.get_object(Bucket=SETUP.LOGS_BUCKET, Key=path)["Body"].read()
        except client.exceptions.NoSuchKey:
            return ""
        return str(body.decode(errors="replace"))

    def trigger(self, *dag_ids: str, run_id: str) -> None:
        """Start a run of each, all under one id."""
        for dag_id in dag_ids:
            self.airflow.trigger(dag_id, run_id=run_id, timeout=WAIT_SECONDS)

    def wait(self, *dag_ids: str, run_id: str, timeout: float = WAIT_SECONDS) -> dict[str, str]:
        """Until each has ended; DAG id -> the state of its run."""
        return {dag_id: self.airflow.wait(dag_id, run_id, timeout=timeout) for dag_id in dag_ids}

    def until(self, holds: Callable[[], bool], what: str, timeout: float = 120) -> None:
        """Wait for something, or fail with what the scheduler and the workers said last."""
        deadline = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > deadline:
                tails = [worker.output.read_text(errors="replace")[-1500:] for worker in self.workers.values()]
                tails.append(self.airflow.component_output("scheduler")[-1500:])
                states = self.rows("SELECT dag_id, run_id, task_id, state, try_number FROM task_instance")
                raise AssertionError("\n".join([f"not in time: {what}", str(states), *tails]))
            time.sleep(0.15)

    def launch(self, component: str) -> None:
        """Start a component of Airflow with the settings that it alone has, without waiting for it."""
        _launch(self.airflow, component, self.of_component)

    def connections_of(self, identity: str) -> dict[str, Any]:
        """New logins of an identity of the access policy."""
        return _hand_out(self.behind(), identity, self.beside)

    def process(self, component: str) -> subprocess.Popen[bytes]:
        """The process of a component of Airflow, also when it has ended."""
        return self.airflow._running[component]

    def objects(self, bucket: str = SETUP.BUCKET) -> list[str]:
        """The keys of a bucket, as its owner lists them."""
        pages = self.behind().s3.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def refusals(self) -> set[tuple[str, str]]:
        """Who was refused what by the broker, as it remembers it: login and command."""
        told = self.redis.client().acl_log()
        return {(entry["username"], entry["client-info"]["cmd"]) for entry in told}

    def references(self) -> list[dict[str, Any]]:
        """Every row of Airflow's XComs, as the database keeps it."""
        return [value for (value,) in self.rows("SELECT value FROM xcom")]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`secure-xcom`, as an operator."""
        return subprocess.run(
            [str(Path(sys.executable).parent / "secure-xcom"), *words],
            env=self.behind().environment, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip

    def stop(self) -> None:
        """End Airflow and its workers, so that no file comes or goes any more. The servers stay."""
        with ThreadPoolExecutor(len(self.workers) + 1) as threads:
            ending = [threads.submit(worker.stop) for worker in self.workers.values()]
            ending.append(threads.submit(self.airflow.stop))
        for one in ending:
            one.result()

    def hunt(self) -> Hunt:
        """Search the database, Redis, the bucket, the logs and every file for every canary that was used."""
        notes = self.notes()
        hunt = Hunt(self.seed, notes.canaries, notes.numbers)
        self._hunt_database(hunt)
        hunt.search(self.redis.written(), "Redis", "every command")
        places: dict[str, list[Path]] = defaultdict(list)
        for file in sorted(self.root.rglob("*")):
            if file.is_file():
                places[self._place(file)].append(file)
        for place, files in places.items():
            hunt.search_files(self.root, files, place)
        if self.services:
            client = self.services.s3.client()
            for key in self.objects():
                body = client.get_object(Bucket=SETUP.BUCKET, Key=key)["Body"].read()
                hunt.search(key.encode() + b"\n" + body, "bucket", key)
            for key in self.objects(SETUP.LOGS_BUCKET):
                hunt.search(self.task_log(key).encode(), "task logs in the bucket", key)
        return hunt

    def _hunt_database(self, hunt: Hunt) -> None:
        for table in sqlalchemy.inspect(self.database).get_table_names():
            collected: dict[str, list[bytes]] = defaultdict(list)
            with self.database.connect() as connection:
                for row in connection.execute(sqlalchemy.text(f'SELECT * FROM "{table}"')).mappings():  # noqa: S608
                    for column, cell in row.items():
                        if cell is not None:
                            collected[column].append(_bytes(cell))
            for column, cells in collected.items():
                hunt.search(b"\n".join(cells), f"table {table}.{column}", f"{table}.{column}")

    def _place(self, file: Path) -> str:
        parts = file.relative_to(self.root).parts
        if "output" in parts or file.name == "output.log":
            return f"output of {parts[0]}"
        if "logs" in parts:
            return f"logs of {parts[0]}"
        return f"folder {parts[0]}"


@contextmanager
def distributed(
    folder: Path,
    seed: str,
    *,
    backend: str = OURS,
    count: int = 60,
    direct: bool = False,
    dags: Path = DAGS,
    policy_file: Path = deployed.COMPOSE / "access_policy.yaml",
    of_workers: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Distributed]:
    """Start all of it; it ends with the context.

    :param folder: a new folder. :param count: how many task instances the DAGs `many` have together.
    :param direct: let workers reach the bucket without the proxy that tests let misbehave.
    :param dags: DAG files beside those of the compose deployment.
    :param policy_file: the access policy, by default that of the compose deployment.
    :param of_workers: more environment variables of the workers. :param settings: more settings of Airflow's core.
    """
    root, beside = folder / "site", folder / "beside"
    for needed in (root / "dags", beside / "signals", beside / "secrets"):
        needed.mkdir(parents=True, mode=0o700)
    policy = root / "access_policy.yaml"
    shutil.copy(policy_file, policy)
    for file in (*dags.glob("*.py"), *(deployed.COMPOSE / "dags").glob("*.py")):
        shutil.copy(file, root / "dags")
    with ExitStack() as stack:
        ours = backend == OURS
        postgres = stack.enter_context(postgres_server())
        broker = deployed.made_secrets(beside)
        redis = stack.enter_context(redis_server((broker / "broker.acl").read_text()))
        url = postgres.new_database()
        for_tasks = {
            "SECURE_XCOM_E2E_SEED": seed,
            "SECURE_XCOM_E2E_NOTES": str(beside / "notes.jsonl"),
            "SECURE_XCOM_E2E_SIGNALS": str(beside / "signals"),
            "SECURE_XCOM_E2E_BACKEND": backend,
            COUNT: str(count),
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONPATH": str(REPOSITORY),
        }
        airflow = LocalAirflow(
            root / "airflow",
            {**_settings(url), **(_our_settings(policy) if ours else {}), **(settings or {})},
            root / "dags",
            environment={**for_tasks, **_faster()},
            triggerer=True,
        )
        stack.enter_context(airflow)
        threads = stack.enter_context(ThreadPoolExecutor(1))
        # Migrating and setting up take about as long as each other.
        migrating = threads.submit(airflow.migrate)
        services: Services | None = None
        made: dict[str, str] = {}
        connections: Mapping[str, Any] = {team: {} for team in TEAMS}
        if ours:
            services = _services(stack, root, direct=direct)
            made, connections = _set_up(services, policy, beside)
            services.environment["AIRFLOW_HOME"] = str(beside / "operator")
            services.environment["AIRFLOW__SECURE_XCOM__ACCESS_POLICY"] = str(policy)
        migrating.result()
        places = {
            "/opt/airflow/config/access_policy.yaml": str(policy),
            "http://api-server:8080": f"http://127.0.0.1:{airflow.port}",
        }
        workers = {}
        for team in TEAMS:
            more = {
                **for_tasks,
                **_faster(),
                "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
                **(of_workers or {}),
            }
            # The benchmark compares backends, so both put their logs onto the disk.
            if direct or not ours:
                more["AIRFLOW__LOGGING__REMOTE_LOGGING"] = "False"
            if not ours:
                more["AIRFLOW__CORE__XCOM_BACKEND"] = airflow_default_backend()
                more["AIRFLOW__SECURE_XCOM__ACCESS_POLICY"] = ""
            secret = _broker_secret(broker / f"broker_{team}", redis, beside / "secrets" / team)
            home = root / f"worker-{team}"
            workers[team] = CeleryWorker(team, home, connections[team], {**places, **secret}, more)
            workers[team].prepare()
            workers[team].start()
            stack.callback(workers[team].stop)
        secret = _broker_secret(broker / "broker_scheduler", redis, beside / "secrets" / "scheduler")
        of_component = {"scheduler": _of_service("scheduler", ("AIRFLOW__CELERY__",), secret)}
        if services and not direct:
            credentials = _log_reader(services, beside / "secrets" / "task-logs")
            of_component["api-server"] = _of_service("api-server", ("AIRFLOW__LOGGING__", "AWS_"), credentials)
        _start(airflow, of_component)
        for worker in workers.values():
            worker.wait_ready()
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        yield Distributed(
            root, beside, seed, airflow, engine, postgres, redis, workers, services, made, of_component
        )


def airflow_default_backend() -> str:
    """Airflow's own backend."""
    return "airflow.sdk.execution_time.xcom.BaseXCom"


def _settings(url: str) -> dict[str, str]:
    """Those of the compose file's core components, and what makes a small machine go fast."""
    core = deployed.compose()["x-core-settings"]
    return {
        "core.executor": "CeleryExecutor",
        "core.fernet_key": "",
        "core.parallelism": "16",
        "core.max_active_tasks_per_dag": "16",
        # More are processes that are forked for each round of sending.
        "celery.sync_parallelism": "1",
        "database.sql_alchemy_conn": url,
        "logging.log_filename_template": core["AIRFLOW__LOGGING__LOG_FILENAME_TEMPLATE"],
        "scheduler.scheduler_idle_sleep_time": "0.2",
        "scheduler.task_instance_heartbeat_timeout_detection_interval": "2",
        "triggerer.job_heartbeat_sec": "2",
    }


def _our_settings(policy: Path) -> dict[str, str]:
    return {"core.xcom_backend": "secure_xcom.SecureXComBackend", "secure_xcom.access_policy": str(policy)}


def _faster() -> dict[str, str]:
    """What workers and the scheduler have to agree on."""
    return {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_SECONDS),
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def _broker_secret(made: Path, redis: RedisServer, folder: Path) -> dict[str, str]:
    """Put a login to the broker, as make-secrets made it, where its one component reads it on this machine."""
    folder.mkdir(mode=0o700)
    file = folder / "broker_url"
    file.touch(mode=0o600)
    file.write_text(redis.here(made.read_text()))
    return {"/run/secrets/": f"{folder}/"}


def _log_reader(services: Services, folder: Path) -> dict[str, str]:
    """Make the credentials with which the API server reads task logs, and say where they are on this machine."""
    folder.mkdir(mode=0o700)
    SETUP.hand_out_to_log_reader(services.s3.client(service="iam"), folder / "credentials.ini")
    return {"/run/identity/": f"{folder}/", "http://s3:8333": services.s3.endpoint}


def _of_service(name: str, prefixes: tuple[str, ...], places: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a service of the compose file that begin so, with what they name on this machine."""
    found = {}
    for setting, text in deployed.compose()["services"][name]["environment"].items():
        if setting.startswith(prefixes):
            for there, here in places.items():
                text = text.replace(there, here)  # noqa: PLW2901  # one text, place by place
            found[setting] = text
    return found


def _start(airflow: LocalAirflow, of_component: Mapping[str, Mapping[str, str]]) -> None:
    """Start each component with the settings that it alone has, and wait until all are healthy."""
    for name in COMPONENTS:
        _launch(airflow, name, of_component)
    airflow.wait_healthy()


def _launch(airflow: LocalAirflow, name: str, of_component: Mapping[str, Mapping[str, str]]) -> None:
    shared = airflow.environment
    airflow.environment = {**shared, **of_component.get(name, {})}
    airflow.launch(name)
    airflow.environment = shared


def _services(stack: ExitStack, root: Path, *, direct: bool) -> Services:
    vault = stack.enter_context(sealable(binary_of(FLAVOUR), root, FLAVOUR))
    log = root / "vault" / "audit.log"
    vault.do("PUT", "sys/audit/file", {"type": "file", "options": {"file_path": str(log)}})
    s3 = stack.enter_context(s3_server(role=False))
    proxy = FaultyProxy(s3.endpoint) if direct else stack.enter_context(faulty_proxy(s3.endpoint))
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SECURE_XCOM_CACHE") if name in os.environ}
    operator = {
        **kept,
        "HOME": str(root),
        "VAULT_ADDR": vault.address,
        "VAULT_TOKEN": vault.token,
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.root.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.root.secret_key,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return Services(vault, log, s3, proxy, operator)


def _set_up(services: Services, policy: Path, beside: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """What deploy/compose/setup.py does, with its own functions: users, policies, credentials of each identity."""
    iam = services.s3.client(service="iam")
    SETUP.make_users(services.s3.client(), iam)
    (beside / "operator").mkdir()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "secure-xcom"), "policy", "apply", str(policy), "--json",
         "--to", "vault", "--to", "iam"],
        env={**services.environment, "AIRFLOW_HOME": str(beside / "operator")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    connections = {team: _hand_out(services, identity, beside) for team, identity in IDENTITIES.items()}
    for conn_id in ("s3_xcom", "s3_task_logs"):
        for found in connections.values():
            found[conn_id]["extra"]["endpoint_url"] = services.proxy.endpoint
    steps = {step["step"]: step["state"] for step in json.loads(done.stdout)["steps"]}
    return steps, connections


def _hand_out(services: Services, identity: str, beside: Path) -> dict[str, Any]:
    """New logins of an identity, as Airflow connections to the servers of this machine."""
    vault = SETUP.Vault(services.vault.address, services.vault.token)
    file = beside / "secrets" / f"{identity}.json"
    SETUP.hand_out(vault, services.s3.client(service="iam"), identity, file)
    found: dict[str, Any] = json.loads(file.read_text())
    file.unlink()
    # The compose file's names of the servers are ports of this machine here.
    at = urlsplit(services.vault.address)
    found["vault_xcom"].update(host=at.hostname, port=at.port)
    for conn_id in found.keys() - {"vault_xcom"}:
        found[conn_id]["extra"]["endpoint_url"] = services.s3.endpoint
    return found


def identity_of(connections: Mapping[str, Any]) -> Identity:
    """The S3 keys of a worker."""
    return Identity(connections["s3_xcom"]["login"], connections["s3_xcom"]["password"])


def new_seed() -> str:
    """What the canaries of one deployment are made of."""
    return secrets.token_hex(8)


def _bytes(cell: Any) -> bytes:
    if isinstance(cell, bytes | memoryview):
        return bytes(cell)
    return json.dumps(cell).encode() if isinstance(cell, dict | list) else str(cell).encode()
