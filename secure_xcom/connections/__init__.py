"""One client of each service for all who need it, and Airflow's connections that lead to them."""

from __future__ import annotations

import sys


def in_triggerer() -> bool:
    """Return whether this process runs triggers, where Airflow answers every thread by the one event loop."""
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return type(getattr(task_runner, "SUPERVISOR_COMMS", None)).__name__ == "TriggerCommsDecoder"
