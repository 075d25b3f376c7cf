"""Two DAGs of two teams: marketing pulls the totals that finance publishes, and nothing else of finance."""

from __future__ import annotations

from airflow.sdk import Asset, dag, get_current_context, task

# Finance says that there is a new total; which run it is of comes along, the total itself does not.
TOTALS = Asset("finance_totals")


@dag(schedule=None)
def finance_daily():
    """Tasks on the queue finance, by the access policy: nothing here says so."""

    @task
    def collect() -> dict[str, str | int]:
        return {"customer": "ada", "amount": 41}

    @task(outlets=[TOTALS])
    def publish_totals(found: dict[str, str | int]) -> dict[str, int]:
        return {"total": int(found["amount"]) + 1}

    publish_totals(collect())


@dag(schedule=[TOTALS])
def marketing_report():
    """Run on the queue marketing after each new total, and pull it from the other compartment."""

    @task
    def report() -> str:
        context = get_current_context()
        events = context["triggering_asset_events"].get(TOTALS, ())
        # Started by hand, it takes the run of finance that has the same id.
        run_id = events[-1].source_run_id if events else context["run_id"]
        found = context["ti"].xcom_pull(dag_id="finance_daily", task_ids="publish_totals", run_id=run_id)
        if found is None:
            raise ValueError(f"finance_daily has published no total in its run {run_id}")
        return f"total: {found['total']}"

    report()


finance_daily()
marketing_report()
