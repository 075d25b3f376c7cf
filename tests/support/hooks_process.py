"""A task's process whose backend is a subclass of ours that overrides only the older hooks; says what it got.

    python -m tests.support.hooks_process FOLDER

Airflow's configuration has to name `Marking` or `Inherited` of this file as its XCom backend.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from secure_xcom import SecureXComBackend


class Marking(SecureXComBackend):
    """Marks what is pushed, and what is pulled."""

    @staticmethod
    def serialize_value(value: Any, **place: Any) -> Any:
        return SecureXComBackend.serialize_value({"pushed": value}, **place)

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        return {"pulled": SecureXComBackend.deserialize_value(result)}


class Wrapping:
    """A mixin with the older hook, which names the class that it was called for."""

    @classmethod
    def deserialize_value(cls, result: Any) -> Any:
        return {cls.__name__: super().deserialize_value(result)}  # type: ignore[misc]


class Mixed(Wrapping, SecureXComBackend):
    """Gets the hook from a mixin."""


class Inherited(Mixed):
    """Gets it from a subclass."""


class Supervisor:
    """Airflow's supervisor, with the rows that it was sent. Async requests are answered one after the other."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], Any] = {}
        self.pauses = 0.0
        self._lock = asyncio.Lock()

    def send(self, msg: Any) -> Any:
        from airflow.sdk.execution_time import comms

        if isinstance(msg, comms.SetXCom):
            self.rows[msg.key, -1 if msg.map_index is None else msg.map_index] = msg.value
            return None
        if isinstance(msg, comms.GetXCom):
            place = msg.key, -1 if msg.map_index is None else msg.map_index
            return comms.XComResult(key=msg.key, value=self.rows.get(place))
        if isinstance(msg, comms.GetXComSequenceSlice):
            rows = [row for (key, _), row in sorted(self.rows.items()) if key == msg.key]
            return comms.XComSequenceSliceResult(root=rows[slice(msg.start, msg.stop, msg.step)])
        if isinstance(msg, comms.GetXComSequenceItem):
            return comms.XComSequenceIndexResult(root=self.rows[msg.key, msg.offset])
        raise TypeError(msg)

    async def asend(self, msg: Any) -> Any:
        async with self._lock:
            await asyncio.sleep(self.pauses)
            return await asyncio.to_thread(self.send, msg)


PLACE: dict[str, Any] = {"dag_id": "d", "task_id": "t", "run_id": "r"}


async def together(supervisor: Supervisor) -> dict[str, Any]:
    """Push twenty values and pull one at the same time; then cancel some pushes at different moments."""
    pushes = [Marking.aset(f"k{number}", number, **PLACE) for number in range(20)]
    await asyncio.wait_for(asyncio.gather(Marking.aget_one(key="one", **PLACE), *pushes), 30)
    many = [await Marking.aget_one(key=f"k{number}", **PLACE) for number in range(20)]
    supervisor.pauses = 0.05
    cancelled = [asyncio.create_task(Marking.aset(f"c{number}", number, **PLACE)) for number in range(8)]
    for number, push in enumerate(cancelled):
        await asyncio.sleep(number * 0.005)
        push.cancel()
    await asyncio.wait(cancelled)
    # What was begun is sent to its end.
    await asyncio.sleep(0.6)
    return {"many": many, "cancelled": sum(push.cancelled() for push in cancelled)}


def main(folder: Path) -> None:
    """Push and pull in every way."""
    from airflow.sdk.bases.xcom import BaseXCom
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence
    from airflow.sdk.execution_time.xcom import XCom

    from secure_xcom.airflow.async_calls import _finish

    supervisor = Supervisor()
    task_runner.SUPERVISOR_COMMS = supervisor  # type: ignore[assignment]
    assert XCom in (Marking, Inherited)
    XCom.set("one", 1, **PLACE)
    for index in range(3):
        XCom.set("mapped", index, map_index=index, **PLACE)
    operator = SimpleNamespace(dag_id="d", task_id="t", is_mapped=True)
    sequence: Any = LazyXComSequence(
        xcom_arg=SimpleNamespace(operator=operator, key="mapped"),  # type: ignore[arg-type]
        ti=SimpleNamespace(id="u", dag_id="d", run_id="r", task_id="u"),  # type: ignore[arg-type]
    )
    if XCom is Inherited:
        print(json.dumps({"one": XCom.get_one(key="one", **PLACE), "sequence": [sequence[0], list(sequence[1:])]}))
        return
    answer = {
        "one": XCom.get_one(key="one", **PLACE),
        "all": XCom.get_all(key="mapped", **PLACE),
        "sequence": [sequence[0], sequence[1], list(sequence[1:])],
        # Airflow 3.1 has no async pushes.
        **(asyncio.run(together(supervisor)) if hasattr(BaseXCom, "aset") else {}),
    }
    _finish()
    objects = {row["head"]["object"].removeprefix("file://") for row in supervisor.rows.values()}
    stored = {str(path) for path in (folder / "store").rglob("*") if path.is_file()}
    threads = sorted({thread.name.rpartition("_")[0] for thread in threading.enumerate()})
    print(json.dumps({**answer, "same": objects == stored, "threads": threads}))


if __name__ == "__main__":
    # As Airflow imports it, or there would be two of each class.
    from tests.support import hooks_process  # noqa: PLW0406

    hooks_process.main(Path(sys.argv[1]))
