"""The access policy: the file, its compartments and identities, and what they decide."""

from secure_xcom.access.grants import grants_of
from secure_xcom.access.identities import Aws, Azure, Google, Grant, Identity
from secure_xcom.access.model import Compartment, KeyRetention, LegalHold, PolicyFile, Reader, Route, RunOn
from secure_xcom.access.policy import DEFAULT_COMPARTMENT, AccessPolicy

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
    "Route",
    "RunOn",
    "grants_of",
]
