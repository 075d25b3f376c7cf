"""How fast the page's API answers on ten million rows of PostgreSQL, and for ten thousand mapped instances.

    python benchmarks/bench_ui.py                 ten million rows: some minutes, and about 20 GB of disk
    python benchmarks/bench_ui.py --rows 100000   a smaller table

It makes Airflow's own tables (`airflow db migrate`) in a PostgreSQL of its own, fills them by SQL with references
of the usual size, and asks Airflow's app in this process, with its login and its permissions, so that what is
measured is all but the network. Each question is asked eleven times; the first one is told by itself, since it
finds nothing in the caches of Python and the database.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

RUN, MAPPED_RUN = "scheduled__000001", "mapped"
MAPPED = 10_000
_XCOMS_OF_A_RUN = 100
_DAGS = 200
_TIMES = 11
_POLICY = """
version: 1
compartments:
  - name: pay
    dags: ["*"]
    key_uris: ["vault://vault_default/transit/keys/xcom-pay"]
    store_uri: "s3://aws_default@bucket/xcom"
    retention: 520w
    readers: [{dags: ["other_*"], tasks: [totals]}]
"""


# ruff: noqa: S608  # The texts of the statements are this file's own.


def filled(url: str, rows: int, reference: str, mapped: str) -> float:
    """Fill the tables; the seconds that it took."""
    import sqlalchemy as sa

    started = time.perf_counter()
    runs = rows // _XCOMS_OF_A_RUN
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    statements = [
        "INSERT INTO dag_bundle (name, active) VALUES ('bench', true) ON CONFLICT DO NOTHING",
        f"""INSERT INTO dag (dag_id, is_paused, is_stale, exceeds_max_non_backfill, bundle_name, timetable_type,
              max_active_tasks, max_consecutive_failed_dag_runs, has_task_concurrency_limits, fail_fast,
              partition_mapper_info)
            SELECT 'dag_' || n, false, false, false, 'bench', 'x', 16, 0, false, false, '{{}}'
            FROM generate_series(0, {_DAGS - 1}) n""",
        f"""INSERT INTO dag_run (id, dag_id, run_id, run_type, run_after, state)
            SELECT n, 'dag_' || (n % {_DAGS}), 'scheduled__' || lpad(n::text, 6, '0'), 'scheduled',
              timestamptz '2024-01-01' + n * interval '5 minutes', 'success' FROM generate_series(1, {runs}) n""",
        f"""INSERT INTO dag_run (id, dag_id, run_id, run_type, run_after, state)
            VALUES ({runs + 1}, 'dag_0', '{MAPPED_RUN}', 'manual', timestamptz '2020-01-01', 'success')""",
        # The check of every foreign key would take most of the time, and what is asked here has no use for it.
        "ALTER TABLE xcom DROP CONSTRAINT xcom_task_instance_fkey",
    ]
    one = """INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, timestamp, value)
        SELECT r.id, 'task_' || (x / 4), -1, 'key_' || (x % 4), r.dag_id, r.run_id, r.run_after,
          jsonb_set(jsonb_set(jsonb_set(:reference ::jsonb, '{{head,dag_id}}', to_jsonb(r.dag_id)),
            '{{head,run_id}}', to_jsonb(r.run_id)), '{{head,task_id}}', to_jsonb('task_' || (x / 4)))
        FROM dag_run r, generate_series(0, {of_a_run}) x WHERE r.id BETWEEN {first} AND {last}"""
    many = f"""INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, timestamp, value)
        SELECT {runs + 1}, 'mapped', x, 'return_value', 'dag_0', '{MAPPED_RUN}', timestamptz '2020-01-01',
          jsonb_set(:reference ::jsonb, '{{head,map_index}}', to_jsonb(x::text))
        FROM generate_series(0, {MAPPED - 1}) x"""
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
        step = 5_000
        for first in range(1, runs + 1, step):
            last = min(first + step - 1, runs)
            text = one.format(of_a_run=_XCOMS_OF_A_RUN - 1, first=first, last=last)
            connection.execute(sa.text(text), {"reference": reference})
            print(f"  {last * _XCOMS_OF_A_RUN:>11,} rows, {time.perf_counter() - started:.0f} s", file=sys.stderr)
        connection.execute(sa.text(many), {"reference": mapped})
        connection.execute(
            sa.text(
                "INSERT INTO task_instance (id, task_id, dag_id, run_id, map_index, try_number, max_tries, pool, "
                "pool_slots) VALUES (gen_random_uuid(), 'mapped', 'dag_0', 'mapped', -1, 1, 0, 'x', 1)"
            )
        )
        connection.execute(sa.text("VACUUM ANALYZE xcom"))
        connection.execute(sa.text("ANALYZE"))
    engine.dispose()
    return time.perf_counter() - started


def references() -> tuple[str, str]:
    """References of the usual size, for a plain XCom and for one of a mapped task."""
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.coordinate import Coordinate
    from tests.support.doubles import MemoryKeyService
    from tests.support.world import World

    world, double = World(), MemoryKeyService()
    text = _POLICY.replace("s3://aws_default@bucket/xcom", world.store.uri)
    world.policy = AccessPolicy.parse(text.encode(), where="policy")
    world.pipeline = world.process(lambda _: double)
    value = {"customer": {"name": "Erika", "since": 2020}, "lines": [{"amount": 1.5, "text": "x" * 30}] * 8}
    plain = world.push(value, Coordinate("dag_0", RUN, "task_0", -1, "key_0"))
    mapped = world.push(value, Coordinate("dag_0", MAPPED_RUN, "mapped", 0, "return_value"))
    for reference in (plain, mapped):
        reference["keys"][0]["wrapped"] = "vault:v1:" + "A" * 90
    return json.dumps(plain), json.dumps(mapped)


def asked(rows: int) -> list[tuple[str, str, dict[str, Any]]]:
    """What people ask for: a name, a path and its parameters."""
    runs = rows // _XCOMS_OF_A_RUN
    middle = f"scheduled__{runs // 2:06d}"
    dag = f"dag_{runs // 2 % _DAGS}"
    tab, whole = f"dags/{dag}/task-instance", "dags/dag_0/task-instance"
    mapped: dict[str, Any] = {"run_id": MAPPED_RUN, "task_id": "mapped"}
    week = {"since": "2024-02-01T00:00:00Z", "until": "2024-02-08T00:00:00Z"}
    return [
        ("tab: a task instance", tab, {"run_id": middle, "task_id": "task_3", "map_index": -1}),
        ("tab: one of 10,000 mapped", whole, {**mapped, "map_index": 7777}),
        ("tab: all of 10,000 mapped, page of 50", whole, mapped),
        ("tab: all of 10,000 mapped, page of 200", whole, {**mapped, "limit": 200}),
        ("tab: all of 10,000 mapped, the last page", whole,
         {**mapped, "after": _after(["mapped", MAPPED - 51, "return_value"])}),
        ("one XCom", f"dags/{dag}/xcom", {"run_id": middle, "task_id": "task_3", "key": "key_1"}),
        ("browse: everything", "xcoms", {}),
        ("browse: everything, page of 200", "xcoms", {"limit": 200}),
        ("browse: one DAG", "xcoms", {"dag_id": dag}),
        ("browse: one run", "xcoms", {"dag_id": dag, "run_id": middle}),
        ("browse: runs by a beginning", "xcoms", {"run_id": "scheduled__00*"}),
        ("browse: a task in all runs", "xcoms", {"task_id": "task_20"}),
        ("browse: a key in all runs", "xcoms", {"key": "key_3"}),
        ("browse: a key that is nowhere", "xcoms", {"key": "nowhere"}),
        ("browse: a week, two years ago", "xcoms", week),
        ("browse: plaintext (a bounded scan)", "xcoms", {"state": "plaintext"}),
        ("browse: a compartment", "xcoms", {"compartment": "pay"}),
        ("compartments", "compartments", {}),
    ]  # fmt: skip


def _after(parts: list[Any]) -> str:
    from secure_xcom.airflow.plugin.ui.cursors import encoded

    return encoded(parts)


def measure(rows: int) -> list[dict[str, Any]]:
    """Ask each question; milliseconds."""
    from airflow.api_fastapi.app import create_app
    from starlette.testclient import TestClient

    client = TestClient(create_app(apps="core"))
    login = client.post("/auth/token", json={"username": "admin", "password": "bench"})
    headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
    found = []
    for name, path, parameters in asked(rows):
        times = []
        body: dict[str, Any] = {}
        for _ in range(_TIMES):
            started = time.perf_counter()
            answer = client.get(f"/secure-xcom/{path}", params=parameters, headers=headers)
            times.append((time.perf_counter() - started) * 1000)
            assert answer.status_code == 200, (name, answer.text)
            body = answer.json()
        shown = len(body.get("xcoms", body.get("compartments", [None])))
        looked = body.get("looked")
        found.append(
            {"question": name, "rows": shown, "looked_at": looked and looked["rows"], "first": round(times[0]),
             "median": round(statistics.median(times[1:])), "slowest": round(max(times[1:]))}
        )  # fmt: skip
    return found


def main() -> None:
    """Make a PostgreSQL, fill it, ask, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--json", type=Path, help="Write the numbers here as well.")
    options = parser.parse_args()
    from tests.support.servers.postgres_server import postgres_server

    with tempfile.TemporaryDirectory(prefix="bench-ui-") as name, postgres_server() as server:
        home, url = Path(name), server.new_database()
        (home / "policy.yaml").write_text(_POLICY)
        (home / "passwords.json").write_text('{"admin": "bench"}')
        for option in [name for name in os.environ if name.startswith("AIRFLOW")]:
            del os.environ[option]
        os.environ |= {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__XCOM_BACKEND": "secure_xcom.SecureXComBackend",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(home / "policy.yaml"),
            "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        migrated = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(migrated, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = filled(url, options.rows, *references())
        load = os.getloadavg()
        found = measure(options.rows)
        load_after = os.getloadavg()
    busy = f"load of the machine {load[0]:.1f} to {load_after[0]:.1f}"
    print(f"\n{options.rows:,} rows, filled in {seconds:.0f} s; {busy}")
    print("\n| question | rows | looked at | first, ms | median, ms | slowest, ms |\n|---|---|---|---|---|---|")
    for one in found:
        cells = ("" if cell is None else str(cell) for cell in one.values())
        print(f"| {' | '.join(cells)} |")
    if options.json:
        record = {"rows": options.rows, "load": [load, load_after], "questions": found}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
