"""Errors about where DAGs come from and where their tasks run."""

from __future__ import annotations

from secure_xcom.core.errors import AccessError, AccessRefused


class OriginRefused(AccessRefused):
    """A DAG does not come from a bundle or team of its compartment, or its origin is unknown."""

    remedy = (
        "move the DAG file to a bundle of the compartment, rename the DAG, or add the bundle or team to the "
        "compartment in the access policy"
    )


class PlacementRefused(AccessError):
    """A task would run in a place that the access policy does not allow, or cannot be sent to its place."""

    met_by = "the author of the DAG, when it is parsed, and a task that was to be scheduled in such a place"
    page = "docs/concepts/identity-boundary.md"
    remedy = (
        "remove queue, pool, executor and service account from the DAG: the access policy's tasks_run_on says "
        "where its tasks run"
    )
