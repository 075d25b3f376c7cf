"""``secure-xcom demo --ui``: a throwaway Airflow to look at, with sealed XComs of two teams in its UI."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from secure_xcom.core.operator_errors import ThrowawayFailed
from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.setup import prepare

if TYPE_CHECKING:
    from rich.console import Console

PAGE = "plugin/sealed-xcoms-browse"
TAB = "plugin/sealed-xcoms"
DAG = "finance_daily"
_DAGS = Path(__file__).with_name("ui_dags.py")
_POLICY: dict[str, dict[str, Any]] = {
    "finance": {
        "exclusive": ["handover"],
        "retention": "30d",
        "retention_of": [{"keys": ["tmp_*"], "retention": "1m"}],
        "readers": [{"compartment": "marketing", "of_dags": [DAG], "of_tasks": ["totals"]}],
    },
    "marketing": {"retention": "7d"},
}
# They take seconds; a machine that does much else is slower.
_RUN_SECONDS = 600


class Step(Protocol):
    """Tells people what is being done."""

    def __call__(self, what: str) -> AbstractContextManager[None]: ...


@dataclass
class Shown:
    """What the demo made: a running Airflow, and the run that it shows."""

    airflow: LocalAirflow
    run_id: str

    @property
    def page(self) -> str:
        """The address of the page under Browse."""
        return f"{self.airflow.url}/{PAGE}"

    def tab(self, task_id: str = "extract", map_index: int = -1, run_id: str | None = None) -> str:
        """Return the address of a task instance's tab."""
        mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
        run = quote(run_id or self.run_id, safe="")
        return f"{self.airflow.url}/dags/{DAG}/runs/{run}/tasks/{quote(task_id, safe='')}{mapped}/{TAB}"


def make(
    folder: Path, settings: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
) -> LocalAirflow:
    """Return an Airflow of two teams, not started: keyrings, stores, an access policy and the DAGs."""
    (folder / "audit").mkdir(mode=0o700, parents=True)
    compartments: list[dict[str, Any]] = []
    for name, more in _POLICY.items():
        key_uri, store_uri = f"local://{folder}/keys/{name}.json", f"file://{folder}/store/{name}"
        prepare([key_uri], store_uri)
        compartments.append(
            {"name": name, "dags": [f"{name}_*"], "key_uris": [key_uri], "store_uri": store_uri, **more}
        )
    policy = folder / "access_policy.json"
    hold = {"name": "case-12", "dags": [DAG], "runs": ["audited_*"], "reason": "asked for by the auditors"}
    # JSON is YAML too.
    policy.write_text(json.dumps({"version": 1, "compartments": compartments, "legal_holds": [hold]}))
    access_log = f"file://{folder}/audit/access-log.jsonl"
    airflow = LocalAirflow(
        folder / "airflow",
        {
            "core.xcom_backend": "secure_xcom.SecureXComBackend",
            "secure_xcom.access_policy": str(policy),
            "secure_xcom.audit_sinks": access_log,
            "secure_xcom.ui_audit_url": access_log,
            "secure_xcom.sensitive_names": "iban",
            **(settings or {}),
        },
        environment=environment,
    )
    airflow.dags_folder.mkdir(mode=0o700, parents=True)
    shutil.copyfile(_DAGS, airflow.dags_folder / "teams.py")
    return airflow


def run_dags(airflow: LocalAirflow) -> str:
    """Run both DAGs once, in a process of their own, and give the first one's run_id.

    :raises ThrowawayFailed: a DAG does not run here, or not in time.
    """
    teams = str(airflow.dags_folder / "teams.py")
    done = airflow.run_python("-m", "secure_xcom.demo.ui_run", teams, timeout=_RUN_SECONDS)
    runs = airflow.sql("SELECT run_id FROM dag_run WHERE dag_id = ? AND state = 'success'", (DAG,))
    if not runs or done.returncode:
        raise ThrowawayFailed(
            f"the demo's DAGs failed ({done.returncode}):\n{done.stdout[-3000:]}", where=str(airflow.folder)
        )
    return str(runs[0][0])


@contextmanager
def shown(folder: Path, step: Step) -> Iterator[Shown]:
    """Make the Airflow, run its DAGs, and keep it running inside the ``with`` block."""
    with step("make keyrings, stores and an access policy"):
        airflow = make(folder)
    with airflow:
        with step("create the database of a temporary Airflow"):
            airflow.migrate()
        with step("run the DAGs of two teams"):
            run_id = run_dags(airflow)
        with step("start its API server, scheduler and DAG processor"):
            airflow.start()
        yield Shown(airflow, run_id)


def places(made: Shown) -> dict[str, str]:
    """Return where to look, and how to log in."""
    user, password = made.airflow.login
    return {
        "page": made.page,
        "tab": made.tab(),
        "plaintext": made.tab("load"),
        "user": user,
        "password": password,
    }


def show(out: Console, made: Shown) -> None:
    """Print where to look, and how to log in."""
    for what, text in places(made).items():
        out.print(f"{what + ':':<11} {text}", soft_wrap=True, markup=False, highlight=False)
    out.print("Ctrl-C ends it.", style="dim")


def wait_for_interrupt() -> None:
    """Return when somebody presses Ctrl-C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        # A second one must not disturb the ending.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
