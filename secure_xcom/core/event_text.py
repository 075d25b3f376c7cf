"""An event in words that people read: which XCom, and who had it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def xcom(record: Mapping[str, Any]) -> str:
    """The XCom in short: ``dag/run/task[index]:key``."""
    found = record.get("producer") or record.get("asked") or {}
    index = found.get("map_index", -1)
    mapped = f"[{index}]" if isinstance(index, int) and index >= 0 else ""
    parts = "/".join(str(found.get(name, "*")) for name in ("dag_id", "run_id", "task_id"))
    return f"{parts}{mapped}:{found.get('key', '*')}" if found else ""


def by(record: Mapping[str, Any]) -> str:
    """Who did it: the task's try, or the operator."""
    found = record.get("consumer") or record.get("task")
    if not isinstance(found, dict):
        return str(record.get("operator") or "")
    index = found.get("map_index", -1)
    mapped = f"[{index}]" if isinstance(index, int) and index >= 0 else ""
    return (
        f"{found.get('dag_id')}/{found.get('run_id')}/{found.get('task_id')}{mapped} try {found.get('try_number')}"
    )
