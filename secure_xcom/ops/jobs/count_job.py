"""The job that counts XComs, for ``secure-xcom ui count`` and the maintenance DAG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secure_xcom.ops.jobs.job import Job, JobContext, option

if TYPE_CHECKING:
    from secure_xcom.ops.jobs.count import CountReport


@dataclass(frozen=True, kw_only=True)
class CountOptions:
    """Options of count."""

    dry_run: bool = option(False, "Count, but store no numbers.", "--dry-run")


def _no_table_of_numbers(context: JobContext, _options: CountOptions) -> dict[str, Any] | None:
    from secure_xcom import numbers
    from secure_xcom.ops.jobs.count import CountReport

    with context.database() as database, database.transaction("reading the numbers") as connection:
        return None if numbers.is_made(connection) else CountReport().record()


def count_xcoms(context: JobContext, options: CountOptions) -> CountReport:
    """Count the XComs of each compartment, for the page in Airflow's UI.

    :raises MaintenanceError: the database cannot be used; :raises AccessLogUnreadable: the access log cannot.
    """
    from functools import partial

    from secure_xcom.ops.audit_trail.read import readable, source
    from secure_xcom.ops.jobs.count import count

    sources = [partial(source, uri) for uri in context.deployment.sinks if readable(uri)]
    with context.database() as database:
        return count(
            context.deployment.policy, database, sources, dry_run=options.dry_run, progress=context.progress
        )


COUNT = Job(
    "count",
    "Count the XComs of each compartment.",
    "Stores the numbers for the page in Airflow's UI. The database is that of SECURE_XCOM_DB, by default "
    "Airflow's own. No XCom is opened. `secure-xcom ui migrate` creates the table of numbers.",
    CountOptions,
    count_xcoms,
    keeps_state=False,
    examples=("secure-xcom ui count --dry-run", "secure-xcom ui count"),
    idle=_no_table_of_numbers,
)
