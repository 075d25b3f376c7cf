"""Millions of rows with references for the benchmarks of maintenance, made by the database itself."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timezone
from typing import Any

import sqlalchemy

from secure_xcom.core.coordinate import Coordinate
from tests.support.upkeep_world import Upkeep
from tests.support.xcom_table import XComTable

LONG_AGO = datetime(2025, 1, 1, tzinfo=timezone.utc)
ORPHAN_EVERY = 10
_MILLISECONDS = int(LONG_AGO.timestamp() * 1000)
_STEP = 500_000

# ruff: noqa: S608  # The texts of the statements are this file's own.


def path_of(number: int) -> str:
    """The path of one payload; each task instance of a hundred has a run of its own."""
    unique = uuid.UUID(int=((_MILLISECONDS - number % 1000) << 80) | (7 << 76) | (0b10 << 62) | number)
    return f"pay/orders/run-{number // 100}/extract/{number % 100}/{unique}"


def template(upkeep: Upkeep) -> str:
    """A reference that this deployment made, with @RUN, @INDEX and @OBJECT in the places of what differs."""
    at = upkeep.push(
        {"user": "Erika", "lines": ["x" * 40] * 250}, Coordinate("orders", "@RUN", "extract", 7, "return_value")
    )
    reference = upkeep.table.value(at)
    upkeep.table.execute("DELETE FROM xcom")
    upkeep.store().delete_many(upkeep.objects())
    reference["head"].update(object="@OBJECT", map_index="@INDEX")
    return json.dumps(reference)


def fill(table: XComTable, reference: str, store_uri: str, count: int) -> None:
    """Rows for all but every tenth payload of `path_of`."""
    postgres = table.url.startswith("postgres")
    if postgres:
        with table.engine.begin() as connection:
            statement = f"""INSERT INTO xcom
                  (dag_run_id, dag_id, run_id, task_id, map_index, key, timestamp, value)
                SELECT n / 100, 'orders', 'run-' || n / 100, 'extract', n % 100, 'return_value', now(),
                  replace(replace(replace(:reference, '@RUN', 'run-' || n / 100), '@INDEX', (n % 100)::text),
                    '@OBJECT', :store || '/pay/orders/run-' || n / 100 || '/extract/' || n % 100 || '/' ||
                    regexp_replace(lpad(to_hex({_MILLISECONDS} - n % 1000), 12, '0'), '(.{{8}})', '\\1-')
                    || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::jsonb
                FROM generate_series(CAST(:first AS bigint), :last) n WHERE n % {ORPHAN_EVERY} <> 0"""
            for first in range(0, count, _STEP):
                last = min(first + _STEP, count) - 1
                values = {"reference": reference, "store": store_uri, "first": first, "last": last}
                connection.execute(sqlalchemy.text(statement), values)
    else:
        rows = table.tables.tables["xcom"]
        wanted = (number for number in range(count) if number % ORPHAN_EVERY)
        with table.engine.begin() as connection:
            connection.execute(rows.insert(), [_row(reference, store_uri, number) for number in wanted])
    # What autovacuum does by itself within a minute.
    table.execute("ANALYZE xcom" if postgres else "ANALYZE")


def _row(reference: str, store_uri: str, number: int) -> dict[str, Any]:
    run, index = f"run-{number // 100}", number % 100
    text = reference.replace("@RUN", run).replace("@INDEX", str(index))
    return {
        "dag_run_id": number // 100,
        "dag_id": "orders",
        "run_id": run,
        "task_id": "extract",
        "map_index": index,
        "key": "return_value",
        "value": json.loads(text.replace("@OBJECT", f"{store_uri}/{path_of(number)}")),
        "timestamp": datetime.now(timezone.utc),
    }
