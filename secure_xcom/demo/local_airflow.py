"""A throwaway Airflow: SQLite, loopback, one folder, and nothing left running. For the demo and the tests.

It starts the components one by one, because ``airflow standalone`` listens on all interfaces and leaves its
children behind.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from secure_xcom.core.operator_errors import ThrowawayFailed

if TYPE_CHECKING:
    from typing_extensions import Self

_USER = "admin"
_FINISHED = ("success", "failed")
# How much of a component's output an error shows.
_TAIL_CHARACTERS = 3000
# The API server answers nobody while it builds its Execution API, at that API's first request: ten seconds of CPU
# time for Airflow 3.4's, and a minute and more on a machine that does much else.
_ANSWER_SECONDS = 300


class LocalAirflow:
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
    ) -> None:
        self.folder = Path(folder).absolute()
        self.dags_folder = Path(dags_folder).absolute() if dags_folder else self.folder / "dags"
        self.database = self.folder / "airflow.db"
        self.logs = self.folder / "logs"
        self.output = self.folder / "output"
        self.port = _free_port()
        self._password = secrets.token_urlsafe(24)
        self.python = python
        self._token: str | None = None
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
        self.settings = {**self._defaults(), **(settings or {})}
        self.environment = self._environment(environment or {})

    def _defaults(self) -> dict[str, str]:
        return {
            "api.base_url": self.url,
            "api.host": "127.0.0.1",
            "api.port": str(self.port),
            "api.secret_key": secrets.token_urlsafe(32),
            "api_auth.jwt_secret": secrets.token_urlsafe(48),
            "core.auth_manager": (
                "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
            ),
            "core.dagbag_import_timeout": "300",
            "core.dags_are_paused_at_creation": "False",
            "core.dags_folder": str(self.dags_folder),
            "core.execution_api_server_url": f"{self.url}/execution/",
            "core.executor": "LocalExecutor",
            # As many tasks at once as a small machine has cores: SQLite has one writer anyway.
            "core.parallelism": "2",
            "core.load_examples": "False",
            "core.simple_auth_manager_passwords_file": str(self.folder / "passwords.json"),
            "core.simple_auth_manager_users": f"{_USER}:admin",
            "dag_processor.dag_file_processor_timeout": "300",
            # DAG files that have changed are read all the same; those that have not cost a core by and by.
            "dag_processor.min_file_process_interval": "3600",
            "dag_processor.refresh_interval": "5",
            "database.sql_alchemy_conn": f"sqlite:///{self.database}",
            "logging.base_log_folder": str(self.logs),
            # The health check is a web server on all interfaces; the API server says how the others are.
            "scheduler.enable_health_check": "False",
            "scheduler.scheduler_health_check_server_host": "127.0.0.1",
            "usage_data_collection.enabled": "False",
            # A slow machine is no broken one: by default a task fails whose API server is silent for some seconds.
            "workers.execution_api_timeout": "60",
            "workers.max_failed_heartbeats": "20",
        }

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(("AIRFLOW", "_AIRFLOW"))
        }
        for name, value in self.settings.items():
            section, _, option = name.rpartition(".")
            environment[f"AIRFLOW__{section.replace('.', '_').upper()}__{option.upper()}"] = value
        environment["AIRFLOW_HOME"] = str(self.folder)
        # A proxy would be asked for 127.0.0.1 too.
        environment["NO_PROXY"] = environment["no_proxy"] = "127.0.0.1,localhost"
        # A checkout that is not installed is found as the caller found it.
        checkout = str(Path(__file__).resolve().parents[2])
        known = environment.get("PYTHONPATH", "")
        environment["PYTHONPATH"] = os.pathsep.join(part for part in (checkout, known) if part)
        return {**environment, **more}

    @property
    def url(self) -> str:
        """The address of the API server and its UI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def login(self) -> tuple[str, str]:
        """The user name and the password of the admin."""
        return _USER, self._password

    # --- life -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        for needed in (self.folder, self.dags_folder, self.logs, self.output):
            needed.mkdir(mode=0o700, parents=True, exist_ok=True)
        passwords = self.folder / "passwords.json"
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps({_USER: self._password}) + "\n")
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
        try:
            return subprocess.run(  # noqa: S603 - an argument list of our own, no shell.
                [self.python, "-m", "airflow", *arguments],
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
                f"`airflow {' '.join(arguments)}` has not ended in {timeout:g} seconds", where=str(self.folder)
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
            self._check_time(end, f"not healthy in time: {', '.join(missing)}", "api-server")
            try:
                health = self._request("GET", "/api/v2/monitor/health", None, None)[1]
            except OSError:
                time.sleep(0.3)
                continue
            missing = [name for name in needed if (health.get(name) or {}).get("status") != "healthy"]
            if missing:
                time.sleep(0.3)
        # The first request has it build the Execution API, which otherwise a task would wait for.
        try:
            self._request("GET", "/execution/health", None, None)
        except OSError as error:
            self._check_time(0, f"its Execution API does not answer ({type(error).__name__})", "api-server")

    def stop(self, *names: str, patience: float = 10) -> None:
        """End the components and all their descendants, by process id. Without names: all of them.

        :param patience: seconds to end by themselves after SIGTERM, before SIGKILL.
        """
        import psutil

        chosen = {name: self._running[name] for name in names or tuple(self._running) if name in self._running}
        family: list[psutil.Process] = []
        for process in chosen.values():
            try:
                root = psutil.Process(process.pid)
                family += [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
        for process in chosen.values():
            process.terminate()
        _, alive = psutil.wait_procs(family, timeout=patience)
        for survivor in alive:
            try:
                # psutil compares the start time first, so a process id that was given anew is spared.
                survivor.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(alive, timeout=5)
        for name, process in chosen.items():
            process.wait(timeout=5)
            del self._running[name]
        if not self._running:
            self._end_strays()

    def _end_strays(self) -> None:
        """End what was started at the moment of a signal, or forked while its parent ended."""
        import psutil

        for _ in range(5):
            strays = []
            for process in psutil.process_iter():
                try:
                    home = process.environ().get("AIRFLOW_HOME")
                    if home == str(self.folder) and process.pid != os.getpid():
                        process.kill()
                        strays.append(process)
                except (psutil.AccessDenied, psutil.NoSuchProcess):
                    continue
            if not strays:
                return
            psutil.wait_procs(strays, timeout=5)

    # --- runs -----------------------------------------------------------------------------------------------

    def trigger(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        timeout: float = 600,
    ) -> str:
        """Start a run, as soon as the DAG processor has found the DAG; gives its run_id.

        :raises ThrowawayFailed: the DAG's file has an import error, or the DAG is not found in time.
        """
        body: dict[str, Any] = {"logical_date": None, "conf": dict(conf or {})}
        if run_id:
            body["dag_run_id"] = run_id
        end = time.monotonic() + timeout
        while True:
            status, answer = self.request("POST", f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns", body)
            if status == http.client.OK:
                return str(answer["dag_run_id"])
            if status != http.client.NOT_FOUND:
                raise ThrowawayFailed(f"the run was not made: HTTP {status} {answer}", where=dag_id)
            for broken in self.api("GET", "/api/v2/importErrors")["import_errors"]:
                raise ThrowawayFailed(f"a DAG file fails:\n{broken['stack_trace']}", where=broken["filename"])
            self._check_time(end, f"the DAG {dag_id!r} was not found in time", "dag-processor")
            time.sleep(0.3)

    def wait(self, dag_id: str, run_id: str, timeout: float = 240) -> str:
        """Wait for the end of a run; gives ``success`` or ``failed``.

        :param timeout: seconds. On SQLite they begin anew whenever a task instance of any run changes its state.
        :raises ThrowawayFailed: it has not ended in time, or a component has ended.
        """
        end, before = time.monotonic() + timeout, self._task_states()
        while (state := self.run_state(dag_id, run_id)) not in _FINISHED:
            if (states := self._task_states()) != before:
                end, before = time.monotonic() + timeout, states
            self._check_time(
                end, f"the run is {state!r} and has not ended in time", "scheduler", f"{dag_id} {run_id}"
            )
            time.sleep(0.25)
        return state

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        # An answer of the API server costs a hundred times as much, and its time is that of the tasks.
        if self._is_sqlite:
            states = self.sql("SELECT state FROM dag_run WHERE dag_id = ? AND run_id = ?", (dag_id, run_id))
            if states:
                return str(states[0][0])
        return str(self.api("GET", _run_path(dag_id, run_id))["state"])

    @property
    def _is_sqlite(self) -> bool:
        return self.settings["database.sql_alchemy_conn"] == f"sqlite:///{self.database}"

    def _task_states(self) -> list[tuple[Any, ...]]:
        """Return how many task instances are in each state and try, to see that something moves."""
        if not self._is_sqlite:
            return []
        return self.sql("SELECT state, try_number, COUNT(*) FROM task_instance GROUP BY 1, 2 ORDER BY 1, 2")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the run's task instances as the API has them: ``task_id, map_index, state, try_number`` etc."""
        instances: list[dict[str, Any]] = []
        while True:
            query = urlencode({"limit": 100, "offset": len(instances), "order_by": "id"})
            page = self.api("GET", f"{_run_path(dag_id, run_id)}/taskInstances?{query}")
            instances += page["task_instances"]
            if not page["task_instances"] or len(instances) >= page["total_entries"]:
                return instances

    def log_path(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, try_number: int = 1) -> Path:
        """Return where Airflow's default template puts the log of a task instance try."""
        folder = self.logs / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        if map_index >= 0:
            folder /= f"map_index={map_index}"
        return folder / f"attempt={try_number}.log"

    def log_text(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, try_number: int = 1) -> str:
        """Return the log of a task instance try as it lies on disk (JSON lines); empty if there is none."""
        path = self.log_path(dag_id, run_id, task_id, map_index, try_number)
        return path.read_text(errors="replace") if path.exists() else ""

    def component_output(self, name: str) -> str:
        """Return what a component wrote to its standard output and error."""
        path = self._output(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def sql(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one SQL statement on the metadata database, as somebody would who has it; commits."""
        connection = sqlite3.connect(self.database, timeout=_ANSWER_SECONDS)
        try:
            with connection:
                return connection.execute(statement, parameters).fetchall()
        finally:
            connection.close()

    # --- the API --------------------------------------------------------------------------------------------

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Ask Airflow's REST API; gives the JSON of the answer.

        :raises ThrowawayFailed: the answer is not of the 200s.
        """
        status, answer = self.request(method, path, body)
        if not 200 <= status < 300:
            raise ThrowawayFailed(f"HTTP {status} {answer}", where=f"{method} {path}")
        return answer

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask Airflow's REST API as its admin; gives the HTTP status and the JSON of the answer.

        :raises ThrowawayFailed: the API server cannot be reached.
        """
        try:
            if self._token is None:
                login = {"username": _USER, "password": self._password}
                status, answer = self._request("POST", "/auth/token", login, None)
                if status != http.client.CREATED:
                    raise ThrowawayFailed(f"no token: HTTP {status} {answer}", where="/auth/token")
                self._token = str(answer["access_token"])
            return self._request(method, path, body, self._token)
        except OSError as error:
            raise ThrowawayFailed(
                f"the API server does not answer ({type(error).__name__}):\n{self._tail('api-server')}",
                where=f"{method} {path}",
            ) from None

    def _request(self, method: str, path: str, body: object, token: str | None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_SECONDS)
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP answer ({type(error).__name__})") from None
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text) if text else None
        except ValueError:
            return answer.status, text[:500].decode(errors="replace")

    # --- trouble --------------------------------------------------------------------------------------------

    def _check_time(self, end: float, what: str, component: str, where: str = "") -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                raise ThrowawayFailed(
                    f"{name} ended with {process.returncode}:\n{self._tail(name)}", where=str(self._output(name))
                )
        if time.monotonic() > end:
            raise ThrowawayFailed(
                f"{what}; {component}:\n{self._tail(component)}", where=where or str(self.folder)
            )

    def _output(self, name: str) -> Path:
        return self.output / f"{name}.log"

    def _tail(self, name: str) -> str:
        return self.component_output(name)[-_TAIL_CHARACTERS:]


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
