"""The access policy: the file, its compartments and identities, and its decisions.

A task without an access policy file needs `secure_xcom.core.access_policy.single` alone, so everything is imported
at its first use. Where tasks run and where DAGs come from is in `dag_placement`, `executors` and `dag_origin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.compartment import Compartment, KeyRetention, Reader, Route, RunOn, Viewer
    from secure_xcom.core.access_policy.identities import Aws, Azure, Google, Grant, Identity
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.access_policy.policy_file import LegalHold, PolicyFile
    from secure_xcom.core.access_policy.reveal import Reveal
    from secure_xcom.core.access_policy.single import DEFAULT_COMPARTMENT
    from secure_xcom.core.access_policy.watched_policy import WatchedPolicy, watched

__all__ = [
    "DEFAULT_COMPARTMENT",
    "AccessPolicy",
    "Aws",
    "Azure",
    "Compartment",
    "Google",
    "Grant",
    "Identity",
    "KeyRetention",
    "LegalHold",
    "PolicyFile",
    "Reader",
    "Reveal",
    "Route",
    "RunOn",
    "Viewer",
    "WatchedPolicy",
    "watched",
]


def __getattr__(name: str) -> object:
    if name in ("Compartment", "KeyRetention", "Reader", "Route", "RunOn", "Viewer"):
        from secure_xcom.core.access_policy import compartment

        return getattr(compartment, name)
    if name == "AccessPolicy":
        from secure_xcom.core.access_policy.policy import AccessPolicy

        return AccessPolicy
    if name == "DEFAULT_COMPARTMENT":
        from secure_xcom.core.access_policy.single import DEFAULT_COMPARTMENT

        return DEFAULT_COMPARTMENT
    if name in ("LegalHold", "PolicyFile"):
        from secure_xcom.core.access_policy import policy_file

        return getattr(policy_file, name)
    if name == "Reveal":
        from secure_xcom.core.access_policy.reveal import Reveal

        return Reveal
    if name in ("WatchedPolicy", "watched"):
        from secure_xcom.core.access_policy import watched_policy

        return getattr(watched_policy, name)
    if name in __all__:
        from secure_xcom.core.access_policy import identities

        return getattr(identities, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
