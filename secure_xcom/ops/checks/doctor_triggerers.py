"""Find triggerers that may write plaintext, for ``secure-xcom doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from secure_xcom.core.findings import Finding
from secure_xcom.core.operator_errors import DatabaseFailed
from secure_xcom.ops.xcom_table import Database

SHOWN = 5
"""How many hosts a finding names."""


def examine_triggerers(findings: Sequence[Finding], database: Database) -> Iterator[Finding]:
    """Name the running triggerers where rows in plaintext were found.

    Neither a row nor a trigger says by which configuration it was written, so each triggerer has to be asked.

    :param findings: of the rows.
    """
    if not any(finding.rule == "plaintext-row" for finding in findings):
        return
    hosts = _hosts(database)
    if hosts:
        more = "" if len(hosts) <= SHOWN else f" and {len(hosts) - SHOWN} more"
        yield Finding(
            "triggerers",
            "warning",
            f"triggerers run on {', '.join(hosts[:SHOWN])}{more}: one without [core] xcom_backend writes in "
            "plaintext what its triggers push, and every trigger does with TaskSuccessEvent(xcoms=...)",
            "run `secure-xcom check` in the environment of each triggerer; push with XCom.aset before the event "
            "instead of with TaskSuccessEvent",
            "triggerer-not-checked",
            count=len(hosts),
        )


def _hosts(database: Database) -> list[str]:
    import sqlalchemy
    from sqlalchemy import column, select

    job = sqlalchemy.table("job", column("job_type"), column("state"), column("hostname"))
    running = select(job.c.hostname).where(job.c.job_type == "TriggererJob", job.c.state == "running")
    try:
        with database.transaction("reading which triggerers run") as connection:
            return sorted({str(host) for host in connection.scalars(running)})
    except DatabaseFailed:
        # A user with rights on XComs alone may not read it.
        return []
