"""Errors as HTTP answers: the class of our tree, what happened, where, and what to do. Never a value."""

from __future__ import annotations

from typing import Any

from secure_xcom.core import claim_errors, errors, operator_errors, policy_errors, vault_errors

_STATUS: dict[type[errors.SecureXComError], int] = {
    operator_errors.RevealRequestInvalid: 400,
    errors.CoordinateInvalid: 400,
    operator_errors.IdentityRefused: 401,
    operator_errors.RevealOriginRefused: 403,
    errors.AccessError: 403,
    # The access policy cannot be read.
    policy_errors.PolicyInvalid: 503,
    # The row names a key or an object elsewhere.
    errors.ContextRefused: 409,
    # It is exclusive.
    claim_errors.ClaimError: 403,
    operator_errors.XComNotFound: 404,
    errors.ObjectMissing: 404,
    errors.ReferenceRefused: 409,
    errors.ReferenceExpired: 410,
    errors.ReferenceShredded: 410,
    errors.SealError: 409,
    errors.CodecError: 409,
    errors.ValueTooLarge: 413,
    operator_errors.RevealRateExceeded: 429,
    errors.StoreError: 502,
    vault_errors.VaultTrouble: 502,
    operator_errors.IdentityProviderFailed: 502,
    errors.KeyServiceError: 502,
}
_OTHER = 503
"""The access log, the database or the settings: the service cannot answer."""


def status_of(error: errors.SecureXComError) -> int:
    """Return the HTTP status of an error: that of the nearest of its classes that has one."""
    return next((_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS), _OTHER)


def error_record(error: errors.SecureXComError) -> dict[str, Any]:
    """Return an error as JSON."""
    return {
        "error": type(error).__name__,
        "what": error.what,
        "where": error.where,
        "remedy": error.remedy,
    }
