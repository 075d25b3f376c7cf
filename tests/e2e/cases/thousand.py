"""A thousand mapped task instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import DAG, task

from tests.e2e.dags.kit import got, said, task_instance

COUNT = 1000


def value_of(number: int, map_index: int) -> dict[str, Any]:
    """What one instance gives back."""
    return {"number": number, "index": map_index, "text": f"value {number * number}"}


with DAG("thousand", schedule=None) as thousand:

    @task
    def numbers() -> list[int]:
        """What is mapped over."""
        return list(range(COUNT))

    @task
    def each(number: int) -> Any:
        """One instance."""
        return value_of(number, task_instance().map_index)

    @task
    def gather(lazy: Sequence[Any]) -> None:
        """Pull them all, in every way."""
        said("length", str(len(lazy)))
        got("each item", list(lazy))
        got("slice", lazy[10:990:7])
        got("last", lazy[-1])
        got("whole", lazy[:])
        got("pulled", task_instance().xcom_pull("each"))

    listed: Any = numbers()
    mapped: Any = each.expand(number=listed)
    gather(mapped)
