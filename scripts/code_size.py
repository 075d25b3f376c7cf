#!/usr/bin/env python3
"""Prints how much of the package a task loads, how much it can reach, and how large each room is.

    scripts/code_size.py [--json]

A task loads what a push and a pull of one small value, in Airflow's context of a task, over a local keyring and a
folder leave in ``sys.modules``, the cluster policy included, which every process of Airflow loads. It can reach
what is imported from the backend, late imports and those of imported modules included, with the adapters of that
deployment. What other deployments configure is named in tables (docs/adr/0072) and printed apart: for each adapter
and codec, the lines that it adds.
Lines are counted as they stand in the files. Run it with the Python of an environment that has the package's
requirements.
"""

# ruff: noqa: S603, T201  # It starts a Python, and prints.

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "secure_xcom"
ADAPTER = re.compile(rf"({PACKAGE}(?:\.\w+)+):\w+")
# The adapters of the deployment that is measured.
LOCAL = {f"{PACKAGE}.keys.local", f"{PACKAGE}.stores.files", f"{PACKAGE}.sinks.file"}
TASK = """
import json, sys
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace
from airflow import settings
from airflow.sdk.execution_time.context import set_current_context
settings.initialize()
from secure_xcom import SecureXComBackend
keyring = Path(sys.argv[1]) / "keyring.json"
keyring.touch(0o600)
version = {"created": "2026-01-01T00:00:00Z", "key": b64encode(bytes(32)).decode()}
keyring.write_text(json.dumps({"secure_xcom_keyring": 1, "versions": {"1": version}, "latest": 1}))
(Path(sys.argv[1]) / "store").mkdir()
class Row: pass
row = Row()
ids = {"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1}
with set_current_context({"ti": SimpleNamespace(**ids, try_number=1)}):
    row.value = SecureXComBackend.serialize_value({"rows": 3}, key="return_value", **ids)
    assert "secure_xcom" in str(row.value)
    assert SecureXComBackend.deserialize_value(row) == {"rows": 3}
print(json.dumps(sorted(name for name in sys.modules if name.partition(".")[0] == "secure_xcom")))
"""


def modules() -> dict[str, Path]:
    """Return each module of the package, by its name."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def lines_of(paths: list[Path]) -> int:
    """Return how many lines these files have together."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """Return the package's modules that a file may import when it runs, with the packages that they are in.

    Imports for the type checker alone are left out: they never run.
    """
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parents = {".".join(name.split(".")[:count]) for name in names for count in range(1, name.count(".") + 1)}
    return (names | parents) & known.keys()


def adapters(known: dict[str, Path]) -> set[str]:
    """Return the modules that a table names for what a deployment configures."""
    texts = (
        node.value
        for path in known.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {match[1] for text in texts if (match := ADAPTER.fullmatch(text))} & known.keys()


def reachable(start: Iterable[str], known: dict[str, Path]) -> set[str]:
    """Return all modules that can be loaded by these, themselves included."""
    seen: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(imported(known[name], known))
    return seen


def loaded_by_a_task(known: dict[str, Path]) -> set[str]:
    """Return the modules that a push and a pull in a new process load."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        done = subprocess.run(
            [sys.executable, "-c", TASK, folder],
            env={
                **kept,
                "AIRFLOW_HOME": f"{folder}/airflow",
                "AIRFLOW__CORE__XCOM_BACKEND": "secure_xcom.SecureXComBackend",
                "AIRFLOW__SECURE_XCOM__KEY_URIS": f"local://{folder}/keyring.json",
                "AIRFLOW__SECURE_XCOM__STORE_URI": f"file://{folder}/store",
                "PYTHONPATH": str(ROOT),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return known.keys() & set(json.loads(done.stdout.splitlines()[-1]))


def room_of(path: Path) -> str:
    """Return the first folder below the package, or the file itself; two folders within core and ops."""
    parts = path.relative_to(ROOT / PACKAGE).parts
    deep = 2 if parts[0] in ("core", "ops") and len(parts) > 2 else 1
    return "/".join(parts[:deep])


def measured() -> dict[str, Any]:
    """Return all numbers.

    ``loaded``, ``reachable`` and ``everything`` have modules and lines, ``adapters`` and ``rooms`` have lines.
    """
    known = modules()
    loaded = loaded_by_a_task(known)

    def size(names: set[str]) -> dict[str, int]:
        return {"modules": len(names), "lines": lines_of([known[name] for name in names])}

    backend = next(name for name in known if name in (f"{PACKAGE}.airflow.backend", f"{PACKAGE}.backend"))
    reach = reachable([backend, *LOCAL], known)
    configured = sorted(adapters(known) - reach)
    everything = reachable([backend, *LOCAL, *configured], known)
    rooms: Counter[str] = Counter()
    for path in known.values():
        rooms[room_of(path)] += lines_of([path])
    return {
        "loaded": size(loaded),
        "reachable": size(reach),
        "adapters": {
            name: lines_of([known[module] for module in reachable([name], known) - reach]) for name in configured
        },
        "everything": size(everything),
        "rooms": dict(sorted(rooms.items())),
    }


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    as_json = parser.parse_args().json
    numbers = measured()
    if as_json:
        print(json.dumps(numbers, indent=2))
        return
    for name, text in (
        ("loaded", "A task loads"),
        ("reachable", "The backend reaches"),
        ("everything", "With every adapter and codec it reaches"),
    ):
        print(f"{text} {numbers[name]['lines']:,} lines in {numbers[name]['modules']} modules.")
    print("\nAn adapter or codec adds, with all that it can load:")
    for adapter, lines in numbers["adapters"].items():
        print(f"{lines:7,}  {adapter.removeprefix(PACKAGE + '.')}")
    print()
    for room, lines in numbers["rooms"].items():
        print(f"{lines:7,}  {room}")
    print(f"{sum(numbers['rooms'].values()):7,}  all")


if __name__ == "__main__":
    main()
