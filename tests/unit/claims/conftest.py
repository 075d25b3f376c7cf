"""A clock for the tests of waiting for a claim."""

from __future__ import annotations

import random
import time

import pytest


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept, on a clock that nothing else moves, and with the longest of random waits."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(slept))
    monkeypatch.setattr(random, "random", lambda: 1.0)
    return slept
