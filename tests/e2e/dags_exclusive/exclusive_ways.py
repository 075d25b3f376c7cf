"""Exclusive and short-lived XComs in real tasks: who is given them, and what is left when they are done."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

import secure_xcom

CANARY = os.environ["SECURE_XCOM_E2E_CANARY"]


def pulled(task_id: str, **query: Any) -> Any:
    """What a task pulls by itself."""
    return get_current_context()["ti"].xcom_pull(task_ids=task_id, **query)


@dag(schedule=None, catchup=False)
def exclusive_ways() -> None:
    """Each chain is a way; tasks that are to fail have no retry."""

    @task
    def make() -> object:
        return secure_xcom.exclusive({"secret": CANARY})

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def read_twice() -> None:
        assert pulled("make") == {"secret": CANARY}
        if get_current_context()["ti"].try_number == 1:
            raise RuntimeError("the first try fails after its pull")

    @task(trigger_rule="all_done")
    def after_success() -> None:
        pulled("make")

    @task
    def push_token() -> None:
        get_current_context()["ti"].xcom_push("api_token", CANARY)

    @task
    def read_and_fail() -> None:
        assert pulled("push_token", key="api_token") == CANARY
        raise RuntimeError("the claimant never succeeds")

    @task(trigger_rule="all_done")
    def second_reader() -> None:
        pulled("push_token", key="api_token")

    @task(trigger_rule="all_done")
    def any_run() -> None:
        pulled("push_token", key="api_token", include_prior_dates=True)

    @task
    def push_templated() -> object:
        return secure_xcom.exclusive(CANARY)

    @task
    def read_argument(value: str) -> None:
        assert value == CANARY

    @task
    def push_short() -> None:
        get_current_context()["ti"].xcom_push("short", CANARY)

    @task
    def read_late() -> None:
        assert pulled("push_short", key="short") == CANARY
        time.sleep(62)
        pulled("push_short", key="short")

    make() >> read_twice() >> after_success()
    push_token() >> read_and_fail() >> second_reader() >> any_run()
    read_argument(push_templated())  # type: ignore[arg-type]  # an XCom in the place of its value
    push_short() >> read_late()


exclusive_ways()
