"""Former path of `secure_xcom.ops.jobs.maintenance_dag`, kept for code that imports it."""

from secure_xcom.ops.jobs.maintenance_dag import maintenance_dag

__all__ = ["maintenance_dag"]
