"""A throwaway Airflow: SQLite, loopback, one folder, and nothing left running. For the demo and the tests."""

from __future__ import annotations

import http.client
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from secure_xcom.core.operator_errors import ThrowawayFailed
from secure_xcom.demo.airflow_processes import AirflowProcesses
from secure_xcom.demo.rest_api import ANSWER_SECONDS

_FINISHED = ("success", "failed")


class LocalAirflow(AirflowProcesses):
    """A throwaway Airflow, its runs and its database. What begins and ends it is in `AirflowProcesses`."""

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
            fault, component = f"the run was not made: HTTP {status} {answer}", "api-server"
            if status == http.client.NOT_FOUND:
                for broken in self.api("GET", "/api/v2/importErrors")["import_errors"]:
                    raise ThrowawayFailed(f"a DAG file fails:\n{broken['stack_trace']}", where=broken["filename"])
                fault, component = f"the DAG {dag_id!r} was not found in time", "dag-processor"
            elif status < http.client.INTERNAL_SERVER_ERROR:
                raise ThrowawayFailed(fault, where=dag_id)
            # Airflow answers 500 where SQLite is locked by another process, and has stored nothing then.
            self.check_time(end, fault, component, where=dag_id)
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
            self.check_time(
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

    def sql(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one SQL statement on the metadata database, as somebody would who has it; commits."""
        connection = sqlite3.connect(self.database, timeout=ANSWER_SECONDS)
        try:
            with connection:
                return connection.execute(statement, parameters).fetchall()
        finally:
            connection.close()

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
            return self.rest.request(method, path, body)
        except OSError as error:
            raise ThrowawayFailed(
                f"the API server does not answer ({type(error).__name__}):\n{self.tail('api-server')}",
                where=f"{method} {path}",
            ) from None


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"
