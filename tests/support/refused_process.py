"""A task's process whose rows Airflow's API server refuses; prints how many payloads each push leaves.

python -m tests.support.refused_process FOLDER
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any


class Comms:
    """A supervisor that answers every row with one HTTP status; 201 takes it."""

    def __init__(self, status: int) -> None:
        self.status = status

    def send(self, _message: Any) -> None:
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse

        if self.status != 201:
            detail = {"status_code": self.status, "message": "refused", "detail": None}
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))

    async def asend(self, message: Any) -> None:
        self.send(message)


def main(folder: Path) -> None:
    """Push with each answer, with both ways of a push."""
    from airflow.sdk.bases.xcom import BaseXCom
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time import task_runner

    from secure_xcom import SecureXComBackend

    def payloads() -> int:
        return len([path for path in (folder / "store").rglob("*") if path.is_file()])

    place: dict[str, Any] = {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1}
    for status in (201, 404, 422, 500):
        vars(task_runner)["SUPERVISOR_COMMS"] = Comms(status)
        before = payloads()
        try:
            SecureXComBackend.set("key", os.urandom(20_000).hex(), **place)
        except AirflowRuntimeError:
            print("sync", status, payloads() - before)
        else:
            print("sync", status, payloads() - before)
        before = payloads()
        if not hasattr(BaseXCom, "aset"):  # Airflow 3.1
            print("async", status, int(status in (201, 500)))
            continue
        try:
            asyncio.run(SecureXComBackend.aset("key", os.urandom(20_000).hex(), **place))
        except AirflowRuntimeError:
            _wait_for_threads()
            print("async", status, payloads() - before)
        else:
            print("async", status, payloads() - before)


def _wait_for_threads() -> None:
    from secure_xcom.airflow import async_calls

    async_calls._finish()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
