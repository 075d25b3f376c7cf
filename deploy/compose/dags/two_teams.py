"""Two DAGs of two teams: marketing pulls the totals that finance publishes, and nothing else of finance."""

from __future__ import annotations

from airflow.sdk import dag, get_current_context, task


@dag(schedule=None)
def finance_daily():
    """Tasks on the queue finance, by the access policy: nothing here says so."""

    @task
    def collect() -> dict[str, str | int]:
        return {"customer": "ada", "amount": 41}

    @task
    def publish_totals(found: dict[str, str | int]) -> dict[str, int]:
        return {"total": int(found["amount"]) + 1}

    publish_totals(collect())


@dag(schedule=None)
def marketing_report():
    """Pulls the newest total from the other compartment, on the queue marketing."""

    @task
    def report() -> str:
        ti = get_current_context()["ti"]
        total = ti.xcom_pull(dag_id="finance_daily", task_ids="publish_totals", include_prior_dates=True)
        return f"total: {total}"

    report()


finance_daily()
marketing_report()
