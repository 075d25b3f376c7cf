"""A trigger that pushes, and what the DAGs of these tests note."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

# A task that is resumed before its executor has seen it pause is failed by Airflow.
PAUSE_SECONDS = 3


def note(name: str, outcome: str) -> None:
    """Note how something ended. One write, so that lines of several processes do not mix."""
    line = json.dumps({"name": name, "outcome": outcome}).encode() + b"\n"
    descriptor = os.open(os.environ["SECURE_XCOM_E2E_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def tried(name: str, call: Callable[[], Any]) -> None:
    """Do something and note ``done``, or the name of the error."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001  # an attacker takes what comes
        note(name, type(error).__name__)
    else:
        note(name, "done")


class Writing(BaseTrigger):
    """Pushes for its own task, in both ways that a trigger has, and at another compartment's coordinate."""

    def __init__(self, own: dict[str, Any], others: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.own, self.others = own, others

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "tests.e2e.dags_writes.writing.Writing", {"own": self.own, "others": self.others}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(PAUSE_SECONDS)
        for whose, place in (("own", self.own), ("others", self.others)):
            await self._tried(f"trigger aset {whose}", XCom.aset("by_trigger", 1, **place))
            push = sync_to_async(XCom.set)("by_trigger_thread", 2, **place)
            await self._tried(f"trigger set in a thread {whose}", push)
        yield TriggerEvent("done")

    async def _tried(self, name: str, push: Any) -> None:
        try:
            await push
        except Exception as error:  # noqa: BLE001  # as above
            note(name, type(error).__name__)
        else:
            note(name, "done")
