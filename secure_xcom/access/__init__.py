"""The access policy: the file, its compartments and identities, and what they decide."""

from secure_xcom.access.executors import Executor, Executors, Kind
from secure_xcom.access.grants import grants_of
from secure_xcom.access.identities import Aws, Azure, Google, Grant, Identity
from secure_xcom.access.model import Compartment, KeyRetention, LegalHold, PolicyFile, Reader, Route, RunOn
from secure_xcom.access.origin import Origin, check_told
from secure_xcom.access.placement import Placement, placement
from secure_xcom.access.policy import DEFAULT_COMPARTMENT, AccessPolicy
from secure_xcom.access.watched import WatchedPolicy, watched

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
    "grants_of",
    "placement",
    "watched",
]
