"""Tasks that push and delete: their own XComs in every way that Airflow has, and those of another compartment."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from functools import partial
from typing import Any

from airflow.listeners import hookimpl
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseOperator, dag, get_current_context, task
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import DeleteXCom, SetXCom
from airflow.sdk.execution_time.xcom import XCom

from tests.e2e.dags_airflow34.waiting import Defers
from tests.e2e.dags_writes.writing import Writing, note, tried

try:
    from airflow.sdk.listener import get_listener_manager
except ModuleNotFoundError:
    from airflow.listeners.listener import get_listener_manager  # type: ignore[assignment]

CANARY = os.environ["SECURE_XCOM_E2E_CANARY"]
KEYS = ("set", "aset", "delete", "dressed", "raw reference", "raw plain", "raw delete", "callback")
RUN = "one"
VICTIM: dict[str, Any] = {"dag_id": "finance_daily", "run_id": RUN, "task_id": "make"}


def _instance() -> Any:
    return get_current_context()["ti"]


@dag(schedule=None, catchup=False)
def finance_daily() -> None:
    """What the others are after."""

    @task
    def make() -> None:
        for key in KEYS:
            _instance().xcom_push(key, {"password": CANARY})

    make()


@dag(schedule=None, catchup=False)
def finance_reads() -> None:
    """What the attacks left of it."""

    @task
    def read() -> None:
        for key in KEYS:
            try:
                found = XCom.get_one(key=key, map_index=-1, **VICTIM)
            except Exception as error:  # noqa: BLE001  # noted
                note(f"read {key}", type(error).__name__)
            else:
                note(f"read {key}", "as pushed" if found == {"password": CANARY} else repr(found))

    read()


@dag(schedule=None, catchup=False)
def marketing_attacks() -> None:
    """A task of another compartment, through our code and past it."""

    @task
    def attack() -> None:
        tried("set", lambda: XCom.set("set", "forged", map_index=-1, **VICTIM))
        tried("aset", lambda: asyncio.run(XCom.aset("aset", "forged", map_index=-1, **VICTIM)))
        tried("delete", lambda: XCom.delete("delete", VICTIM["task_id"], VICTIM["dag_id"], RUN, -1))
        tried("serialize", lambda: XCom.serialize_value("forged", key="set", map_index=-1, **VICTIM))

    @task
    def in_disguise() -> None:
        from structlog.contextvars import bind_contextvars

        # As the victim's task, for whoever believes the environment or the log's context before Airflow's own.
        os.environ.update(AIRFLOW_CTX_DAG_ID=VICTIM["dag_id"], AIRFLOW_CTX_TASK_ID=VICTIM["task_id"])
        bind_contextvars(**VICTIM)
        tried("dressed", lambda: XCom.set("dressed", "forged", map_index=-1, **VICTIM))

    @task
    def past_our_code() -> None:
        own = XCom.serialize_value("forged", key="k", **{**VICTIM, "dag_id": "marketing_attacks"}, map_index=-1)
        for message in (
            SetXCom(key="raw reference", value=own, map_index=-1, **VICTIM),
            SetXCom(key="raw plain", value="forged", map_index=-1, **VICTIM),
            DeleteXCom(key="raw delete", map_index=-1, **VICTIM),
        ):
            tried(message.key, partial(task_runner.SUPERVISOR_COMMS.send, message))

    @task
    def to_a_sister() -> None:
        place = {"dag_id": "marketing_sister", "run_id": RUN, "task_id": "waits_for_mail"}
        tried("sister set", lambda: XCom.set("mail", "hello", map_index=-1, **place))
        tried("sister read", lambda: _same(XCom.get_one(key="mail", map_index=-1, **place), "hello"))
        tried("sister delete", lambda: XCom.delete("mail", place["task_id"], place["dag_id"], RUN, -1))

    attack() >> in_disguise() >> past_our_code() >> to_a_sister()


def _same(found: object, wanted: object) -> None:
    assert found == wanted, found


def _after_the_run(context: Any) -> None:
    """Runs in the DAG processor."""
    tried("DAG callback push", lambda: context["ti"].xcom_push("by_dag_callback", 1))
    tried("DAG callback delete", lambda: XCom.delete("callback", VICTIM["task_id"], VICTIM["dag_id"], RUN, -1))


@dag(schedule=None, catchup=False, on_success_callback=_after_the_run)
def marketing_sister() -> None:
    """Has a callback in the DAG processor."""

    @task
    def waits_for_mail() -> None:
        _instance().xcom_push("mail", "none yet")

    waits_for_mail()


class Deferring(BaseOperator):
    """Waits for a trigger that pushes."""

    def execute(self, context: Any) -> None:
        instance = context["ti"]
        own = {name: getattr(instance, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
        trigger = Writing(own, {**VICTIM, "map_index": -1})
        self.defer(trigger=trigger, method_name="resume", timeout=timedelta(seconds=90))

    def resume(self, context: Any, event: Any) -> None:
        place = {"map_index": -1, "task_id": self.task_id, "dag_id": self.dag_id, "run_id": context["ti"].run_id}
        tried("trigger aset read", lambda: _same(XCom.get_one(key="by_trigger", **place), 1))
        tried("trigger thread read", lambda: _same(XCom.get_one(key="by_trigger_thread", **place), 2))


@dag(schedule=None, catchup=False)
def waits_together() -> None:
    """Four triggers that pull at the same time in a way that blocks, and one that pushes so in both tries."""

    @task
    def make() -> dict[str, str]:
        return {"password": CANARY}

    waiting = [Defers(task_id=f"waits_{number}", way="get_one", together=4) for number in range(4)]
    # Last and alone: a triggerer drops the data keys of triggers that do nothing while others do.
    make() >> waiting >> Defers(task_id="pushes", way="set", retries=1, retry_delay=timedelta(seconds=0))


@dag(schedule=None, catchup=False)
def marketing_defers() -> None:
    """A trigger."""
    Deferring(task_id="defers")


def _push_late(context: Any) -> None:
    context["ti"].xcom_push("by_callback", {"password": CANARY})


class _Listener:
    """Pushes when a task of these tests has succeeded, in the task's process."""

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        if task_instance.task_id == "has_a_listener":
            task_instance.xcom_push("by_listener", 1)


@dag(schedule=None, catchup=False)
def payroll_own() -> None:
    """Every way in which a task's own XComs are pushed and deleted; its compartment asks for a bundle."""

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def twice() -> int:
        _instance().xcom_push("partly", 1)
        if _instance().try_number == 1:
            raise RuntimeError("the first try fails after a push, which the second one's start clears")
        return 1

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def mapped(number: int) -> int:
        _instance().xcom_push("partly", number)
        if _instance().try_number == 1:
            raise RuntimeError("as above")
        return number

    @task(on_success_callback=_push_late)
    def succeeds() -> None:
        pass

    @task
    def has_a_listener() -> None:
        get_listener_manager().add_listener(_Listener())

    twice()
    mapped.expand(number=[1, 2])
    succeeds()
    has_a_listener()
    # Fails while its template renders, before Airflow has told its environment which task it is.
    BashOperator(task_id="fails_early", bash_command="{{ 1 / 0 }}", on_failure_callback=_push_late)


finance_daily()
finance_reads()
marketing_attacks()
marketing_sister()
marketing_defers()
payroll_own()
waits_together()
