"""The clock: one for the whole package, which a test can stop."""

from __future__ import annotations

import ast
from datetime import datetime, timedelta, timezone
from pathlib import Path

import secure_xcom
from secure_xcom.core import clock
from tests.support.stopped_clock import stopped

PACKAGE = Path(secure_xcom.__file__).parent
DAY = datetime(2028, 2, 29, 23, 59, 59, tzinfo=timezone.utc)
# What asks for the present by itself would not see a stopped clock.
ASKS = {("datetime", "now"), ("datetime", "utcnow"), ("date", "today"), ("time", "time"), ("time", "time_ns")}


def test_it_stops_and_goes_on() -> None:
    """Inside `stopped` it is always the same time, blocks nest, and behind them it goes on."""
    with stopped(DAY):
        assert clock.now() == DAY
        with stopped(DAY.astimezone(timezone(timedelta(hours=13))) + timedelta(days=1)):
            assert clock.now() == datetime(2028, 3, 1, 23, 59, 59, tzinfo=timezone.utc)
        assert clock.now() == DAY
    assert abs(clock.now() - datetime.now(timezone.utc)) < timedelta(minutes=1)


def test_a_time_survives_its_text() -> None:
    """An event's time is read back as it was written, and what is not a time counts as long past."""
    assert clock.time_of(clock.text_of(DAY + timedelta(microseconds=7))) == DAY + timedelta(microseconds=7)
    assert clock.time_of("yesterday") < datetime(2001, 1, 1, tzinfo=timezone.utc)


def test_the_package_has_no_other_clock() -> None:
    """Only `secure_xcom.core.clock` asks the machine for the date, so that tests can say what the date is."""
    asking = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "clock.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (getattr(node.value, "id", getattr(node.value, "attr", "")), node.attr) in ASKS
    ]
    assert asking == []
