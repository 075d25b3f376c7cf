"""Tries that fail after they have pushed, a mapped task over what the last one returns, and an exclusive XCom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

from secure_xcom import exclusive


@dag(schedule=None, catchup=False)
def attempts() -> None:
    """Two retries, an expansion, and a reader who is alone."""

    @task(retries=2, retry_delay=timedelta(0))
    def produce() -> list[int]:
        instance: Any = get_current_context()["ti"]
        for key in ("a", "b", "c"):
            instance.xcom_push(key, {"try": instance.try_number, "key": key})
        if instance.try_number % 3:
            raise RuntimeError("this try fails after it has pushed")
        return [1, 2, 3]

    @task
    def each(number: int) -> int:
        return number * number

    @task
    def hand_over() -> Any:
        return exclusive({"login": "opensesame"})

    @task
    def take(login: Any) -> int:
        return len(login)

    each.expand(number=produce())
    take(hand_over())


attempts()
