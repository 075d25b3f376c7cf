"""What only operators ask of a compartment: its longest lifetimes, and whether its place tells who works there."""

from __future__ import annotations

from secure_xcom.core.access_policy.compartment import Compartment, RunOn
from secure_xcom.core.access_policy.field_types import seconds


def longest_retention_seconds(compartment: Compartment) -> int | None:
    """Return the longest lifetime of any of its XComs, in seconds. None if some are unlimited."""
    special = compartment.retention_of
    if compartment.retention is None:
        # Unless a glob matches every key, some keys have no retention.
        catch_all = next((index for index, entry in enumerate(special) if "*" in entry.keys), None)
        return None if catch_all is None else max(seconds(entry.retention) for entry in special[: catch_all + 1])
    return max(seconds(compartment.retention), *(seconds(entry.retention) for entry in special), 0)


def archived_retention_seconds(compartment: Compartment) -> int:
    """Return how long XComs of archived attempts are kept after the end of their DAG run, in seconds."""
    return 0 if compartment.archived_retention is None else seconds(compartment.archived_retention)


def carries_identity(place: RunOn | None) -> bool:
    """Return whether a place is more than a pool, which only counts slots."""
    return place is not None and any(field != "pool" for field, _ in place.places)
