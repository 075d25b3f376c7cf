"""A Celery worker of the compose deployment without Docker: its settings and its command are the compose file's.

What the compose file mounts or resolves by name is here a folder and a port of this machine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support import deployed

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 120
# Of the caller's environment a worker gets these alone.
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "SECURE_XCOM_CACHE")


@dataclass
class CeleryWorker:
    """The worker of one team, below a folder of its own.

    :param connections: Airflow's connections of its identity, in the file that it alone has.
    :param places: text of the compose file -> what it is on this machine.
    :param more: further environment variables.
    """

    team: str
    home: Path
    connections: Mapping[str, Any] = field(repr=False)
    places: Mapping[str, str]
    more: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict, repr=False)

    def prepare(self) -> None:
        """Make its folders, its file of connections and its environment."""
        for name in ("identity", "access-log"):
            (self.home / name).mkdir(parents=True, mode=0o700)
        file = self.home / "identity" / "connections.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(self.connections))
        places = {
            "/run/identity/": f"{self.home}/identity/",
            "/opt/airflow/access-log/": f"{self.home}/access-log/",
            **self.places,
        }
        self.environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self.environment.update(
            HOME=str(self.home), AIRFLOW_HOME=str(self.home), PYTHONPATH=str(REPOSITORY), NO_PROXY="127.0.0.1",
            SECURE_XCOM_E2E_TEAM=self.team,
        )  # fmt: skip
        for name, text in self._service["environment"].items():
            for there, here in places.items():
                text = text.replace(there, here)  # noqa: PLW2901  # one text, place by place
            self.environment[name] = text
        self.environment.update(self.more)

    @property
    def _service(self) -> dict[str, Any]:
        service: dict[str, Any] = deployed.compose()["services"][f"worker-{self.team}"]
        return service

    @property
    def access_log(self) -> Path:
        """Where its access log lies."""
        return self.home / "access-log" / "access-log.jsonl"

    @property
    def output(self) -> Path:
        """What it writes to its standard output and error."""
        return self.home / "output.log"

    def start(self) -> None:
        """Start it, without waiting."""
        with self.output.open("ab") as output:
            output.write(b"--- started\n")
            self.process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *self._service["command"]],
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Until it takes tasks."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            said = self.output.read_bytes().rpartition(b"--- started\n")[2]
            if b" ready." in said:
                return
            ended = self.process is None or self.process.poll() is not None
            assert not ended, f"the worker ended: {said[-3000:].decode(errors='replace')}"
            assert time.monotonic() < deadline, f"the worker is not ready: {said[-3000:].decode(errors='replace')}"
            time.sleep(0.1)

    def kill(self) -> None:
        """End it, its tasks and all else that it started as a power cut does: nobody cleans up."""
        if self.process is None:
            return
        kill_family(self.process.pid)
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """End it gently, and then what is left of it."""
        if self.process is None:
            return
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for one in family:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        self.process = None

    def log(self, path: str) -> str:
        """Return a task's log as it lies on the worker's disk; empty if there is none, or it has been put away."""
        file = self.home / "logs" / path
        return file.read_text(errors="replace") if file.exists() else ""


def kill_family(pid: int) -> None:
    """Kill a process and all that it started, as a power cut does."""
    # The parent first: it must not see a child end. A task's process has a group of its own.
    for one in (pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            # It ended by itself since.
            continue
