"""The paths past every backend and mask: exercised, so that it is known where each of them leaves its value."""

from __future__ import annotations

import shlex
from typing import Any

import airflow.sdk
from airflow.sdk import (
    DAG,
    Asset,
    BaseOperator,
    BaseOperatorLink,
    Context,
    Metadata,
    dag,
    get_current_context,
    task,
    task_group,
)

from tests.e2e.dags.kit import number, secret, spiky
from tests.e2e.dags.triggers import Ending, Sleeping, Telling

ASSET = Asset("canaries")
SDK: Any = airflow.sdk


class Deferring(BaseOperator):
    """Is woken by a trigger that tells a canary."""

    def execute(self, context: Context) -> None:
        self.defer(trigger=Telling(), method_name="resume")

    def resume(self, context: Context, event: dict[str, str]) -> None:
        """Called when the trigger has fired."""


class Waiting(BaseOperator):
    """Hands canaries to a trigger that does not fire, and to itself."""

    def execute(self, context: Context) -> None:
        trigger = Sleeping(secret("trigger argument"))
        self.defer(trigger=trigger, method_name="never", kwargs={"kept": secret("defer kwargs")})


class EndedByTrigger(BaseOperator):
    """A task whose trigger ends it."""

    def execute(self, context: Context) -> None:
        self.defer(trigger=Ending(), method_name="never")


class Link(BaseOperatorLink):
    """A link made of a value."""

    name = "link"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return f"https://host/{secret('operator extra link')}"


class Linked(BaseOperator):
    """A task with an extra link."""

    operator_extra_links = (Link(),)

    def execute(self, context: Context) -> None:
        pass


def decide_with_a_reason() -> None:
    """Add a loop whose decision has a reason, which Airflow stores beside the values."""

    @task_group
    def looped() -> None:
        @task
        def once() -> int:
            return 1

        once()

    def until(*, loop: Any) -> Any:
        return SDK.LoopDecision(stop=True, reason=secret("reason of a loop's decision"))

    loopable: Any = looped
    loopable.loop(max_iterations=2, until=until)


@dag(schedule=None)
def unstoppable() -> None:
    """Each task is one path, or two."""

    @task
    def give() -> dict[str, Any]:
        # Not strings: no mask of Airflow's reaches into what it does not take for text.
        return {
            "amount": number("number as argument"),
            "password": number("number under a sensitive name as argument"),
            "text": spiky("changed before it is printed"),
        }

    @task
    def take(value: dict[str, Any]) -> None:
        text = value["text"]
        # What a task makes of a value is a new value, which no mask knows.
        print(f"{text[:14]}-{text[14:]}", shlex.quote(text), text.encode().hex(), text.partition(" ")[0])
        with open("written-by-a-task.txt", "w") as file:
            file.write(secret("file written by the task"))

    @task(map_index_template="{{ label }}")
    def labelled(which: int) -> None:
        context: Any = get_current_context()
        context["label"] = f"{which} {secret('map_index_template')}"

    @task(outlets=[ASSET])
    def announce() -> Any:
        yield Metadata(ASSET, extra={"text": secret("asset event extra")})

    @task(inlets=[ASSET], outlets=[ASSET])
    def store() -> None:
        context: Any = get_current_context()
        # From Airflow 3.3 on.
        if "task_state_store" in context:
            context["task_state_store"].set("key", secret("task state store"))
            context["asset_state_store"][ASSET].set("key", secret("asset state store"))

    given: Any = give()
    take(given)
    labelled.expand(which=[0])
    announce()
    store()
    Deferring(task_id="deferring")
    EndedByTrigger(task_id="ended_by_trigger")
    Linked(task_id="linked")
    # From Airflow 3.4 on.
    if "LoopDecision" in SDK.__all__:
        decide_with_a_reason()


unstoppable()

with DAG("waiting", schedule=None):
    Waiting(task_id="waiting")
