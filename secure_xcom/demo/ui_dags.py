"""The DAGs of ``secure-xcom demo --ui``: two teams, of which one hands a total to the other.

The demo copies this file into its throwaway Airflow.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from airflow.sdk import dag, get_current_context, task


@dag(schedule=None, catchup=False)
def finance_daily() -> None:
    """Push what a finance team pushes: a customer, secrets, mapped values, and a token for one reader."""

    @task(multiple_outputs=False)
    def extract() -> dict[str, Any]:
        instance = get_current_context()["ti"]
        instance.xcom_push(key="rows", value=[{"region": f"region {n}", "amount": n * 1.5} for n in range(400)])
        instance.xcom_push(key="api_token", value="an-example-and-no-secret")
        instance.xcom_push(key="handover", value={"token": "an-example-and-no-secret", "for": "audit_it"})
        instance.xcom_push(key="tmp_progress", value={"step": 3, "of": 5})
        return {
            "customer": {
                "name": "Ada Lovelace",
                "since": 1843,
                "address": {"street": "12 St James's Square", "postcode": "SW1Y 4LE"},
            },
            "amount": 99.5,
            "paid": True,
            "iban": "DE00 0000 0000 0000 0000 00",
            "password": "an-example-and-no-secret",
            "lines": [{"article": "engine", "count": 2}, {"article": "loom", "count": 1}],
        }

    @task
    def regions() -> list[str]:
        return ["north", "south", "west"]

    @task(multiple_outputs=False)
    def region(name: str) -> dict[str, Any]:
        return {"region": name, "amount": len(name) * 1000.5}

    @task
    def totals() -> float:
        entries = get_current_context()["ti"].xcom_pull(task_ids="region")
        return float(sum(entry["amount"] for entry in entries))

    @task
    def frame() -> Any:
        if importlib.util.find_spec("pandas") is None:
            return [{"region": "north", "amount": 1.5}]
        import pandas as pd

        return pd.DataFrame({"region": ["north", "south"], "amount": [1.5, 2.5], "paid": [True, False]})

    @task
    def load() -> None:
        instance = get_current_context()["ti"]
        instance.xcom_pull(task_ids="extract")
        instance.xcom_pull(task_ids="extract", key="rows")

    @task
    def audit_it() -> None:
        get_current_context()["ti"].xcom_pull(task_ids="extract", key="handover")

    extract() >> [load(), audit_it()]
    region.expand(name=regions()) >> totals() >> frame()


@dag(schedule=None, catchup=False)
def marketing_report() -> None:
    """Pull what the other team allows, and then what it does not."""

    def theirs(task_id: str) -> Any:
        context = get_current_context()
        run_id = (context["dag_run"].conf or {}).get("finance_run")
        return context["ti"].xcom_pull(dag_id="finance_daily", run_id=run_id, task_ids=task_id)

    @task
    def report() -> str:
        return f"the total is {theirs('totals')}"

    @task(trigger_rule="all_done")
    def curious() -> None:
        theirs("extract")

    report() >> curious()


finance, marketing = finance_daily(), marketing_report()
