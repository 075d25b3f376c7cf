"""Dynamic task mapping: what mapped tasks are given, what they push, and how it is gathered again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import dag, task, task_group

from tests.e2e.dags.kit import got, said, secret, task_instance

SLICES = (
    slice(None),
    slice(1, None),
    slice(None, 2),
    slice(1, 3),
    slice(None, None, 2),
    slice(1, None, 2),
    slice(None, None, -1),
    slice(3, 0, -1),
    slice(2, None, -1),
    slice(None, 1, -1),
    slice(-2, None),
    slice(None, -1),
    slice(-3, -1),
    slice(1, -1),
    slice(-3, 3),
    slice(-1, None, -1),
    slice(-1, -3, -1),
    slice(None, -3, -1),
    slice(5, None),
    slice(0, 0),
)


def index() -> int:
    """The map index of the running task instance."""
    return int(task_instance().map_index)


def classic(item: Any) -> str:
    """A callable of a mapped PythonOperator."""
    got(f"mapped PythonOperator {index()}", item)
    return secret(f"mapped PythonOperator return {index()}")


@dag(schedule=None)
def mapped() -> None:
    """Lists and dicts to map over, mapped tasks of each kind, and tasks that gather."""

    @task
    def items() -> list[dict[str, str]]:
        return [{"name": f"item {number}", "token": secret(f"expand item {number}")} for number in range(4)]

    @task
    def words() -> list[str]:
        return [secret(f"expand word {number}") for number in range(2)]

    @task
    def table() -> dict[str, str]:
        return {"left": secret("expand dict left"), "right": secret("expand dict right")}

    @task
    def each(item: dict[str, str]) -> dict[str, Any]:
        got(f"expand {index()}", item)
        task_instance().xcom_push(key="extra", value=[secret(f"mapped push {index()}")])
        return {"index": index(), "token": secret(f"mapped return {index()}")}

    @task
    def some(item: dict[str, str]) -> str | None:
        return secret(f"mapped return with gaps {index()}") if index() in (1, 3) else None

    @task(multiple_outputs=True)
    def outputs(word: str) -> dict[str, str]:
        got(f"expand from each other {index()}", word)
        return {"token": secret(f"mapped multiple_outputs {index()}"), "plain": f"{index()}"}

    @task
    def by_key(pair: tuple[str, str]) -> None:
        got(f"expand over a dict {index()}", pair)

    @task
    def zipped(pair: tuple[Any, Any]) -> None:
        got(f"zip {index()}", pair)

    @task
    def converted(text: str) -> None:
        got(f"map {index()}", text)

    @task
    def joined(item: Any) -> None:
        got(f"concat {index()}", item)

    @task
    def by_kwargs(name: str, token: str, fixed: Any) -> None:
        got(f"expand_kwargs {index()}", (name, token, fixed))

    @task_group
    def group(word: str) -> None:
        @task
        def first(word: str) -> str:
            got(f"task group first {index()}", word)
            return secret(f"task group return {index()}")

        @task
        def second(value: str) -> None:
            got(f"task group second {index()}", value)
            own = task_instance().xcom_pull("group.first", map_indexes=index())
            got(f"task group second pulls {index()}", own)

        given: Any = first(word)
        second(given)

    @task_group
    def branching(word: str) -> None:
        @task.branch
        def choose(word: str) -> str:
            return f"branching.{'left' if index() == 0 else 'right'}"

        # Airflow 3.3.2 skips nothing after a branch in a mapped group; what it does is to be the same with ours.
        choosing: Any = choose(word)
        choosing >> [EmptyOperator(task_id="left"), EmptyOperator(task_id="right")]

    @task
    def gather(
        lazy: Sequence[Any], gaps: Sequence[str], tokens: Sequence[str], fromgroup: Sequence[str]
    ) -> list[Any]:
        for name, sequence in (("lazy", lazy), ("gaps", gaps), ("tokens", tokens), ("group", fromgroup)):
            got(f"{name} length", len(sequence))
            got(f"{name} whole", list(sequence))
            got(f"{name} reversed", list(reversed(sequence)))
            for place in (0, 1, -1, -2):
                got(f"{name}[{place}]", sequence[place])
            for cut in SLICES:
                got(f"{name}[{cut.start}:{cut.stop}:{cut.step}]", sequence[cut])
            whole = list(sequence)
            other = [f"{cut.start}:{cut.stop}:{cut.step}" for cut in SLICES if sequence[cut] != whole[cut]]
            said(f"{name}, slices that are not those of a list", repr(other))
            try:
                said(f"{name} beyond its end", repr(sequence[len(sequence)]))
            except IndexError as error:
                said(f"{name} beyond its end", repr(error))
            said(f"{name} as text", repr(sequence))
            said(
                f"{name} comparisons",
                repr([sequence == list(sequence), sequence[-1] in sequence, "x" in sequence]),
            )
        return list(lazy)

    @task
    def gather_by_pull() -> None:
        instance = task_instance()
        got("xcom_pull mapped", instance.xcom_pull("each"))
        got("xcom_pull mapped key", instance.xcom_pull("each", key="extra"))
        got("xcom_pull index", instance.xcom_pull("each", map_indexes=2))
        got("xcom_pull indexes", instance.xcom_pull("each", map_indexes=[3, 0]))
        got("xcom_pull range", instance.xcom_pull("each", map_indexes=range(1, 3)))
        got("xcom_pull index None", instance.xcom_pull("each", map_indexes=None))
        got("xcom_pull gaps", instance.xcom_pull("some"))
        got("xcom_pull indexes with gaps", instance.xcom_pull("some", map_indexes=[0, 1, 2, 3], default="none"))
        got("xcom_pull lists of both", instance.xcom_pull(["each", "some"], map_indexes=[1, 3]))
        got("xcom_pull mapped tasks", instance.xcom_pull(["some", "each"]))
        got("xcom_pull mapped outputs", instance.xcom_pull("outputs", key="token"))
        got("xcom_pull gathered", instance.xcom_pull("gather"))

    @task
    async def gather_async() -> None:
        instance = task_instance()
        got("axcom_pull mapped", await instance.axcom_pull("each"))
        got("axcom_pull indexes", await instance.axcom_pull(["each", "some"], map_indexes=[1, 3]))

    # Airflow's types know neither that a task's result may stand for its value nor that it has parts.
    listed: Any = items()
    worded: Any = words()
    eached: Any = each.expand(item=listed)
    gapped: Any = some.expand(item=listed)
    out: Any = outputs.expand(word=worded)
    by_key.expand(pair=table())
    zipped.expand(pair=worded.zip(listed, fillvalue="filled"))
    converted.expand(text=worded.map(lambda word: word.upper()[::-1]))
    joined.expand(item=worded.concat(gapped))
    by_kwargs.partial(fixed=worded).expand_kwargs(worded.map(lambda word: {"name": "a name", "token": word}))
    operator: Any = PythonOperator.partial(task_id="classic", python_callable=classic).expand(
        op_args=worded.map(lambda word: [word])
    )
    branching.expand(word=worded)
    grouped = group.expand(word=worded)
    gathered = gather(eached, gapped, out["token"], operator.output)
    grouped >> gathered >> [gather_by_pull(), gather_async()]


mapped()
