"""Functions that alarms call in tests."""

from __future__ import annotations

from typing import Any

TOLD: list[dict[str, Any]] = []


def told(alarm: dict[str, Any]) -> None:
    """Remember the alarm."""
    TOLD.append(alarm)


def broken(alarm: dict[str, Any]) -> None:
    """Fail, with the alarm's text in the error."""
    raise RuntimeError(alarm["text"])
