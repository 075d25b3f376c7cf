"""The access policy: the file, its compartments and identities, and its decisions.

A task without an access policy file needs `secure_xcom.core.access_policy.single` alone, so everything is imported
at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.compartment import Compartment, KeyRetention, Reader, Route, RunOn
    from secure_xcom.core.access_policy.dag_origin import Origin, check_told
    from secure_xcom.core.access_policy.dag_placement import Placement, placement
    from secure_xcom.core.access_policy.executors import Executor, Executors, Kind
    from secure_xcom.core.access_policy.identities import Aws, Azure, Google, Grant, Identity
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.access_policy.policy_file import LegalHold, PolicyFile
    from secure_xcom.core.access_policy.single import DEFAULT_COMPARTMENT
    from secure_xcom.core.access_policy.watched_policy import WatchedPolicy, watched

__all__ = [
    "DEFAULT_COMPARTMENT",
    "AccessPolicy",
    "Aws",
    "Azure",
    "Compartment",
    "Executor",
    "Executors",
    "Google",
    "Grant",
    "Identity",
    "KeyRetention",
    "Kind",
    "LegalHold",
    "Origin",
    "Placement",
    "PolicyFile",
    "Reader",
    "Route",
    "RunOn",
    "WatchedPolicy",
    "check_told",
    "placement",
    "watched",
]


def __getattr__(name: str) -> object:
    if name in ("Compartment", "KeyRetention", "Reader", "Route", "RunOn"):
        from secure_xcom.core.access_policy import compartment

        return getattr(compartment, name)
    if name == "AccessPolicy":
        from secure_xcom.core.access_policy.policy import AccessPolicy

        return AccessPolicy
    if name == "DEFAULT_COMPARTMENT":
        from secure_xcom.core.access_policy.single import DEFAULT_COMPARTMENT

        return DEFAULT_COMPARTMENT
    if name in ("Origin", "check_told"):
        from secure_xcom.core.access_policy import dag_origin

        return getattr(dag_origin, name)
    if name in ("Placement", "placement"):
        from secure_xcom.core.access_policy import dag_placement

        return getattr(dag_placement, name)
    if name in ("Executor", "Executors", "Kind"):
        from secure_xcom.core.access_policy import executors

        return getattr(executors, name)
    if name in ("LegalHold", "PolicyFile"):
        from secure_xcom.core.access_policy import policy_file

        return getattr(policy_file, name)
    if name in ("WatchedPolicy", "watched"):
        from secure_xcom.core.access_policy import watched_policy

        return getattr(watched_policy, name)
    if name in __all__:
        from secure_xcom.core.access_policy import identities

        return getattr(identities, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
