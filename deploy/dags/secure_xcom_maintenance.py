"""The maintenance DAG of secure_xcom, to be copied into a DAG bundle of Airflow (docs/how-to/maintain.md)."""

from __future__ import annotations

from secure_xcom.ops.jobs.maintenance_dag import maintenance_dag

# Airflow looks only into files that hold its name, as this line does.
# A dry run every night. With delete=True and rewrap=True it does what it finds. `runs_on` of an identity in the
# access policy sends its tasks to the worker whose identity may rewrap, list and delete, and open nothing.
dag = maintenance_dag(schedule="@daily")
