"""What the DAGs of these tests share in their pods: canaries, and notes that stand in the pod's log."""

from __future__ import annotations

import json
import os
from typing import Any

from airflow.sdk import get_current_context

from tests.e2e.hunt import canary

SEED = "SECURE_XCOM_TEST_SEED"
NOTE = "NOTE "


def secret(path: str) -> str:
    """Return the canary of a path."""
    return canary(os.environ[SEED], path)


def note(name: str, value: Any) -> None:
    """Put something that is no secret into the task's log."""
    print(NOTE + json.dumps({"name": name, "value": value}))


def task_instance() -> Any:
    """Return the running task instance."""
    return get_current_context()["ti"]


def run_id() -> str:
    """Return this run's id."""
    return str(get_current_context()["dag_run"].run_id)


def account() -> str:
    """Return the service account of this pod, as Kubernetes wrote it there."""
    return os.environ.get("XCOM_SERVICE_ACCOUNT", "none")


def expect(name: str, got: object, wanted: object) -> None:
    """Fail the task where a value did not come back as it was pushed, without showing either."""
    if type(got) is not type(wanted) or got != wanted:
        raise AssertionError(f"{name} did not come back as it was pushed")
    note(name, "equal")
