"""What an XCom costs Airflow's metadata database, against the stock backend: bytes, WAL and time, on PostgreSQL.

    python benchmarks/bench_database.py [--rows ROWS]

For values of 1 KB, 100 KB and 5 MB, each pushed so many times into a table of its own that is as Airflow defines
it: how much the table (with its TOAST and indexes) and the write-ahead log grow for each XCom, and how long the
row's INSERT takes. The values are random text, which no database compresses; stock is what `BaseXCom` writes: the
value as JSONB. Payloads of ours go to a file store, which is not in the INSERT's time; sealing and putting are
shown apart.

Claim: at 100 KB at most a fiftieth of the stock backend's bytes, table and WAL alike.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import statistics
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from secure_xcom.core.pipeline.push_and_pull import Push
from tests.support.servers.postgres_server import postgres_server
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate
from tests.support.xcom_table import XComTable

SIZES = (1_000, 100_000, 5_000_000)


def value_of(size: int) -> dict[str, Any]:
    """A value of so many bytes as JSON, whose text does not compress below three quarters."""
    body = base64.b64encode(random.randbytes(size * 3 // 4)).decode()[: size - 30]
    return {"user": "someone", "body": body}


def wal_position(connection: sqlalchemy.Connection) -> int:
    """Bytes of write-ahead log since the server was made."""
    return int(connection.execute(sqlalchemy.text("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")).scalar_one())


def measured(url: str, rows: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Table bytes and WAL bytes for each row, and the median INSERT in milliseconds."""
    table = XComTable(url)
    xcom = table.tables.tables["xcom"]
    with table.engine.connect() as connection:
        begin = connection.execute(sqlalchemy.text("SELECT pg_total_relation_size('xcom')")).scalar_one()
        connection.execute(sqlalchemy.text("CHECKPOINT"))
        connection.commit()
        before = wal_position(connection)
    times = []
    for row in rows:
        begun = time.perf_counter()
        with table.engine.begin() as connection:
            connection.execute(xcom.insert().values(**row, timestamp=datetime.now(timezone.utc)))
        times.append(time.perf_counter() - begun)
    with table.engine.connect() as connection:
        wal = wal_position(connection) - before
        end = connection.execute(sqlalchemy.text("SELECT pg_total_relation_size('xcom')")).scalar_one()
    table.close()
    return (end - begin) / len(rows), wal / len(rows), statistics.median(times) * 1000


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    chosen = parser.parse_args()
    print("value     backend  table bytes/XCom  WAL bytes/XCom  INSERT ms  seal and put ms")
    with postgres_server() as server, tempfile.TemporaryDirectory(prefix="secure-xcom-bench-") as folder:
        upkeep = Upkeep(Path(folder) / "one")
        for size in SIZES:
            count = chosen.rows if size < 1_000_000 else max(10, chosen.rows // 10)
            stock_rows, our_rows, sealing = [], [], []
            pipeline = upkeep.pipeline()
            for number in range(count):
                at = coordinate(run_id="r", map_index=number)
                ids = {name: getattr(at, name) for name in ("dag_id", "run_id", "task_id", "map_index", "key")}
                value = value_of(size)
                begun = time.perf_counter()
                sealed = pipeline.push([Push(at, value)])[0]
                sealing.append(time.perf_counter() - begun)
                stock_rows.append({"dag_run_id": 1, **ids, "value": value})
                our_rows.append({"dag_run_id": 1, **ids, "value": sealed})
            stock = measured(server.new_database(), stock_rows)
            ours = measured(server.new_database(), our_rows)
            seal_ms = statistics.median(sealing) * 1000
            for name, found in (("stock", stock), ("ours", ours)):
                more = f"{seal_ms:8.2f}" if name == "ours" else ""
                print(f"{size:>8}  {name:7} {found[0]:17.0f} {found[1]:15.0f} {found[2]:10.2f} {more}")
            print(
                f"{size:>8}  ours is 1/{stock[0] / ours[0]:.1f} of the table, 1/{stock[1] / ours[1]:.1f} of the "
                f"WAL, {ours[2] / stock[2]:.2f} of the INSERT's time"
            )
            if size == 100_000:
                assert stock[0] / ours[0] >= 50
                assert stock[1] / ours[1] >= 50
        upkeep.close()
    print(f"on PostgreSQL with fsync off, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
