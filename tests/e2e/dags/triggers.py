"""Triggers of the DAGs of these tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async

from tests.e2e.dags.kit import got, secret

# A task that is resumed before its executor has seen it pause is failed by Airflow.
PAUSE_SECONDS = 3


class Pulling(BaseTrigger):
    """Pulls an XCom in both ways that a trigger has, notes what it got, and tells nothing of it."""

    def __init__(self, **place: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.place = place

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "tests.e2e.dags.triggers.Pulling", self.place

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(PAUSE_SECONDS)
        got("trigger aget_one", await XCom.aget_one(**self.place))
        got("trigger get_one in a thread", await sync_to_async(XCom.get_one)(**self.place))
        yield TriggerEvent("done")


class Telling(BaseTrigger):
    """Puts a canary into the event that wakes the task."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "tests.e2e.dags.triggers.Telling", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(PAUSE_SECONDS)
        yield TriggerEvent({"text": secret("trigger event payload")})


class Ending(BaseTrigger):
    """Ends the task itself, and writes XComs of it past the backend."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "tests.e2e.dags.triggers.Ending", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(PAUSE_SECONDS)
        yield TaskSuccessEvent(xcoms={"return_value": secret("TaskSuccessEvent xcoms")})


class Sleeping(BaseTrigger):
    """Does not fire while the tests look at what a waiting task leaves in the database."""

    def __init__(self, argument: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.argument = argument

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "tests.e2e.dags.triggers.Sleeping", {"argument": self.argument}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(3600)
        yield TriggerEvent("late")
