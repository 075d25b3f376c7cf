"""An event in words for people: the XCom, and who accessed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def xcom(record: Mapping[str, Any]) -> str:
    """Return the XCom in short: ``dag/run/task[index] iteration n:key``."""
    ids = record.get("producer") or record.get("asked") or {}
    return f"{_task(ids)}:{ids.get('key', '*')}" if ids else ""


def by(record: Mapping[str, Any]) -> str:
    """Return who did it: the task's try, or the operator."""
    ids = record.get("consumer") or record.get("task")
    if not isinstance(ids, dict):
        return str(record.get("operator") or "")
    return f"{_task(ids)} try {ids.get('try_number')}"


def _task(ids: Mapping[str, Any]) -> str:
    index = ids.get("map_index", -1)
    mapped = f"[{index}]" if isinstance(index, int) and index >= 0 else ""
    looped = f" iteration {ids['iteration']}" if isinstance(ids.get("iteration"), int) else ""
    return "/".join(str(ids.get(name, "*")) for name in ("dag_id", "run_id", "task_id")) + mapped + looped
