"""Every way in which an unmapped task hands a value to another one."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator, ShortCircuitOperator
from airflow.sdk import PokeReturnValue, XComArg, dag, setup, task, teardown

from tests.e2e.dags.kit import got, number, said, secret, spiky, task_instance

# Keys and values as people write them: paths, spaces, umlauts, colons; the longest key that Airflow stores.
KEYS = ("plain", "with space", "a/path/like", "ümläut ✓", "100%", "x" * 512, "password")


def push_keys() -> None:
    """Push under many keys; the last push of a key is what counts."""
    instance = task_instance()
    for key in KEYS:
        instance.xcom_push(key=key, value="pushed again below")
        instance.xcom_push(key=key, value={"under": secret(f"xcom_push {key[:12]}")})
    instance.xcom_push(key="return_value", value=secret("xcom_push return_value"))
    instance.xcom_push(key="nothing", value=None)
    instance.xcom_push(key="empty", value="")


def classic(listed: Any, *, named: Any, templates_dict: dict[str, Any]) -> dict[str, str]:
    """A callable of a PythonOperator, given values by arguments and by templates."""
    got("classic op_args", listed)
    got("classic op_kwargs", named)
    got("classic templates_dict", templates_dict)
    return {"text": secret("PythonOperator return")}


def nothing() -> dict[str, str]:
    """What a ShortCircuitOperator takes for no."""
    return {}


@contextmanager
def locked_access_log() -> Iterator[Callable[[], None]]:
    """Hold the lock of the access log, without which no value passes, where there is one; gives what ends it."""
    sink = os.environ.get("AIRFLOW__SECURE_XCOM__AUDIT_SINKS", "file:///dev/null").removeprefix("file://")
    with open(sink, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(file, fcntl.LOCK_UN)


def only_digest(name: str) -> str:
    """A shell command that shows the digest of an environment variable and nothing else."""
    return f'printf %s "${name}" | sha256sum'


@dag(schedule=None)
def ways() -> None:
    """Producers first, then each way of pulling."""

    @task
    def give() -> dict[str, Any]:
        return {
            "user": secret("return dict"),
            "password": spiky("return dict password"),
            "deep": [{"list": [secret("return nested")]}],
        }

    @task
    def give_number() -> list[int]:
        return [number("return number")]

    @task
    def give_text() -> str:
        return spiky("return text")

    @task(multiple_outputs=True)
    def give_many() -> dict[str, Any]:
        return {"token": secret("multiple_outputs token"), "city": secret("multiple_outputs city"), "none": None}

    @task(do_xcom_push=False)
    def give_nothing() -> str:
        return secret("do_xcom_push False")

    @task
    def take(value: dict[str, Any], text: str, token: str, city: str) -> None:
        got("taskflow dict", value)
        got("taskflow text", text)
        got("taskflow outputs", [token, city])

    @task
    def pull() -> None:
        instance = task_instance()
        got("pull one", instance.xcom_pull("give"))
        got("pull one, list of one", instance.xcom_pull(["give"]))
        got("pull list", instance.xcom_pull(["give_text", "give", "give_many"]))
        got("pull list with holes", instance.xcom_pull(["give_text", "give_nothing", "no_such_task"]))
        got("pull index None", instance.xcom_pull("give", map_indexes=None))
        got("pull index -1", instance.xcom_pull("give", map_indexes=-1))
        got("pull indexes", instance.xcom_pull(["give", "give_text"], map_indexes=[-1, 0]))
        got("pull default", instance.xcom_pull("give_nothing", map_indexes=-1, default={"a": 1}))
        got("pull missing", instance.xcom_pull("give_nothing"))
        got("pull own", instance.xcom_pull(key="not there"))
        got("pull with dag_id and run_id", instance.xcom_pull("give", dag_id="ways", run_id=instance.run_id))
        got("pull prior dates", instance.xcom_pull("give", include_prior_dates=True))
        for key in (*KEYS, "return_value", "nothing", "empty"):
            got(f"pull key {key[:12]}", instance.xcom_pull("push_keys", key=key))
        got("pull number", instance.xcom_pull("give_number"))
        got("pull outputs", instance.xcom_pull("give_many"))
        for key in ("token", "city", "none"):
            got(f"pull output {key}", instance.xcom_pull("give_many", key=key))
        instance.xcom_push(key="to myself", value=(secret("xcom_push to itself"),))
        got("pull from itself", instance.xcom_pull(key="to myself", map_indexes=None))
        got("get_value", instance.xcom_pull("sense", key="return_value"))

    @task(execution_timeout=timedelta(seconds=60))
    async def pull_async() -> dict[str, str]:
        instance = task_instance()
        beats = 0

        async def heart() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.01)

        beating = asyncio.create_task(heart())
        with locked_access_log() as unlock:
            # Nobody but the event loop takes the lock away, and no push ends before: were the loop blocked by
            # it, neither would ever end.
            asyncio.get_running_loop().call_later(0.5, unlock)
            before = beats
            await instance.axcom_push(key="async", value={"token": secret("axcom_push")})
            said("async push, the loop went on", str(beats - before))
        with locked_access_log() as unlock:
            asyncio.get_running_loop().call_later(0.5, unlock)
            before = beats
            pulls = (
                instance.axcom_pull("give"),
                instance.axcom_pull(["give_text", "give_many"], map_indexes=None),
            )
            values = await asyncio.gather(*pulls, *(instance.axcom_pull("give_large") for _ in range(12)))
            said("async pulls, the loop went on", str(beats - before))
        beating.cancel()
        got("async pulls", values[:2])
        got("async large", values[2:])
        got("async own", await instance.axcom_pull(key="async", map_indexes=None))
        return {"token": secret("async return")}

    @task
    def give_large() -> list[str]:
        return [f"{secret('large value')} {index} " + "x" * 1000 for index in range(4)] + ["y" * 4_000_000]

    @task.branch
    def choose(value: dict[str, Any]) -> list[str]:
        got("branch argument", value["user"])
        return ["chosen"]

    @task.sensor(poke_interval=1, timeout=60)
    def sense() -> PokeReturnValue:
        return PokeReturnValue(is_done=True, xcom_value={"secret": secret("sensor")})

    @task.bash(env={"TEXT": "{{ ti.xcom_pull('give_text') }}"}, append_env=True)
    def bash_task(city: str) -> str:
        return f"echo {city} | sha256sum; {only_digest('TEXT')}"

    @setup
    def open_up() -> dict[str, str]:
        return {"handle": secret("setup return")}

    @task
    def work(handle: dict[str, str]) -> str:
        got("work handle", handle)
        return secret("return between setup and teardown")

    @teardown
    def tear_down(handle: dict[str, str]) -> None:
        got("teardown handle", handle)
        got("teardown pull", task_instance().xcom_pull("work"))

    @task
    def take_results(shown: str, done: dict[str, str], awaited: dict[str, str], sensed: dict[str, str]) -> None:
        got("bash result", shown)
        got("classic result", done)
        got("async result", awaited)
        got("sensor result", sensed)
        got("bash task result", task_instance().xcom_pull("bash_task"))

    # Airflow's types know neither that a task's result may stand for its value nor that it has parts.
    given: Any = give()
    text: Any = give_text()
    many: Any = give_many()
    large = give_large()
    sensed: Any = sense()
    pushed: Any = PythonOperator(task_id="push_keys", python_callable=push_keys)
    [given, text, many, give_number(), give_nothing(), pushed, sensed] >> pull()
    awaited: Any = pull_async()
    [given, text, many, large] >> awaited
    take(given, text, many["token"], many["city"])

    bash: Any = BashOperator(
        task_id="bash",
        env={
            "SPIKY": "{{ ti.xcom_pull('give')['password'] }}",
            "KEY": "{{ ti.xcom_pull('push_keys', key='plain') }}",
        },
        append_env=True,
        bash_command=f"{only_digest('SPIKY')}; echo '{{{{ ti.xcom_pull('give_many')['city'] }}}}'; "
        f"{only_digest('KEY')}",
    )
    python: Any = PythonOperator(
        task_id="classic",
        python_callable=classic,
        op_args=[XComArg(pushed, key="plain")],
        op_kwargs={"named": "{{ ti.xcom_pull(task_ids='give_text') }}"},
        templates_dict={"deep": ["{{ ti.xcom_pull('give')['deep'][0]['list'][0] }}"]},
    )
    [given, pushed, many] >> bash
    [given, text] >> python
    shown: Any = bash_task(many["city"])
    text >> shown >> take_results(bash.output, python.output, awaited, sensed)

    choose(given) >> [EmptyOperator(task_id="chosen"), EmptyOperator(task_id="not_chosen")]
    python >> ShortCircuitOperator(task_id="short", python_callable=nothing) >> EmptyOperator(task_id="skipped")

    opened: Any = open_up()
    opened >> work(opened) >> tear_down(opened)


ways()
