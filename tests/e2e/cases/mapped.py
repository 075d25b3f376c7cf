"""Mapped task instances, `MAPPED` of the environment in number; and a few tasks that print what they pull."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from airflow.sdk import DAG, task

from tests.e2e.dags.kit import got, said, task_instance

COUNT = int(os.environ.get("MAPPED", "0"))
PRINTED = "swordfish-in-this-process"


def value_of(number: int, map_index: int) -> dict[str, Any]:
    """What one instance gives back."""
    return {"number": number, "index": map_index, "text": f"value {number * number}"}


with DAG("mapped", schedule=None) as mapped:

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
        got("slice", lazy[10:-10:7])
        got("last", lazy[-1])
        got("whole", lazy[:])
        got("pulled", task_instance().xcom_pull("each"))

    listed: Any = numbers()
    instances: Any = each.expand(number=listed)
    gather(instances)


with DAG("prints_here", schedule=None) as prints_here:

    @task
    def give() -> dict[str, str]:
        """Push a secret."""
        return {"user": "no secret", "password": PRINTED}

    @task
    def show(value: dict[str, str]) -> None:
        """Print it in every way that a task has."""
        print("printed", value)
        sys.stderr.write(f"written {value}\n")
        logging.getLogger("some.library").warning("logged %s", value)
        try:
            int(value["password"])
        except ValueError:
            logging.getLogger("airflow.task").exception("raised")

    show(give())  # type: ignore[arg-type]
