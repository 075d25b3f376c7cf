"""What the DAGs of the soak push, made of one secret, so that tasks and tests make the same."""

from __future__ import annotations

from typing import Any

MAPPED = (1, 2, 3)
EXCLUSIVE = "session_token"
"""The XCom key that the access policy of the soak lists under `exclusive`."""


def pushed(secret: str) -> dict[str, Any]:
    """XCom key -> the value that is pushed under it."""
    record = {
        "id": 7,
        "owner": {"name": "ada", "tags": ["a", "b"]},
        "at": "2026-01-02T03:04:05Z",
        "password": secret,
    }
    return {
        "records": [{**record, "id": number} for number in range(60)],
        "large": secret * 20_000,
        "blob": secret.encode() + bytes(range(256)),
        "none": None,
    }


def mapped(number: int, secret: str) -> dict[str, Any]:
    """What one mapped instance returns."""
    return {"number": number, "password": secret}
