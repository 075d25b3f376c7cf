"""A task's process that pulls without blocking, forks, and pulls so in the child; says what each of them got.

python -m tests.support.forked_process
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any


def main() -> None:
    """Push, pull, fork, pull."""
    from airflow.sdk.execution_time import comms, task_runner

    from secure_xcom import SecureXComBackend

    place: dict[str, Any] = {"key": "return_value", "dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1}
    row = SecureXComBackend.serialize_value({"n": 1}, **place)

    class Supervisor:
        async def asend(self, msg: Any) -> Any:
            return comms.XComResult(key=msg.key, value=row)

    task_runner.SUPERVISOR_COMMS = Supervisor()  # type: ignore[assignment]
    print(json.dumps(asyncio.run(SecureXComBackend.aget_one(**place))), flush=True)
    child = os.fork()
    if not child:
        # Whoever waits for threads that are not there would wait for ever.
        signal.alarm(20)
        print(json.dumps(asyncio.run(SecureXComBackend.aget_one(**place))), flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
