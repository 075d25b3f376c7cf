"""A task's process that pushes without blocking and is cancelled meanwhile; says what is left in its store.

python -m tests.support.cancelled_process FOLDER
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


async def push_for(seconds: float, place: dict[str, Any]) -> str:
    """Push what takes longer than that, and give up."""
    from secure_xcom import SecureXComBackend

    try:
        await asyncio.wait_for(SecureXComBackend.aset(value=os.urandom(96 << 20), **place), seconds)
    except asyncio.TimeoutError:
        return "cancelled"
    return "pushed"


def actions(folder: Path) -> list[str]:
    """What the access log has, in order."""
    logs = (path.read_text() for path in (folder / "airflow").rglob("*.jsonl"))
    return [json.loads(line)["action"] for text in logs for line in text.splitlines()]


def main(folder: Path) -> None:
    """Push and be cancelled; wait until nothing goes on any more."""
    from secure_xcom import SecureXComBackend

    place: dict[str, Any] = {"key": "return_value", "dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1}
    SecureXComBackend.serialize_value({"n": 1}, **place)
    print(asyncio.run(push_for(0.02, place)))
    until = time.monotonic() + 60
    while len(actions(folder)) < 3 and time.monotonic() < until:
        time.sleep(0.1)
    print(json.dumps(actions(folder)))
    print(len([path for path in (folder / "store").rglob("*") if path.is_file()]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
