"""The table of claims, as SQLAlchemy has it. `secure_xcom.claims.migrate` makes it."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from secure_xcom.claims.claim import Claim
from secure_xcom.claims.claimant import Target

if TYPE_CHECKING:
    from sqlalchemy import Table


@cache
def claim_xcom() -> Table:
    """Return the table of claims.

    The primary key is what makes a claim exclusive. Its hexadecimal digits are lower case, so that MySQL's
    case-insensitive collations change nothing. The other columns are for people and for maintenance: what counts
    is the record.
    """
    from sqlalchemy import Column, DateTime, Index, Integer, MetaData, String, Table, Text

    return Table(
        "claim_xcom",
        MetaData(),
        Column("payload", String(36), primary_key=True),
        Column("compartment", String(63), nullable=False),
        Column("dag_id", String(250), nullable=False),
        Column("run_id", String(250), nullable=False),
        Column("task_id", String(250), nullable=False),
        Column("map_index", Integer, nullable=False),
        Column("key", String(512), nullable=False),
        Column("claimant_dag_id", String(250), nullable=False),
        Column("claimant_run_id", String(250), nullable=False),
        Column("claimant_task_id", String(250), nullable=False),
        Column("claimant_map_index", Integer, nullable=False),
        Column("claimed", DateTime(timezone=True), nullable=False),
        Column("record", Text, nullable=False),
        Index("claim_xcom_compartment", "compartment", "payload"),
    )


def row_of(target: Target, claim: Claim) -> dict[str, Any]:
    """Return a claim's row."""
    of, by = claim.coordinate, claim.claimant
    return {
        "payload": target.unique,
        "compartment": claim.compartment,
        "dag_id": of.dag_id,
        "run_id": of.run_id,
        "task_id": of.task_id,
        "map_index": of.map_index,
        "key": of.key,
        "claimant_dag_id": by.dag_id,
        "claimant_run_id": by.run_id,
        "claimant_task_id": by.task_id,
        "claimant_map_index": by.map_index,
        "claimed": datetime.strptime(claim.claimed, "%Y-%m-%dT%H:%M:%S%z"),
        "record": claim.dump().decode(),
    }
