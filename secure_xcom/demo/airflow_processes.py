"""The processes of a throwaway Airflow: their start, their health and their end.

The components are started one by one, because ``airflow standalone`` listens on all interfaces and leaves its
children behind.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from secure_xcom.core.operator_errors import ThrowawayFailed
from secure_xcom.demo.airflow_settings import USER, default_settings, environment_of
from secure_xcom.demo.end_processes import end_processes, end_strays
from secure_xcom.demo.rest_api import RestApi

if TYPE_CHECKING:
    from typing_extensions import Self

# How much of a component's output an error shows.
_TAIL_CHARACTERS = 3000


class AirflowProcesses:
    """Airflow in a folder of its own, for as long as a ``with`` block.

    Nothing of the caller's Airflow is used: its ``AIRFLOW*`` variables are taken out of the components'
    environment. Entering makes the folder's layout; `migrate` and `start` are the caller's to call, so that it
    can do other things in between.

    :param folder: an empty or missing folder, absolute; it is not removed at the end.
    :param settings: more settings, or others than the defaults, as ``{"section.option": "text"}``.
    :param dags_folder: the folder with the DAG files; by default ``folder/dags``.
    :param environment: more environment variables for the components.
    :param triggerer: also start a triggerer, for deferrable tasks; with these arguments, if it is a list.
    :param python: the interpreter that has Airflow.
    :param port: the API server's, on loopback; by default a free one.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        dags_folder: Path | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        triggerer: bool | Sequence[str] = False,
        python: str = sys.executable,
        port: int | None = None,
    ) -> None:
        self.folder = Path(folder).absolute()
        self.dags_folder = Path(dags_folder).absolute() if dags_folder else self.folder / "dags"
        self.database = self.folder / "airflow.db"
        self.logs = self.folder / "logs"
        self.output = self.folder / "output"
        self.port = port or _free_port()
        self._password = secrets.token_urlsafe(24)
        self.rest = RestApi(self.port, USER, self._password)
        self.python = python
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._components = {
            "api-server": ("api-server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
            # Without --skip-serve-logs it would serve logs on all interfaces.
            "scheduler": ("scheduler", "--skip-serve-logs"),
            "dag-processor": ("dag-processor",),
        }
        if triggerer:
            more = () if triggerer is True else triggerer
            self._components["triggerer"] = ("triggerer", "--skip-serve-logs", *more)
        self.settings = {**default_settings(self.folder, self.dags_folder, self.port), **(settings or {})}
        self.environment = environment_of(self.folder, self.settings, environment or {})

    @property
    def url(self) -> str:
        """The address of the API server and its UI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def login(self) -> tuple[str, str]:
        """The user name and the password of the admin."""
        return USER, self._password

    # --- life -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        for needed in (self.folder, self.dags_folder, self.logs, self.output):
            needed.mkdir(mode=0o700, parents=True, exist_ok=True)
        passwords = self.folder / "passwords.json"
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps({USER: self._password}) + "\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def migrate(self) -> None:
        """Make the metadata database.

        :raises ThrowawayFailed: with the end of the command's output.
        """
        done = self.airflow("db", "migrate")
        if done.returncode:
            raise ThrowawayFailed(
                f"`airflow db migrate` ended with {done.returncode}:\n{done.stdout[-_TAIL_CHARACTERS:]}",
                where=str(self.folder),
            )

    def airflow(self, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run an ``airflow`` command of this Airflow to its end; its output is in ``stdout``, errors included.

        :raises ThrowawayFailed: it has not ended in time.
        """
        return self.run_python("-m", "airflow", *arguments, timeout=timeout)

    def run_python(self, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run this Airflow's interpreter to its end; its output is in ``stdout``, errors included.

        :raises ThrowawayFailed: it has not ended in time.
        """
        try:
            return subprocess.run(  # noqa: S603  # an argument list of our own, no shell
                [self.python, *arguments],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ThrowawayFailed(
                f"`python {' '.join(arguments)}` has not ended in {timeout:g} seconds", where=str(self.folder)
            ) from None

    def start(self, *names: str, timeout: float = 600) -> None:
        """Start the components at the same time and wait until each is healthy.

        :param names: ``api-server``, ``scheduler``, ``dag-processor``, ``triggerer``; by default all.
        :param timeout: seconds.
        :raises ThrowawayFailed: a component ended, or is not healthy in time.
        """
        self.launch(*names)
        self.wait_healthy(timeout)

    def launch(self, *names: str) -> None:
        """Start components without waiting for them."""
        for name in names or tuple(self._components):
            with self._output(name).open("ab") as output:
                self._running[name] = self._start(self._components[name], output)

    def _start(self, arguments: Sequence[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - an argument list of our own, no shell.
            [self.python, "-m", "airflow", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C ends this process first, which then ends its components in order.
            start_new_session=True,
        )

    def wait_healthy(self, timeout: float = 600) -> None:
        """Wait until the API server says that all started components are healthy, and serves tasks.

        :raises ThrowawayFailed: a component ended, or is not healthy in time.
        """
        needed = [name.replace("-", "_") for name in self._running if name != "api-server"]
        end = time.monotonic() + timeout
        missing = ["api-server"]
        while missing:
            self.check_time(end, f"not healthy in time: {', '.join(missing)}", "api-server")
            try:
                health = self.rest.send("GET", "/api/v2/monitor/health")[1]
            except OSError:
                time.sleep(0.3)
                continue
            missing = [name for name in needed if (health.get(name) or {}).get("status") != "healthy"]
            if missing:
                time.sleep(0.3)
        # The first request has it build the Execution API, which otherwise a task would wait for.
        try:
            self.rest.send("GET", "/execution/health")
        except OSError as error:
            self.check_time(0, f"its Execution API does not answer ({type(error).__name__})", "api-server")

    def stop(self, *names: str, patience: float = 10) -> None:
        """End the components and all their descendants, by process id. Without names: all of them.

        :param patience: seconds to end by themselves after SIGTERM, before SIGKILL.
        """
        chosen = {name: self._running[name] for name in names or tuple(self._running) if name in self._running}
        end_processes([process.pid for process in chosen.values()], patience=patience)
        for name, process in chosen.items():
            process.wait(timeout=5)
            del self._running[name]
        if not self._running:
            end_strays(self.folder)

    def component_output(self, name: str) -> str:
        """Return what a component wrote to its standard output and error."""
        path = self._output(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def check_time(self, end: float, what: str, component: str, where: str = "") -> None:
        """Check that every component runs, and that there is time left.

        :param end: by the monotonic clock. :param what: what was waited for; :param component: whose output tells.
        :raises ThrowawayFailed: one has ended, or the time is over.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                raise ThrowawayFailed(
                    f"{name} ended with {process.returncode}:\n{self.tail(name)}", where=str(self._output(name))
                )
        if time.monotonic() > end:
            raise ThrowawayFailed(f"{what}; {component}:\n{self.tail(component)}", where=where or str(self.folder))

    def _output(self, name: str) -> Path:
        return self.output / f"{name}.log"

    def tail(self, name: str) -> str:
        """Return the end of what a component wrote."""
        return self.component_output(name)[-_TAIL_CHARACTERS:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
