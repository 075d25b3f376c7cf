"""A real `secure-xcom reveal` in a process of its own, and what its database and store hold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

START_SECONDS = 120


@dataclass
class RevealProcess:
    """The process, at its address.

    :ivar url: where it listens; :ivar output: what it wrote, once it has ended.
    """

    process: subprocess.Popen[str]
    url: str
    log: Path
    output: str = field(default="", repr=False)
    session: requests.Session = field(default_factory=requests.Session, repr=False)

    def ask(
        self, token: str, body: Mapping[str, Any] | bytes, *, origin: str, **headers: str
    ) -> requests.Response:
        """Ask for an XCom as the page does, with some headers changed."""
        sent = {"Authorization": f"Bearer {token}", "Origin": origin, "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): text for name, text in headers.items()}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.session.post(f"{self.url}/v1/reveal", data=data, headers=sent, timeout=60)

    def stop(self) -> int:
        """End it as an orchestrator does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def reveal_process(
    folder: Path, environment: Mapping[str, str], *arguments: str, ca: Path | None = None
) -> Iterator[RevealProcess]:
    """Start the service and wait until it listens.

    :param environment: beside the variables of every process; none of the caller's Vault and Airflow.
    :param ca: who signed its certificate, where it has one.
    """
    log = folder / "reveal.log"
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("AIRFLOW", "VAULT_", "BAO_"))}
    command = [str(Path(sys.executable).with_name("secure-xcom")), "reveal", "--json", *arguments]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            env={**kept, "AIRFLOW_HOME": str(folder / "home"), "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=folder,
        ) as process,
    ):
        try:
            made = RevealProcess(process, _url(process, log), log)
            # Otherwise REQUESTS_CA_BUNDLE comes first.
            made.session.trust_env = False
            made.session.verify = True if ca is None else str(ca)
            yield made
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)


def _url(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    until = time.monotonic() + START_SECONDS
    text = ""
    while time.monotonic() < until:
        line = process.stdout.readline()
        if not line:
            break
        text += line
        try:
            record = json.loads(text)
        except ValueError:
            continue
        return str(record.get("listening") or record["address"])
    process.kill()
    raise AssertionError(f"the service does not listen: {text}\n{log.read_text()}")
