"""What a task's process does, as a program: Airflow's own set-up of metrics and traces, a push, two pulls.

Its environment says where Airflow sends them and which keyring and store there are.
"""

from __future__ import annotations

from types import SimpleNamespace

from airflow import settings
from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
from opentelemetry import trace

from secure_xcom import SecureXComBackend
from secure_xcom.errors import SecureXComError


def main() -> None:
    """Push under a span as the task runner makes one, pull, and be refused."""
    # As airflow.sdk.execution_time.task_runner.main() does.
    legacy = conf.getboolean("metrics", "legacy_names_on")
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy)
    # As every process of Airflow does; with this traces are set up.
    settings.initialize()
    with trace.get_tracer("task_runner").start_as_current_span("worker.extract"):
        sealed = SecureXComBackend.serialize_value(
            {"password": "correct-horse"},
            key="return_value",
            task_id="extract",
            dag_id="orders",
            run_id="manual__1",
            map_index=-1,
        )
        pulled = SecureXComBackend.deserialize_value(SimpleNamespace(value=sealed))
        assert pulled == {"password": "correct-horse"}
        sealed["head"]["task_id"] = "other"
        try:
            SecureXComBackend.deserialize_value(SimpleNamespace(value=sealed))
        except SecureXComError as error:
            print(type(error).__name__)
    provider = trace.get_tracer_provider()
    if hasattr(provider, "force_flush"):
        # As the task runner does when the task has ended; metrics are flushed at the process's exit.
        provider.force_flush()


main()
