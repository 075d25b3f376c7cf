"""What the parent of tasks imports for them: after a fork, a push and a pull read no module of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import secure_xcom
from secure_xcom.ops.keyring import create_keyring

PUSH_AND_PULL = """
import json, sys
from pathlib import Path
from airflow import settings
settings.initialize()
from secure_xcom import SecureXComBackend
from secure_xcom.airflow.plugin import supervisor
(Path(sys.argv[1]) / "store").mkdir()
supervisor.import_ahead()
before = set(sys.modules)
class Row: pass
row = Row()
names = {"dag_id": "dag", "run_id": "run", "task_id": "task", "key": "return_value", "map_index": -1}
# Long enough to be compressed.
row.value = SecureXComBackend.serialize_value({"text": "x" * 1000}, **names)
assert SecureXComBackend.deserialize_value(row) == {"text": "x" * 1000}
added = set(sys.modules) - before
print(json.dumps(sorted(name for name in added if name.partition(".")[0] in ("secure_xcom", "zstandard"))))
"""


def test_a_task_imports_nothing_of_ours_after_the_fork(tmp_path: Path) -> None:
    """A push and a pull of a compressed value find every module that they need in what the parent imported."""
    create_keyring(f"{tmp_path}/keyring.json")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", PUSH_AND_PULL, str(tmp_path)],
        env={
            **environment,
            "AIRFLOW_HOME": f"{tmp_path}/airflow",
            "AIRFLOW__CORE__XCOM_BACKEND": "secure_xcom.SecureXComBackend",
            "AIRFLOW__SECURE_XCOM__KEY_URIS": f"local://{tmp_path}/keyring.json",
            "AIRFLOW__SECURE_XCOM__STORE_URI": f"file://{tmp_path}/store",
            "PYTHONPATH": str(Path(secure_xcom.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
