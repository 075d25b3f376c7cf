"""An executor whose workers have an identity that no other process of this Airflow has."""

from __future__ import annotations

import os

from airflow.executors.local_executor import LocalExecutor

IDENTITY = "SECURE_XCOM_E2E_IDENTITY"


class FinanceExecutor(LocalExecutor):
    """A LocalExecutor whose workers, and what these fork, carry the identity in their environment."""

    def _spawn_worker(self) -> None:
        os.environ[IDENTITY] = "finance"
        try:
            super()._spawn_worker()  # type: ignore[no-untyped-call]  # Airflow's
        finally:
            del os.environ[IDENTITY]
