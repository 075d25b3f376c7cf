"""Writes the stored chains of access-log.md: events of every action, and the lines that they have for ever.

    python -m tests.vectors.audit_chains

Each file holds events without the three fields of the chain, the chain's id, and the lines. The lines are made
with the library `rfc8785` and hashlib alone, so they hold the product's own encoder and chain against another.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import rfc8785

FOLDER = Path(__file__).parent / "audit"
_CHAIN = "019ab9a0-0000-7000-8000-0000000000ff"
_POLICY = "5f" * 32
_KEY = "vault://vault_default/transit/keys/xcom-finance"
_OBJECT = (
    "s3://bucket/xcom/finance/orders/manual__2026-01-01/extract/-1/019ab9a0-0000-7000-8000-00000000abcd"
)  # fmt: skip


def _coordinate(**changes: Any) -> dict[str, Any]:
    fields = {"dag_id": "orders", "run_id": "manual__2026-01-01", "task_id": "extract", "map_index": -1}
    return {**fields, "key": "return_value", **changes}


def _try(task_id: str, number: int = 1) -> dict[str, Any]:
    known = _coordinate(task_id=task_id)
    del known["key"]
    return {**known, "try_number": number}


def _event(number: int, action: str, outcome: str = "ok", **fields: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "id": f"019ab9a0-0000-7000-8000-{number:012x}",
        "time": f"2026-11-22T10:00:00.{number:06}Z",
        "action": action,
        "outcome": outcome,
        "host": "worker-1",
        "pid": 4711,
        "release": "0.1.0",
        **fields,
    }


def chains() -> dict[str, dict[str, Any]]:
    """File name -> events and lines."""
    sealed: dict[str, Any] = {
        "producer": _coordinate(),
        "compartment": "finance",
        "keys": [{"uri": _KEY, "version": 3}, {"uri": "aws-kms://default/alias/xcom"}],
        "object": _OBJECT,
        "size": 10_296,
        "codec": "json",
        "policy": _POLICY,
    }
    pulled = {**sealed, "consumer": _try("load", 2), "rule": "readers[0]", "opened_by": _KEY, "cache_hit": False}
    every = [
        _event(0, "policy_change", policy=_POLICY, policy_before="5e" * 32),
        _event(1, "push", **sealed, task=_try("extract")),
        _event(2, "pull", **pulled),
        _event(3, "pull", "refused", error="AccessRefused", **{**pulled, "rule": "readers"}, asked=_coordinate()),
        _event(
            4, "pull", "failed", error="KeyServiceUnavailable", asked={"dag_id": "orders", "task_id": "extract"}
        ),
        _event(5, "plaintext_seen", "refused", error="PlaintextRefused", asked=_coordinate(), policy=_POLICY),
        _event(6, "claim", **{**pulled, "rule": "own"}),
        _event(7, "rewrap", **sealed, task=_try("rewrap")),
        _event(8, "open", **sealed, opened_by=_KEY, operator="alice", reason="ticket 4711"),
        _event(9, "expire", **sealed, task=_try("expire")),
        _event(10, "purge", **sealed, task=_try("extract", 2)),
        _event(11, "chain_end", missed=[{"sink": "s3://audit/log", "events": 2}]),
    ]
    unusual = {
        "dag_id": "\u017elut\u00fd k\u016f\u0148",
        "run_id": 'a\nb\r"c\\d\x1f\x7f',
        "task_id": "\u2028\U0001f512",
    }
    seen = {**sealed, "rule": "compartments[finance].viewers[0]", "operator": "ana@example.com", "reason": "4711"}
    reveals = [
        _event(0, "reveal", **seen, sensitive=False),
        _event(1, "reveal", **seen, sensitive=True, opened_by=_KEY, cache_hit=False),
        _event(2, "reveal", "refused", error="AccessRefused", **{**seen, "rule": "viewers"}, asked=_coordinate()),
    ]
    return {
        "v1-every-action.json": _stored(every),
        "v1-reveal.json": _stored(reveals),
        "v1-unusual-ids.json": _stored([_event(0, "push", producer=_coordinate(**unusual), size=0)]),
        "v1-interrupted.json": _stored([_event(0, "push", **sealed)]),
    }


def _stored(events: list[dict[str, Any]]) -> dict[str, Any]:
    lines: list[str] = []
    previous = "0" * 64
    for number, event in enumerate(events):
        line = rfc8785.dumps({**event, "chain": _CHAIN, "sequence": number, "previous": previous})
        previous = hashlib.sha256(line).hexdigest()
        lines.append(line.decode())
    return {"chain": _CHAIN, "events": events, "lines": lines, "last": previous}


def dump(stored: dict[str, Any]) -> str:
    """The file's text. ASCII only, so that unusual characters survive every tool."""
    return json.dumps(stored, indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    """Write all files."""
    for name, stored in chains().items():
        (FOLDER / name).write_text(dump(stored), encoding="ascii")


if __name__ == "__main__":
    main()
