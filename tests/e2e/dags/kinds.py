"""Every type is pushed, pulled and compared with what was pushed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from airflow.sdk import dag, task

from tests.e2e.dags.kit import got, said, task_instance
from tests.e2e.dags.shapes import FIERCE, SHAPES
from tests.e2e.describe import describe

NO_ROW = "no row"

# Strings of megabytes are not for the masker: each would cost every later push and pull seconds.
os.environ["AIRFLOW__SECURE_XCOM__MASK_VALUES"] = "named"


def compare(name: str, value: Any, build: Callable[[], Any]) -> None:
    """Note what came back, and whether it is what was pushed."""
    if isinstance(value, str) and value == NO_ROW:
        said(name, NO_ROW)
        return
    found = describe(value)
    got(name, value)
    said(name, "same" if found == describe(build()) else f"other: {found[:120]}")


@dag(schedule=None)
def kinds() -> None:
    """One task pushes the types under a key each, task instances of their own the fierce ones."""

    @task
    def push() -> None:
        instance = task_instance()
        for name, build in SHAPES.items():
            try:
                instance.xcom_push(key=name, value=build())
            except Exception as error:  # noqa: BLE001  # what is refused, and how, is what is compared
                said(name, f"refused: {type(error).__name__}")

    @task
    def pull() -> None:
        instance = task_instance()
        for name, build in SHAPES.items():
            try:
                value = instance.xcom_pull("push", key=name, default=NO_ROW, map_indexes=-1)
            except Exception as error:  # noqa: BLE001  # what is refused, and how, is what is compared
                said(name, f"not pulled: {type(error).__name__}")
            else:
                compare(name, value, build)

    @task
    def push_fierce(name: str) -> Any:
        return FIERCE[name]()

    @task(trigger_rule="all_done")
    def pull_fierce() -> None:
        instance = task_instance()
        for index, (name, build) in enumerate(FIERCE.items()):
            value = instance.xcom_pull("push_fierce", map_indexes=index, default=NO_ROW)
            compare(name, value, build)

    push() >> pull()
    push_fierce.expand(name=list(FIERCE)) >> pull_fierce()


kinds()
