"""What the tasks of `tests/e2e/dags_placed` write down."""

from __future__ import annotations

import json
import os
from pathlib import Path


def note(dag_id: str, task_id: str) -> None:
    """Write down with which identity this process runs a task."""
    line = {"dag_id": dag_id, "task_id": task_id, "identity": os.environ.get("SECURE_XCOM_E2E_IDENTITY")}
    with Path(os.environ["SECURE_XCOM_E2E_NOTES"]).open("a") as file:
        file.write(json.dumps(line) + "\n")
