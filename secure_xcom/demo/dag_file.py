"""The demo's DAGs, as anybody would write them: nothing in here knows of sealed XComs.

The demo copies this file into its throwaway Airflow. Values come from a file that stands for a database or an
API, because what is written in a DAG file stands in Airflow's database anyway; what consumers got is written to a
folder that stands for the system they work for.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from airflow.sdk import dag, get_current_context, task


def _source() -> dict[str, Any]:
    return dict(json.loads(Path(os.environ["SECURE_XCOM_DEMO_SOURCE"]).read_text()))


def _received(name: str, value: object) -> None:
    Path(os.environ["SECURE_XCOM_DEMO_RECEIVED"], f"{name}.json").write_text(json.dumps(value))


@dag(schedule=None, catchup=False)
def secure_xcom_demo() -> None:
    """Return a password, mapped tasks and a large value."""

    @task(multiple_outputs=False)
    def get_login() -> dict[str, Any]:
        return dict(_source()["login"])

    @task
    def list_accounts() -> list[str]:
        return list(_source()["accounts"])

    @task(multiple_outputs=False)
    def read_balance(account: str) -> dict[str, Any]:
        return {"account": account, "balance": _source()["balances"][account]}

    @task
    def get_readings() -> list[int]:
        source = _source()
        count = source["readings"]
        stream = hashlib.shake_256(source["seed"].encode()).digest(8 * count)
        return [int.from_bytes(stream[8 * place : 8 * place + 8], "big") for place in range(count)]

    @task
    def log_in() -> None:
        # Pulled in here: of what is handed over as an argument, Airflow keeps the numbers in plaintext, as a
        # rendered template field (docs/concepts/what-bypasses-xcom.md).
        login = get_current_context()["ti"].xcom_pull(task_ids="get_login")
        print(f"logging in to {login['host']} with {login['password']} and {login['access_token']}")
        _received("login", login)

    @task
    def sum_balances(balances: Any) -> None:
        _received("balances", list(balances))

    @task
    def average_readings() -> None:
        readings = get_current_context()["ti"].xcom_pull(task_ids="get_readings")
        _received("readings", [len(readings), hashlib.sha256(json.dumps(readings).encode()).hexdigest()])

    get_login() >> log_in()
    get_readings() >> average_readings()
    sum_balances(read_balance.expand(account=list_accounts()))


@dag(schedule=None, catchup=False)
def secure_xcom_demo_attacks() -> None:
    """Pull what a run of the other DAG pushed, after somebody has been at the database and the store."""

    @task
    def pull(name: str) -> None:
        context = get_current_context()
        target = (context["dag_run"].conf or {})["targets"][name]
        context["ti"].xcom_pull(dag_id="secure_xcom_demo", **target)

    for name in ("untouched", "replayed", "edited_head", "edited_object"):
        pull.override(task_id=name)(name)


secure_xcom_demo()
secure_xcom_demo_attacks()
