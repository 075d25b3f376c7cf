"""The DAG of an attacker in compartment sales: its task pulls what it may, and then tries everything else."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path

from airflow.sdk import DAG, task

with DAG("sales_hostile", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False):

    @task
    def hostile() -> str:
        """Leave what came of it in a file."""
        from tests.proof.worker import attack, pull

        job = json.loads(Path(os.environ["SECURE_XCOM_PROOF_JOB"]).read_text())
        found = {"pulled": pull({"rows": job["all_rows"]}), "attack": attack(job)}
        Path(os.environ["SECURE_XCOM_PROOF_ANSWER"]).write_text(json.dumps(found))
        return "done"

    hostile()
