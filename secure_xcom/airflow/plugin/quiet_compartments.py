"""What an access policy says of the log line with a return value. Without a policy nothing loads this module."""

from __future__ import annotations

from secure_xcom.core.access_policy.watched_policy import watched
from secure_xcom.core.policy_errors import PolicyInvalid


def hides_return_values(policy_path: str, dag_id: str) -> bool | None:
    """Return whether the operators of a DAG keep quiet; None where its compartment leaves it to the deployment."""
    try:
        compartment = watched(policy_path).current().resolve_dag(dag_id)
    except PolicyInvalid:
        # Nothing is pushed or pulled with such a file, and quiet is the safe side.
        return True
    return None if compartment is None else compartment.hide_return_values
