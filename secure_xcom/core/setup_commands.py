"""Name the command that sets up Vault: remedies of a deployment with an access policy name `policy apply`.

Adapters know no settings, so whether there is an access policy is told by what this process has read.
"""

from __future__ import annotations

import sys

_WATCHED = "secure_xcom.core.access_policy.watched_policy"


def access_policy_is_set() -> bool:
    """Return whether this process works by an access policy file."""
    # A process without one does not load its model, and an error is no reason to.
    module = sys.modules.get(_WATCHED)
    return module is not None and module.watched.cache_info().currsize > 0


def vault_setup() -> str:
    """Return the command that makes mounts, keys, policies and roles in Vault."""
    return "`secure-xcom policy apply`" if access_policy_is_set() else "`secure-xcom init --vault`"


def vault_preview() -> str:
    """Return the command that shows which policies a role needs in Vault."""
    return "`secure-xcom policy compile`" if access_policy_is_set() else "`secure-xcom init --vault --dry-run`"
