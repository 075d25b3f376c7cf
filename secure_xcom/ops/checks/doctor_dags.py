"""Find DAGs of Airflow that belong to no compartment, for ``doctor``: their tasks can neither push nor pull."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.findings import Finding
from secure_xcom.ops.xcom_table import Database


def examine_dags(policy: AccessPolicy, database: Database, *, limit: int) -> Iterator[Finding]:
    """Report the DAGs that Airflow has and that no compartment takes.

    :param limit: how many of them are named.
    """
    if policy.default is not None:
        return
    try:
        dag_ids = _dag_ids(database)
    except SecureXComError as error:
        # A user for maintenance may see no table but that of XComs.
        text = f"DAGs could not be compared with the compartments: {error.what}"
        yield Finding("DAGs", "warning", text, error.remedy, "dags-not-known")
        return
    outside = [dag_id for dag_id in dag_ids if policy.resolve_dag(dag_id) is None]
    if outside:
        yield Finding(
            "DAGs",
            "warning",
            "DAGs that belong to no compartment, so their tasks can neither push nor pull",
            "add them to the dags of a compartment, or name one for all others in defaults; "
            "`secure-xcom policy show FILE --dag DAG_ID` says why",
            "dag-without-compartment",
            count=len(outside),
            examples=tuple(outside[:limit]),
        )


def _dag_ids(database: Database) -> list[str]:
    """Return the DAGs that Airflow has a file of; none in a database without its table of DAGs."""
    import sqlalchemy

    with database.transaction("reading the DAGs") as connection:
        if "dag" not in sqlalchemy.inspect(connection).get_table_names():
            return []
        table = sqlalchemy.table("dag", sqlalchemy.column("dag_id"), sqlalchemy.column("is_stale"))
        present = sqlalchemy.select(table.c.dag_id).where(table.c.is_stale.is_(sqlalchemy.false()))
        return sorted(connection.execute(present).scalars())
