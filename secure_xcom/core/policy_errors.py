"""Errors of an access policy file: its text, whom it refuses, where DAGs come from and where tasks run."""

from __future__ import annotations

from secure_xcom.core.errors import AccessError


class PolicyInvalid(AccessError):
    """The access policy file is invalid."""

    remedy = "correct the access policy file and run `secure-xcom policy lint`"
    met_by = "every process that reads the access policy: tasks, the DAG processor, the scheduler and commands"


class AccessRefused(AccessError):
    """The access policy does not let this consumer pull this XCom."""

    remedy = "ask the owner of the compartment to add the DAG to its readers"


class WriteRefused(AccessRefused):
    """A task pushes or purges outside its own compartment, or the task is unknown."""

    remedy = (
        "push and delete XComs in a task of the same compartment; a task of the other compartment can pull them "
        "as a reader"
    )


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
