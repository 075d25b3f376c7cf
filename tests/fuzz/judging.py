"""What may come out of a pull of a row that was changed: nothing, or exactly what was pushed with it."""

from __future__ import annotations

import json
from typing import Any

from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.pipeline.push_and_pull import Row
from tests.fuzz.corpus import CANARY, Deployment


def attempt(home: Deployment, rows: list[Row], order: int = 0) -> tuple[list[Any] | None, str]:
    """Pull. What was given, or None and the error's class; an error that is not ours fails the test by itself."""
    home.sink.lines.clear()
    try:
        values = home.reader.pull(rows, order=order)
    except SecureXComError as error:
        said = str(error) + json.dumps(home.sink.records)
        assert CANARY not in said
        assert home.sink.records[-1]["outcome"] != "ok"
        return None, type(error).__name__
    return values, "opened"


def means(record: Any) -> str:
    """All of a reference that decides what is opened.

    Several keys may open; the preview, and what the scheduler reads of a branching task, are never read back.
    """
    if not isinstance(record, dict):
        return json.dumps(record)
    aside = ("keys", "preview", "followed", "skipped")
    return json.dumps({name: part for name, part in record.items() if name not in aside}, sort_keys=True)


def judge(home: Deployment, row: Row, values: list[Any] | None, *, payload_changed: bool = False) -> None:
    """Nothing was given, or what was pushed with exactly this reference, to somebody who asked for just that.

    An older XCom of the same coordinate is authentic there: Airflow's row alone says which one is current.
    """
    if values is None:
        return
    origin = next((sealed for sealed in home.sealed if means(sealed.row) == means(row.value)), None)
    assert origin is not None, "a changed reference was opened"
    assert not payload_changed, "a changed payload was opened"
    assert row.asked in (None, origin.asked), "an XCom was opened that was not asked for"
    assert values == [origin.value]
    assert type(values[0]) is type(origin.value)
