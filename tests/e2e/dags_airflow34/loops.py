"""Loops of Airflow 3.4: fixed, until, mapped inside a loop, nested task groups; and reads from outside."""

# TaskFlow gives tasks their context, and its types are those of Airflow 3.3.
# mypy: disable-error-code="attr-defined,arg-type,call-arg,operator,list-item,no-untyped-call,call-overload,index"

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task, task_group

from tests.e2e.dags_airflow34.waiting import note


@dag(schedule=None, catchup=False)
def loops_fixed() -> None:
    """Three iterations, and readers outside."""

    @task_group
    def accumulate() -> None:
        @task
        def increment(*, loop: Any, ti: Any) -> dict[str, int]:
            previous = 0 if loop.index == 0 else loop.previous["n"]
            ti.xcom_push("square", {"square": loop.index**2})
            note(f"fixed previous {loop.index}", previous)
            return {"n": previous + 1}

        @task
        def checks(value: dict[str, int], *, loop: Any, ti: Any) -> dict[str, int]:
            note(f"fixed own {loop.index}", ti.xcom_pull(task_ids="accumulate.increment", key="square"))
            return value

        checks(increment())

    @task
    def outside(*, ti: Any) -> None:
        sequence = ti.xcom_pull(task_ids="accumulate.increment")
        note("fixed outside", list(sequence))
        note("fixed outside again", [sequence[0], sequence[-1], list(sequence[1:]), list(sequence[::-1])])
        note("fixed outside square", list(ti.xcom_pull(task_ids="accumulate.increment", key="square")))
        note("fixed outside many", ti.xcom_pull(task_ids=["accumulate.increment", "accumulate.checks"]))

    accumulate.loop(max_iterations=3) >> outside()


@dag(schedule=None, catchup=False)
def loops_until() -> None:
    """A loop whose gate reads the result."""

    @task_group
    def refine() -> None:
        @task
        def improve(*, loop: Any) -> float:
            estimate = 1.0 if loop.index == 0 else loop.previous["estimate"]
            return float((estimate + 2.0 / estimate) / 2.0)

        @task
        def evaluate(estimate: float) -> dict[str, float]:
            return {"estimate": estimate, "error": abs(estimate * estimate - 2.0)}

        evaluate(improve())

    def accurate(*, loop: Any) -> bool:
        note(f"until result {loop.index}", loop.result)
        return bool(loop.result["error"] < 0.000001)

    @task
    def outside(*, ti: Any) -> None:
        note("until outside", list(ti.xcom_pull(task_ids="refine.evaluate")))

    refine.loop(max_iterations=10, until=accurate) >> outside()


@dag(schedule=None, catchup=False)
def loops_mapped() -> None:
    """Mapped tasks inside a loop, whose previous and result are sequences."""

    @task_group
    def batch() -> None:
        @task
        def choose(*, loop: Any) -> list[int]:
            if loop.index == 0:
                return [1, 2, 3]
            previous = list(loop.previous)
            note(f"mapped previous {loop.index}", [*previous, loop.previous[0], loop.previous[-1]])
            return [value + 1 for value in previous]

        @task
        def process(value: int, *, loop: Any) -> int:
            return value + int(loop.index)

        process.expand(value=choose())

    def ready(*, loop: Any) -> bool:
        note(f"mapped result {loop.index}", [list(loop.result), loop.result[1], len(loop.result)])
        return bool(min(loop.result) >= 4)

    @task
    def outside(*, ti: Any) -> None:
        note("mapped outside", list(ti.xcom_pull(task_ids="batch.process")))
        note("mapped outside choose", list(ti.xcom_pull(task_ids="batch.choose")))

    batch.loop(max_iterations=4, until=ready) >> outside()


@dag(schedule=None, catchup=False)
def loops_nested() -> None:
    """Task groups within the loop's own."""

    @task_group
    def outer() -> None:
        @task
        def start(*, loop: Any) -> dict[str, int]:
            return {"n": 10 if loop.index == 0 else loop.previous["n"]}

        @task_group
        def inner(value: Any) -> Any:
            @task
            def double(value: dict[str, int]) -> dict[str, int]:
                return {"n": value["n"] * 2}

            return double(value)

        @task
        def end(value: dict[str, int]) -> dict[str, int]:
            return {"n": value["n"] + 1}

        end(inner(start()))

    @task
    def outside(*, ti: Any) -> None:
        note("nested outside", list(ti.xcom_pull(task_ids="outer.inner.double")))
        note("nested outside end", list(ti.xcom_pull(task_ids="outer.end")))

    outer.loop(max_iterations=3) >> outside()


loops_fixed()
loops_until()
loops_mapped()
loops_nested()
