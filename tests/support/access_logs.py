"""Access logs for tests: chains of events as processes write them, with times of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import uuid6

from secure_xcom.core.event_chain import Chain

START = datetime(2026, 11, 22, 10, 0, tzinfo=timezone.utc)
KEY = "vault://vault_default/transit/keys/xcom-finance"


def text(moment: datetime) -> str:
    """A time as events have it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def uuid7_at(moment: datetime, number: int = 0) -> str:
    """A UUIDv7 of a time, different for each number."""
    milliseconds = int(moment.timestamp() * 1000)
    value = milliseconds << 80 | 7 << 76 | 2 << 62 | number
    return str(uuid6.UUID(int=value))


def event(moment: datetime, action: str = "pull", outcome: str = "ok", **fields: Any) -> dict[str, Any]:
    """An event without the fields of the chain; a field given as None is left out."""
    known: dict[str, Any] = {
        "version": 1,
        "id": uuid7_at(moment),
        "time": text(moment),
        "action": action,
        "outcome": outcome,
        "host": "worker-1",
        "pid": 4711,
        "release": "0.1.0",
    }
    if action != "chain_end":
        known |= {
            "producer": {
                "dag_id": "orders",
                "run_id": "manual__1",
                "task_id": "extract",
                "map_index": -1,
                "key": "return_value",
            },
            "compartment": "finance",
            "keys": [{"uri": KEY, "version": 1}],
            "object": "s3://bucket/xcom/finance/orders/1",
            "size": 1234,
            "codec": "json",
            "policy": "5f" * 32,
        }
    if action == "pull":
        known |= {
            "consumer": {
                "dag_id": "orders",
                "run_id": "manual__1",
                "task_id": "load",
                "map_index": -1,
                "try_number": 1,
            },
            "opened_by": KEY,
            "cache_hit": False,
        }
    if action == "reveal":
        known |= {
            "rule": "compartments[finance].viewers[0]",
            "operator": "ana",
            "reason": "4711",
            "sensitive": False,
        }
    known |= fields
    return {name: value for name, value in known.items() if value is not None}


def chain(
    number: int, length: int = 6, *, start: datetime = START, step: float = 1.0, ended: bool = True, **fields: Any
) -> list[bytes]:
    """The lines of one process: so many events, the last a chain_end if it ended in order."""
    made = Chain(uuid7_at(start, number))
    lines = []
    for at in range(length):
        moment = start + timedelta(seconds=at * step)
        last = ended and at == length - 1
        record = event(moment, "chain_end") if last else event(moment, **fields)
        record["id"] = uuid7_at(moment, number * 1_000_000 + at)
        lines.append(made.add(record).data)
    return lines


def mixed(*chains: list[bytes]) -> list[bytes]:
    """The lines of several processes, in turns."""
    length = max(map(len, chains))
    return [one[at] for at in range(length) for one in chains if at < len(one)]


def write(path: Path, lines: Iterable[bytes]) -> None:
    """A file sink's file."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
