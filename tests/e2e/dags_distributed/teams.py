"""What each team of the distributed deployment runs; not a word of where. The team's queue is the access policy's.

With Airflow's own backend, which the benchmark compares with, no policy places tasks, so the DAGs name the queue.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, get_current_context, task

from tests.e2e.dags.kit import got, said, secret, task_instance

SIGNALS = Path(os.environ.get("SECURE_XCOM_E2E_SIGNALS", "/nonexistent"))
COUNT = int(os.environ.get("SECURE_XCOM_E2E_COUNT", "60"))
STOCK = os.environ.get("SECURE_XCOM_E2E_BACKEND") == "stock"
HOLD_SECONDS = 120


def here(name: str) -> None:
    """Note which team's worker runs this."""
    said(f"{task_instance().dag_id}.{name}", os.environ.get("SECURE_XCOM_E2E_TEAM", "no worker"))


def run_id() -> str:
    """This run's."""
    return str(get_current_context()["dag_run"].run_id)


def halfway(name: str) -> None:
    """In the first try of a run that is to be disturbed: say that it is in its middle, and wait for a word."""
    run = run_id()
    if not (SIGNALS / f"{run}.hold").exists() or task_instance().try_number > 1:
        return
    (SIGNALS / f"{run}.{task_instance().dag_id}.{name}").touch()
    deadline = time.monotonic() + HOLD_SECONDS
    while not (SIGNALS / f"{run}.go").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody said go")
        time.sleep(0.05)


class Defers(BaseOperator):
    """Waits in the triggerer, and pushes in another process than it began in."""

    def execute(self, context: Any) -> None:
        """Before."""
        here("before it defers")
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=0.5)), method_name="after")

    def after(self, context: Any, event: Any) -> dict[str, str]:
        """Afterwards."""
        here("after it deferred")
        return {"password": secret(f"{self.dag_id} deferred")}


def _options(team: str, **more: Any) -> dict[str, Any]:
    queue = {"queue": team} if STOCK else {}
    return {
        "schedule": None,
        "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "catchup": False,
        "default_args": {**queue, **more},
    }


def build_ways(team: str) -> DAG:
    """Values of many types, a deferred one and mapped ones, from task to task of one team."""
    with DAG(f"{team}_ways", **_options(team)) as dag:

        @task
        def produce() -> dict[str, str]:
            here("produce")
            for name, value in values(team).items():
                task_instance().xcom_push(name, value)
            return {"password": secret(f"{team}_ways produced")}

        @task
        def double(number: int) -> dict[str, Any]:
            here("double")
            return {"number": number * 2, "password": secret(f"{team}_ways doubled")}

        @task
        def gather(doubled: list[Any]) -> None:
            here("gather")
            ti = task_instance()
            for name in values(team):
                got(f"{team} {name}", ti.xcom_pull(task_ids="produce", key=name))
            got(f"{team} produced", ti.xcom_pull(task_ids="produce"))
            got(f"{team} deferred", ti.xcom_pull(task_ids="defers"))
            got(f"{team} doubled", list(doubled))

        first = produce()
        doubled = double.expand(number=[1, 2])
        gathered = gather(doubled)  # type: ignore[arg-type]  # as TaskFlow is written
        first >> [doubled, Defers(task_id="defers")] >> gathered
    return dag


def values(team: str) -> dict[str, Any]:
    """What is pushed under its name."""
    token = secret(f"{team}_ways token")
    return {
        "token": token,
        "credentials": {"user": "ada", "password": token, "ports": [1, 2, 3], "ratio": 0.5, "none": None},
        "list_of_passwords": [token, "second"],
        "large_secret": token * 20_000,
        "secret_bytes": token.encode() + bytes(range(256)),
    }


def build_faults(team: str) -> DAG:
    """A push and a pull that something befalls, and a reader of what became of the push."""
    options = _options(team, retries=8, retry_delay=timedelta(seconds=1))
    with DAG(f"{team}_faults", **options) as dag:

        @task
        def seed() -> dict[str, str]:
            return {"password": secret(f"{team} {run_id()} seed")}

        @task
        def pushes() -> dict[str, str]:
            halfway("pushes")
            # Of two pushes the second is what a killed process was at, so its access log has begun.
            task_instance().xcom_push("first", {"password": secret(f"{team} {run_id()} pushed first")})
            return {"password": secret(f"{team} {run_id()} pushed")}

        @task
        def pulls() -> None:
            task_instance().xcom_push("first", {"password": secret(f"{team} {run_id()} pushed before it pulls")})
            halfway("pulls")
            got(f"{team} {run_id()} seed", task_instance().xcom_pull(task_ids="seed"))

        @task
        def reads() -> None:
            got(f"{team} {run_id()} pushed", task_instance().xcom_pull(task_ids="pushes"))

        seed() >> [pushes(), pulls()] >> reads()
    return dag


def build_many(team: str) -> DAG:
    """Many mapped task instances, each with a pull and a push; half of all for each team."""
    options = _options(team, retries=2, retry_delay=timedelta(seconds=1))
    with DAG(f"{team}_many", **options) as dag:

        @task
        def numbers() -> list[int]:
            return list(range(COUNT // 2))

        @task
        def each(number: int) -> Any:
            # One XCom: what is annotated as a dict is pushed by its keys as well.
            return {"number": number, "password": secret(f"{team} many"), "text": "x" * 800}

        @task
        def total(found: list[Any]) -> None:
            everything = list(found)
            said(f"{team} {run_id()} total", f"{len(everything)} {sum(one['number'] for one in everything)}")

        total(each.expand(number=numbers()))  # type: ignore[arg-type]  # as TaskFlow is written
    return dag


finance_ways, marketing_ways = build_ways("finance"), build_ways("marketing")
finance_faults, marketing_faults = build_faults("finance"), build_faults("marketing")
finance_many, marketing_many = build_many("finance"), build_many("marketing")
