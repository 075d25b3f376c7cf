"""The soak: runs of each team all the time, one fault after the other, and the jobs of maintenance beside them.

The seed decides which fault comes when and for how long, and which job runs; what a task was at is the machine's.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy

from secure_xcom.core.operator_errors import ThrowawayFailed
from tests.e2e.celery_worker import REPOSITORY
from tests.e2e.distributed import COMPONENTS, TEAMS, Distributed
from tests.soak.faults import Fault

LOG_NAME = "access-log.jsonl"
RUNS_AT_ONCE = 2
# Without any change of any task in this time, nothing will come any more.
STUCK_SECONDS = 400


@dataclass
class Soak:
    """One soak on a deployment.

    :param faults: name -> what befalls the deployment. :param maintenance: the environment of its jobs.
    :ivar begun: the run ids of each team. :ivar jobs: (job, exit code) -> how often.
    :ivar counted: fault -> how often. :ivar restarts: what ended and was started again -> how often.
    """

    site: Distributed
    seed: int
    faults: Mapping[str, Fault]
    maintenance: Mapping[str, str] = field(repr=False)
    begun: dict[str, list[str]] = field(default_factory=lambda: {team: [] for team in TEAMS})
    jobs: Counter[tuple[str, int]] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    _began: float = field(default_factory=time.monotonic)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self, seconds: float) -> None:
        """Disturb it for so long, by each fault once at least, then let every run come to its end."""
        rng = random.Random(self.seed)  # a schedule, no secret
        with ThreadPoolExecutor(1) as beside:
            maintaining = beside.submit(self._maintain, random.Random(self.seed + 1))
            try:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    for name in rng.sample(sorted(self.faults), len(self.faults)):
                        if time.monotonic() < end or not self.counted[name]:
                            self._disturb(name, rng)
            finally:
                self._over.set()
            maintaining.result()
        self.say("the faults are over")
        self.settle()

    def say(self, text: str) -> None:
        """Print what happens and when, for whoever repeats it."""
        print(f"{time.monotonic() - self._began:7.1f} {text}", flush=True)

    def _disturb(self, name: str, rng: random.Random) -> None:
        lasts, rest = rng.uniform(2, 12), rng.uniform(1, 6)
        self.say(f"{name}, {lasts:.1f} s")
        self.counted[name] += 1
        with self.faults[name](self.site, rng):
            self._let_pass(lasts)
        self._let_pass(rest)

    def _let_pass(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.tend()
            self.start_runs()
            time.sleep(0.5)

    def tend(self) -> None:
        """Start again what has ended, as an init system does."""
        for name in COMPONENTS:
            if self.site.process(name).poll() is not None:
                self.restarts[name] += 1
                self.site.launch(name)
        for team, worker in self.site.workers.items():
            # One that a fault has killed is started again at that fault's end.
            if worker.process is not None and worker.process.poll() is not None:
                self.restarts[f"worker of {team}"] += 1
                worker.start()

    def start_runs(self) -> None:
        """Begin another run of each team that has too few."""
        unfinished = self._unfinished_runs()
        for team in TEAMS:
            dag_id = f"{team}_soak"
            if unfinished is None or sum(run[0] == dag_id for run in unfinished) >= RUNS_AT_ONCE:
                continue
            run_id = f"soak-{len(self.begun[team]):04}"
            body = {"logical_date": None, "dag_run_id": run_id}
            try:
                status, _ = self.site.airflow.request("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)
            except ThrowawayFailed:
                # The API server is away. Perhaps it had made the run before; then the next try says so.
                continue
            # 409: an earlier request whose answer was lost.
            if status in (200, 409):
                self.begun[team].append(run_id)

    def settle(self) -> None:
        """Wait until no run is unfinished, for as long as anything moves."""
        before: object = None
        end = time.monotonic() + STUCK_SECONDS
        while True:
            self.tend()
            unfinished = self._unfinished_runs()
            if unfinished == []:
                self.say("every run has ended")
                return
            states = self._ask(
                "SELECT dag_id, run_id, task_id, map_index, state, try_number FROM task_instance ORDER BY 1,2,3,4"
            )
            if states is not None and states != before:
                before, end = states, time.monotonic() + STUCK_SECONDS
            assert time.monotonic() < end, f"nothing moves any more: {unfinished}, {states}"
            time.sleep(1)

    def _unfinished_runs(self) -> list[tuple[object, ...]] | None:
        return self._ask("SELECT dag_id, run_id FROM dag_run WHERE state IN ('queued', 'running')")

    def _ask(self, statement: str, **values: object) -> list[tuple[object, ...]] | None:
        """Ask the metadata database; None while it is away."""
        try:
            return self.site.rows(statement, **values)
        except sqlalchemy.exc.OperationalError:
            return None

    # --- maintenance ----------------------------------------------------------------------------------------

    def command(self, *words: str, hours_later: float = 0) -> tuple[int, dict[str, object]]:
        """Run `secure-xcom` as the maintenance identity; its exit code, and the JSON that it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.soak.later", str(hours_later), *words, "--json"],
            env=dict(self.maintenance), cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        told = json.loads(done.stdout) if done.stdout.strip() else {"error": done.stderr[-2000:]}
        self._count(words, done.returncode)
        return done.returncode, told

    def _count(self, words: Sequence[str], code: int) -> None:
        grouped = words[0] in ("audit", "claims", "policy")
        self.jobs[" ".join(words[: 2 if grouped else 1]), code] += 1

    def sinks(self) -> list[str]:
        """The options that name the workers' and the jobs' access logs."""
        files = [worker.access_log for worker in self.site.workers.values()]
        files.append(Path(self.maintenance["HOME"]) / LOG_NAME)
        return [word for file in files if file.exists() for word in ("--sink", file.as_uri())]

    def anchored(self) -> list[str]:
        """The options that name the anchored log and its key."""
        beside = self.site.beside
        return ["--log", (beside / "anchored-log").as_uri(), "--key", (beside / "anchoring.pem").as_uri()]

    def _maintain(self, rng: random.Random) -> None:
        """Run one job after the other. One that meets a fault says so with exit code 2, and is run again later."""
        jobs: dict[str, Callable[[], object]] = {
            "gc": lambda: self.command("gc", "--apply"),
            "expire": lambda: self.command("expire", "--apply"),
            "rotate and rewrap": self._rotate,
            "policy apply": self._apply,
            "audit anchor": lambda: self.command("audit", "anchor", *self.anchored(), *self.sinks()),
            "claims shred": lambda: self.command("claims", "shred", "--apply"),
        }
        while not self._over.is_set():
            for name in rng.sample(sorted(jobs), len(jobs)):
                if self._over.wait(rng.uniform(1, 5)):
                    return
                self.say(f"    {name}")
                jobs[name]()

    def _apply(self) -> None:
        words = ("policy", "apply", str(self.site.root / "access_policy.yaml"), "--to", "vault", "--to", "iam")
        self._count(words, self.site.command(*words).returncode)

    def _rotate(self) -> None:
        vault = self.site.behind().vault
        for team in TEAMS:
            try:
                vault.api("POST", f"transit/keys/xcom-{team}/rotate")
            except OSError:
                # Vault is down just now; the next round rotates.
                return
        self.command("rewrap", "--apply")


def maintenance_environment(site: Distributed) -> dict[str, str]:
    """What the maintenance identity has: its own logins at Vault and S3, the database, the access policy."""
    services = site.behind()
    # Its connections, as those of the workers are made, by the functions of deploy/compose.
    found = site.connections_of("maintenance")
    home = site.beside / "maintenance"
    home.mkdir()
    return {
        "PATH": services.environment["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(REPOSITORY),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__XCOM_BACKEND": "secure_xcom.SecureXComBackend",
        "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(site.root / "access_policy.yaml"),
        "AIRFLOW__SECURE_XCOM__AUDIT_SINKS": (home / LOG_NAME).as_uri(),
        "SECURE_XCOM_DB": site.database.url.render_as_string(hide_password=False),
        **{f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(one) for conn_id, one in found.items()},
        "AWS_EC2_METADATA_DISABLED": "true",
    }
