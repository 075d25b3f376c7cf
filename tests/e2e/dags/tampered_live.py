"""Some of the attacks with a real scheduler, and the asynchronous pulls, which `dag.test()` cannot do."""

from __future__ import annotations

from airflow.sdk import DAG

from tests.e2e.cases.attacks import LIVE
from tests.e2e.cases.tampering import attacked_dag

tampered_live: DAG = attacked_dag("tampered_live", LIVE)
