"""`doctor` lists DAGs that belong to no compartment."""

from __future__ import annotations

from pathlib import Path

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.checks.doctor_dags import examine_dags
from tests.support.upkeep_world import Upkeep

POLICY = (
    "version: 1\n{defaults}compartments:\n"
    "  - {{name: pay, dags: ['pay_*'], key_uris: ['local:///k.json'], store_uri: 'file:///sealed'}}\n"
)


def policy(defaults: str = "") -> AccessPolicy:
    """A policy with a compartment of some DAGs."""
    return AccessPolicy.parse(POLICY.format(defaults=defaults).encode(), where="policy.yaml")


def test_dags_of_no_compartment_are_listed(tmp_path: Path) -> None:
    """Each that Airflow has a file of is named; stale ones are not, and none where a default takes them."""
    upkeep = Upkeep(tmp_path / "one")
    database = upkeep.table.database()
    assert list(examine_dags(policy(), database, limit=5)) == []
    upkeep.table.execute("CREATE TABLE dag (dag_id TEXT, is_stale BOOLEAN)")
    rows = {"pay_daily": False, "report": False, "sales": False, "gone": True}
    upkeep.table.execute(
        "INSERT INTO dag VALUES (:dag_id, :is_stale)",
        [{"dag_id": dag_id, "is_stale": stale} for dag_id, stale in rows.items()],
    )
    (found,) = examine_dags(policy(), database, limit=1)
    assert (found.rule, found.count, found.examples) == ("dag-without-compartment", 2, ("report",))
    assert list(examine_dags(policy("defaults: {compartment: pay}\n"), database, limit=5)) == []
    database.close()
    upkeep.close()
