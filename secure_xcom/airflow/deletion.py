"""Delete the payloads of rows that Airflow deletes, or that it did not take. Only a deletion loads this."""

from __future__ import annotations

from typing import Any

from secure_xcom.airflow import task_context
from secure_xcom.airflow.process import pipeline
from secure_xcom.core.coordinate import Asked
from secure_xcom.core.errors import ReferenceRefused, SecureXComError
from secure_xcom.core.pipeline.push_and_pull import Row
from secure_xcom.core.policy_errors import WriteRefused
from secure_xcom.core.reference import is_reference, parse


def purge(row: Any, asked: Asked | None) -> None:
    """Delete the payload of a row.

    :raises WriteRefused: this task is of another compartment, or not known.
    """
    left = _purge(row, asked) if is_reference(row) else None
    if isinstance(left, WriteRefused):
        raise left


def may_purge(row: Any) -> bool:
    """Return whether the running task or trigger may delete the payload of a row."""
    try:
        pipeline().policy.decide_write(parse(row).head.coordinate, task_context.acting()).enforce()
    except WriteRefused:
        return False
    except ReferenceRefused:
        # A row that is no reference of ours names no payload that could be deleted with it.
        return True
    return True


def take_back(row: Any) -> None:
    """Delete the payload of a push whose row was not sent or not taken. What stays is left to gc."""
    if is_reference(row):
        _purge(row, None)


def _purge(row: Any, asked: Asked | None) -> SecureXComError | None:
    """Delete the payload of a row as the running task or trigger; return why it stays, where it does."""
    return pipeline().purge(Row(row, asked), producer=task_context.acting())
