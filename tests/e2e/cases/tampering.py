"""Builds the DAGs whose rows are tampered with between push and pull, one key per attack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, XComArg, task

from tests.e2e.cases.attacks import PADDING, Attack, Intruder, Place
from tests.e2e.dags.kit import got, said, task_instance


def push_under(names: Iterable[str], *more: Any) -> None:
    """Push for each attack under a key of its own."""
    for name in names:
        task_instance().xcom_push(key=name, value={"attack": name, "more": more, "padding": PADDING})


def pushing_dag(
    dag_id: str, attacks: Mapping[str, Attack], *, is_earlier: Callable[[str], bool] = lambda run_id: False
) -> tuple[DAG, Any, Any]:
    """Tasks that push under the attacks' keys; gives the DAG, all of them, and the mapped one.

    :param is_earlier: whether a run's id is that of a run from which only references are copied.
    """

    def needed(task_id: str) -> list[str]:
        """The keys under which a task pushes: each push takes some ten milliseconds."""
        earlier = is_earlier(task_instance().run_id)
        return [name for name, one in attacks.items() if one.needs(task_id) and (one.earlier or not earlier)]

    with DAG(dag_id, schedule=None) as dag:

        @task(retries=1, retry_delay=timedelta(0))
        def push() -> None:
            instance = task_instance()
            names = needed("push")
            place = Place(dag_id, instance.run_id, "push", -1, "")
            again = [name for name in names if "another try" in name]
            if again and instance.try_number == 1:
                push_under(again, "first try")
                for name in again:
                    Intruder(place._replace(key=name)).keep()
                raise RuntimeError("the first try fails, so there is another one")
            for name in (name for name in names if "older" in name):
                instance.xcom_push(key=name, value=["older", PADDING])
                Intruder(place._replace(key=name)).keep()
            push_under(names)

        @task
        def other() -> None:
            push_under(needed("other"), "other task")

        @task
        def many(index: int) -> None:
            push_under(needed("many"), index)

        mapped: Any = many.expand(index=[0, 1, 2, 3])
        tasks: Any = [push(), other(), mapped]
    return dag, tasks, mapped


def attacked_dag(
    dag_id: str,
    attacks: Mapping[str, Attack],
    *,
    earlier: Callable[[str], str] = lambda run_id: run_id,
    is_earlier: Callable[[str], bool] = lambda run_id: False,
) -> DAG:
    """A DAG in which one task attacks, and one task per attack pulls.

    :param earlier: a run's id -> the id of the run from which references may be copied.
    :param is_earlier: whether a run's id is that of such a run.
    """
    dag, pushed, mapped = pushing_dag(dag_id, attacks, is_earlier=is_earlier)
    with dag:

        @task
        def attack() -> None:
            instance = task_instance()
            for name, one in attacks.items():
                place = Place(instance.dag_id, instance.run_id, one.source, one.map_index, name)
                one.act(Intruder(place, earlier(instance.run_id)))

        attacking: Any = attack()
        pushed >> attacking
        for number, (name, one) in enumerate(attacks.items()):
            attacking >> _pull_of(number, name, one, mapped)
    return dag


def _pull_of(number: int, name: str, attack: Attack, mapped: Any) -> Any:
    """A task that pulls one row, notes how it ended, and ends so itself."""

    @task(task_id=f"pull_{number}")
    def pull(lazy: Any) -> None:
        try:
            value = attack.pull(task_instance(), name, lazy)
        except Exception as error:
            said(name, type(error).__name__)
            said(f"{name}: message", str(error))
            raise
        said(name, "")
        got(name, value)

    return pull(XComArg(mapped.operator, key=name))
