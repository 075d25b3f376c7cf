"""Triggers that read and write XComs as their task, the operator that waits for them, and what they note."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

# A task that is resumed before its executor has seen it pause is failed by Airflow.
PAUSE_SECONDS = 5
GATHER_SECONDS = 30
# What hangs does so for ever; a pull takes longer than half a minute on a machine that does much else.
ACT_SECONDS = 300
_arrived: dict[str, set[str]] = defaultdict(set)


def note(name: str, outcome: object) -> None:
    """Note how something ended. One write, so that lines of several processes do not mix."""
    line = json.dumps({"name": name, "outcome": outcome}).encode() + b"\n"
    descriptor = os.open(os.environ["SECURE_XCOM_E2E_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


class Waiting(BaseTrigger):
    """Wait until all triggers of a kind are there, then pull and push in one way.

    :param way: ``get_one``, which blocks the event loop as far as Airflow lets it; ``aget_one``; ``set``, ``aset``
        and ``thread``, which push and pull what was pushed.
    :param own: the coordinate of the trigger's own task, without a key.
    :param source: the coordinate of what is pulled.
    :param together: how many triggers of this way begin at the same time.
    """

    def __init__(self, way: str, own: dict[str, Any], source: dict[str, Any], together: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.way, self.own, self.source, self.together = way, own, source, together

    def serialize(self) -> tuple[str, dict[str, Any]]:
        kwargs = {"way": self.way, "own": self.own, "source": self.source, "together": self.together}
        return "tests.e2e.dags_airflow34.waiting.Waiting", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(PAUSE_SECONDS)
        await self._gather()
        name = f"{self.own['task_id']} {self.way}"
        try:
            # Where a call blocks it has to stay on this task, whose portal Airflow made.
            blocks = self.way in ("get_one", "set")
            outcome = await (self._act() if blocks else asyncio.wait_for(self._act(), ACT_SECONDS))
        except Exception as error:  # noqa: BLE001  # noted
            outcome = f"{type(error).__name__}: {error}"
        note(name, outcome)
        yield TriggerEvent("done")

    async def _gather(self) -> None:
        """Wait for the other triggers of this way: they are in this process, however slowly their tasks start."""
        _arrived[self.way].add(self.own["task_id"])
        end = time.monotonic() + GATHER_SECONDS
        while len(_arrived[self.way]) < self.together and time.monotonic() < end:  # noqa: ASYNC110  # with an end
            await asyncio.sleep(0.1)

    async def _act(self) -> object:
        if self.way == "get_one":
            return XCom.get_one(**self.source)
        if self.way == "aget_one":
            return await XCom.aget_one(**self.source)
        if self.way == "set":
            XCom.set("by_trigger", {"password": "of a trigger"}, **self.own)
        elif self.way == "thread":
            await sync_to_async(XCom.set)("by_trigger", {"password": "of a trigger"}, **self.own)
            return await sync_to_async(XCom.get_one)(key="by_trigger", **self.own)
        else:
            await XCom.aset("by_trigger", {"password": "of a trigger"}, **self.own)
        return await XCom.aget_one(key="by_trigger", **self.own)


class Defers(BaseOperator):
    """Wait for a trigger that pulls or pushes in one way."""

    def __init__(self, way: str, together: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.way, self.together = way, together

    def execute(self, context: Any) -> None:
        instance = context["ti"]
        own = {name: getattr(instance, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
        source = {"key": "return_value", "dag_id": self.dag_id, "run_id": instance.run_id, "task_id": "make"}
        trigger = Waiting(self.way, own, source, self.together)
        self.defer(trigger=trigger, method_name="resume", timeout=timedelta(seconds=600))

    def resume(self, context: Any, event: Any) -> None:
        if context["ti"].try_number == 1 and self.retries:
            raise RuntimeError("once more")
