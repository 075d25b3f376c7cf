"""What each team runs; not a word of where: the pod's service account is the access policy's."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, task
from kubernetes.client import models

from tests.kubernetes.kit import account, expect, note, run_id, secret, task_instance

# A pod of a task's own making, as far as the access policy lets it: more memory, and a variable.
OWN_POD = models.V1Pod(
    spec=models.V1PodSpec(
        containers=[
            models.V1Container(
                name="base",
                env=[models.V1EnvVar(name="OWN_POD", value="yes")],
                resources=models.V1ResourceRequirements(requests={"memory": "64Mi"}),
            )
        ]
    )
)


class Defers(BaseOperator):
    """Waits in the triggerer, and pushes in another pod than it began in."""

    def execute(self, context: Any) -> None:
        """Before."""
        note("before it defers", account())
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=0.5)), method_name="after")

    def after(self, context: Any, event: Any = None) -> dict[str, str]:
        """Later."""
        note("after it deferred", account())
        return {"password": secret(f"{self.dag_id} deferred")}


def _options(**more: Any) -> dict[str, Any]:
    return {
        "schedule": None,
        "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "catchup": False,
        "default_args": more,
    }


def values(team: str) -> dict[str, Any]:
    """Return what is pushed under its name."""
    token = secret(f"{team}_ways token")
    return {
        "token": token,
        "credentials": {"user": "ada", "password": token, "ports": [1, 2, 3], "ratio": 0.5, "none": None},
        "large_secret": token * 20_000,
        "secret_bytes": token.encode() + bytes(range(256)),
    }


def build_ways(team: str) -> DAG:
    """Values of many types, deferred, mapped and from a pod of the task's own making, from task to task."""
    with DAG(f"{team}_ways", **_options()) as dag:

        @task
        def produce() -> dict[str, str]:
            note("produce", account())
            for name, value in values(team).items():
                task_instance().xcom_push(name, value)
            return {"password": secret(f"{team}_ways produced")}

        @task(executor_config={"pod_override": OWN_POD})
        def own_pod() -> dict[str, str]:
            import os

            note("own pod", [account(), os.environ.get("OWN_POD")])
            return {"password": secret(f"{team}_ways own pod")}

        @task
        def double(number: int) -> dict[str, Any]:
            note("double", account())
            return {"number": number * 2, "password": secret(f"{team}_ways doubled")}

        @task
        def gather(doubled: list[Any]) -> None:
            note("gather", account())
            ti = task_instance()
            for name, value in values(team).items():
                expect(name, ti.xcom_pull(task_ids="produce", key=name), value)
            for name, task_id in (("produced", "produce"), ("deferred", "defers"), ("own pod", "own_pod")):
                expect(name, ti.xcom_pull(task_ids=task_id), {"password": secret(f"{team}_ways {name}")})
            wanted = [{"number": number * 2, "password": secret(f"{team}_ways doubled")} for number in (1, 2)]
            expect("doubled", list(doubled), wanted)

        first = produce()
        doubled = double.expand(number=[1, 2])
        gathered = gather(doubled)  # type: ignore[arg-type]  # as TaskFlow is written
        first >> [doubled, Defers(task_id="defers"), own_pod()] >> gathered
    return dag


def build_faults(team: str) -> DAG:
    """A push and a pull that something befalls, and a reader of what became of the push."""
    with DAG(f"{team}_faults", **_options(retries=6, retry_delay=timedelta(seconds=1))) as dag:

        @task
        def seed() -> dict[str, str]:
            return {"password": secret(f"{team} {run_id()} seed")}

        @task
        def pushes() -> dict[str, str]:
            return {"password": secret(f"{team} {run_id()} pushed")}

        @task
        def pulls() -> None:
            wanted = {"password": secret(f"{team} {run_id()} seed")}
            expect("seed", task_instance().xcom_pull(task_ids="seed"), wanted)

        @task
        def reads() -> None:
            wanted = {"password": secret(f"{team} {run_id()} pushed")}
            expect("pushed", task_instance().xcom_pull(task_ids="pushes"), wanted)

        seed() >> [pushes(), pulls()] >> reads()
    return dag


with DAG("finance_daily", **_options()) as daily:

    @task
    def collect() -> dict[str, Any]:
        """Is nobody's but finance's."""
        # What the search for canaries is to find, so that finding nothing means something.
        print(secret("printed on purpose"))
        return {"customer": "ada", "password": secret("finance_daily collected")}

    @task
    def publish_totals(collected: dict[str, Any]) -> dict[str, int]:
        """Is what marketing may read."""
        return {"total": len(collected) + 40}

    publish_totals(collect())  # type: ignore[arg-type]  # as TaskFlow is written

with DAG("finance_exclusive", **_options()) as exclusive:

    @task
    def make() -> None:
        """Pushes what one reader may have."""
        task_instance().xcom_push("token_once", secret("finance_exclusive token"))

    @task
    def reads_once() -> None:
        """Is the one."""
        pulled = task_instance().xcom_pull(task_ids="make", key="token_once")
        expect("token_once", pulled, secret("finance_exclusive token"))

    @task(trigger_rule="all_done")
    def reads_again() -> None:
        """Comes too late."""
        try:
            task_instance().xcom_pull(task_ids="make", key="token_once")
        except Exception as error:  # noqa: BLE001  # its class is what is noted
            note("second reader", type(error).__name__)
            return
        note("second reader", "opened")

    make() >> reads_once() >> reads_again()

finance_ways, marketing_ways = build_ways("finance"), build_ways("marketing")
finance_faults, marketing_faults = build_faults("finance"), build_faults("marketing")
