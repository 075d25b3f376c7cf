"""The parameters that several routes have. Only a DAG's id is in paths: the other ids may have any character."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from secure_xcom.airflow.plugin.ui.stored import Attempts

_NUL_FREE = r"^[^\x00]*$"

Id = Annotated[str, Query(min_length=1, max_length=250, pattern=_NUL_FREE)]
Key = Annotated[str, Query(min_length=1, max_length=512, pattern=_NUL_FREE)]
Text = Annotated[str | None, Query(max_length=600, pattern=_NUL_FREE)]
MapIndex = Annotated[int, Query(ge=-1, lt=1 << 31)]
AnyMapIndex = Annotated[int | None, Query(ge=-1, lt=1 << 31)]
Limit = Annotated[int, Query(ge=1, le=200)]
After = Annotated[str | None, Query(max_length=8192)]
"""The ``next`` of the answer before."""

Time = Annotated[str | None, Query(max_length=40)]


def attempts(
    ti_id: UUID | None = None,
    try_number: Annotated[int | None, Query(ge=0, lt=1 << 31)] = None,
    region_id: UUID | None = None,
    region_index: Annotated[int | None, Query(ge=-1, lt=1 << 31)] = None,
) -> Attempts:
    """Return which tries of a task instance are asked for; before Airflow 3.4 there is nothing to choose."""
    return Attempts(ti_id, try_number, region_id, region_index)


AttemptsDep = Annotated[Attempts, Depends(attempts)]
