"""A task's process that reads a lazy sequence over a local keyring and a folder; told and answering in JSON.

    python -m tests.support.lazy_process FOLDER ROWS BROKEN FILL

Pushes ROWS values with FILL bytes that compress well, breaks the payload of row BROKEN (-1: none), reads the
sequence, and prints what was asked of Airflow's supervisor, which values came, which error ended it, and by how
many MiB the process grew meanwhile.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main(folder: str, count: int, broken: int, fill: int) -> None:
    """Push, break, read."""
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time import comms, task_runner
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

    from secure_xcom import SecureXComBackend
    from secure_xcom.core.errors import SecureXComError

    def push(index: int) -> Any:
        return SecureXComBackend.serialize_value(
            {"n": index, **({"fill": "x" * fill} if fill else {})},
            key="return_value",
            dag_id="d",
            task_id="t",
            run_id="r",
            map_index=index,
        )

    rows = [push(index) for index in range(count)]
    if broken >= 0:
        path = Path(rows[broken]["head"]["object"].removeprefix("file://"))
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    asked: list[str] = []

    def of_slice(start: int | None, stop: int | None, step: int | None) -> list[Any]:
        if start is not None and stop is not None and start > stop >= 0:
            # As Airflow's API server has it on SQLite, to which a negative LIMIT is none.
            return rows[start:]
        return rows[slice(start, stop, step)]

    class Supervisor:
        def send(self, msg: Any) -> Any:
            asked.append(type(msg).__name__)
            if isinstance(msg, comms.GetXComSequenceSlice):
                return comms.XComSequenceSliceResult(root=of_slice(msg.start, msg.stop, msg.step))
            if msg.offset >= len(rows):
                return comms.ErrorResponse(error=ErrorType.XCOM_NOT_FOUND)
            return comms.XComSequenceIndexResult(root=rows[msg.offset])

    task_runner.SUPERVISOR_COMMS = Supervisor()  # type: ignore[assignment]
    operator = SimpleNamespace(dag_id="d", task_id="t", is_mapped=True)

    def of_task(task_id: str) -> Any:
        return LazyXComSequence(
            xcom_arg=SimpleNamespace(operator=operator, key="return_value"),  # type: ignore[arg-type]
            ti=SimpleNamespace(id=task_id, dag_id="d", run_id="r", task_id=task_id),  # type: ignore[arg-type]
        )

    sequence = of_task("u")
    values, error = [], None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for value in sequence:
            values.append(value["n"])
            del value
    except SecureXComError as raised:
        error = type(raised).__name__
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    asked_by_the_loop = len(asked)
    again = [sequence[index]["n"] for index in (0, 5, 0)] if error is None and count > 5 and not fill else []
    asked_before = len(asked)
    if again:
        # One and two are pulled together, for the first task alone.
        assert [sequence[0], sequence[1], of_task("v")[2]] == [{"n": 0}, {"n": 1}, {"n": 2}]
    asked_by_two = asked[asked_before:]
    crossed = len(sequence[3:1]) if again else 0
    answer = {
        "crossed": crossed,
        "values": values,
        "error": error,
        "asked": asked_by_the_loop,
        "again": again,
        "grown": grown,
    }
    print(json.dumps({**answer, "asked_by_two": asked_by_two}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
