"""Place the callbacks of deadlines, for which Airflow has no hook, when the scheduler is about to run them.

The scheduler writes a row of Airflow's table ``callback`` for each (airflow/models/deadline.py, handle_miss), and
sends it to the executor that the row names. SQLAlchemy tells us before that row is written.
"""

from __future__ import annotations

import sys
from typing import Any

from secure_xcom.core.errors import SecureXComError
from secure_xcom.deployment import airflow_config

_MODELS = "airflow.models.callback"
_CLASS = "ExecutorCallback"
_ABOUT_TO_RUN = ("pending", "queued")
_FAILED = "failed"


def watch() -> None:
    """Look at callbacks from now on, in a process that has Airflow's models or will load them."""
    from sqlalchemy import event
    from sqlalchemy.orm import Mapper

    callback_class = getattr(sys.modules.get(_MODELS), _CLASS, None)
    if callback_class is None:
        event.listen(Mapper, "mapper_configured", _listen_to)
    else:
        _listen_to(callback_class.__mapper__, callback_class)


def _listen_to(_mapper: Any, model: Any) -> None:
    from sqlalchemy import event

    if model.__name__ == _CLASS and model.__module__ == _MODELS:
        for moment in ("before_insert", "before_update"):
            event.listen(model, moment, _before_write)


def _before_write(_mapper: Any, connection: Any, row: Any) -> None:
    from sqlalchemy import inspect

    changes = inspect(row).attrs.state.history
    before = [str(getattr(state, "value", state)) for state in changes.deleted or ()]
    state = str(getattr(row.state, "value", row.state))
    if (
        state in _ABOUT_TO_RUN
        and not set(before) & set(_ABOUT_TO_RUN)
        and airflow_config.placing_policy() is not None
    ):
        place(row, connection)


def place(row: Any, connection: Any) -> None:
    """Send a callback to its compartment's place, or end it as failed. Never raises: the scheduler would end."""
    from secure_xcom.airflow.plugin import placing

    try:
        loaded = _bundle_of(row.data.get("dag_id"), connection)
        row.data = placing.place_callback(row.data, row.bundle_name, loaded)
    except Exception as error:  # noqa: BLE001  # the scheduler must run on, and this callback must not
        why = str(error) if isinstance(error, SecureXComError) else type(error).__name__
        placing.say(f"{(row.data or {}).get('dag_id')}", why)
        row.state = _FAILED
        row.output = why


def _bundle_of(dag_id: Any, connection: Any) -> str | None:
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    name = connection.execute(select(DagModel.bundle_name).where(DagModel.dag_id == dag_id)).scalar()
    return None if name is None else str(name)
