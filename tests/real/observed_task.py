"""What a task's process does, as a program: Airflow's own set-up of metrics and traces, pushes, pulls, a fork.

    python observed_task.py PULLS_IN_THREADS ASYNC_PULLS

Its environment says where Airflow sends them and which keyring and store there are.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from airflow import settings
from airflow.sdk.configuration import conf
from airflow.sdk.execution_time import comms, supervisor, task_runner
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
from opentelemetry import trace

from secure_xcom import SecureXComBackend
from secure_xcom.core.errors import SecureXComError

PLACE: dict[str, Any] = {
    "key": "return_value",
    "task_id": "extract",
    "dag_id": "orders",
    "run_id": "manual__1",
    "map_index": -1,
}


def set_up() -> None:
    """As airflow.sdk.execution_time.task_runner.main() does."""
    legacy = conf.getboolean("metrics", "legacy_names_on")
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy)


def main(in_threads: int, on_a_loop: int) -> None:
    """Push below a span as the task runner makes one, pull in every way, be refused; then fork, and push there."""
    set_up()
    # As every process of Airflow does; with this traces are set up.
    settings.initialize()
    with trace.get_tracer("task_runner").start_as_current_span("worker.extract"):
        sealed = SecureXComBackend.serialize_value({"password": "correct-horse"}, **PLACE)
        assert pull(sealed) == {"password": "correct-horse"}
        threaded(sealed, in_threads)
        asyncio.run(without_blocking(sealed, on_a_loop))
        sealed["head"]["task_id"] = "other"
        try:
            pull(sealed)
        except SecureXComError as error:
            print(type(error).__name__, flush=True)
    forked()
    provider = trace.get_tracer_provider()
    if hasattr(provider, "force_flush"):
        # As the task runner does when the task has ended; metrics are flushed at the process's exit.
        provider.force_flush()


def pull(sealed: object) -> object:
    """Open one row."""
    return SecureXComBackend.deserialize_value(SimpleNamespace(value=sealed))


def threaded(sealed: object, number: int) -> None:
    """Pull in threads of the task's own, each of which knows the task's span."""
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(contextvars.copy_context().run, pull, sealed) for _ in range(number)]
        assert all(call.result() == {"password": "correct-horse"} for call in calls)


async def without_blocking(sealed: dict[str, Any], number: int) -> None:
    """Pull many at once on an event loop."""

    class Supervisor:
        async def asend(self, msg: Any) -> Any:
            return comms.XComResult(key=msg.key, value=sealed)

    task_runner.SUPERVISOR_COMMS = Supervisor()  # type: ignore[assignment]
    pulled = await asyncio.gather(*(SecureXComBackend.aget_one(**PLACE) for _ in range(number)))
    assert pulled == [{"password": "correct-horse"}] * number


def forked() -> None:
    """Push in a child that Airflow's supervisor makes of this process, which has told something already."""
    requests, output, errors, logs = (socket.socketpair() for _ in range(4))
    child = os.fork()
    if child == 0:
        supervisor._fork_main(requests[1], output[1], errors[1], logs[1].fileno(), push_one)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def push_one() -> None:
    """What the child does."""
    set_up()
    SecureXComBackend.serialize_value({"password": "correct-horse"}, **PLACE)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
