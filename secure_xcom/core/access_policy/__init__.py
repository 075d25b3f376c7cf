"""The access policy: the file, its compartments and identities, and what they decide."""

from secure_xcom.core.access_policy.dag_origin import Origin, check_told
from secure_xcom.core.access_policy.executors import Executor, Executors, Kind
from secure_xcom.core.access_policy.identities import Aws, Azure, Google, Grant, Identity
from secure_xcom.core.access_policy.model import (
    Compartment,
    KeyRetention,
    LegalHold,
    PolicyFile,
    Reader,
    Route,
    RunOn,
)
from secure_xcom.core.access_policy.placement import Placement, placement
from secure_xcom.core.access_policy.policy import DEFAULT_COMPARTMENT, AccessPolicy
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
