"""Errors of services that are reached over a network, raised by their adapters alone."""

from __future__ import annotations

from secure_xcom.core.claim_errors import ClaimError
from secure_xcom.core.errors import (
    ConfigurationError,
    KeyServiceError,
    KeyServiceUnavailable,
    SecureXComError,
    StoreError,
    UnwrapRefused,
)


class ConnectionUnknown(ConfigurationError):
    """A URI names a connection that Airflow does not have."""


class KeyServiceDenied(KeyServiceError):
    """The key service's policy denies this identity."""

    refuses = True


class KeyServiceTimeout(KeyServiceUnavailable):
    """The key service did not answer in time."""


class KeyServiceSealed(KeyServiceUnavailable):
    """Vault is running, but sealed."""


class KeyServiceThrottled(KeyServiceUnavailable):
    """The key service throttles requests."""


class KeyServiceUntrusted(KeyServiceError):
    """The TLS handshake with the key service failed: a certificate was not accepted."""


class KeyServiceLoginRefused(KeyServiceDenied):
    """The key service refused this identity's login, or its token is no longer valid."""


class KeyNotFound(KeyServiceError):
    """The key service has no such key."""


class KeyDisabled(KeyServiceError):
    """The wrapping key is disabled or in an unusable state."""


class KeyPendingDeletion(KeyDisabled):
    """The wrapping key is scheduled for deletion. What it wrapped will be lost with it."""


class KeyUnbound(KeyServiceError):
    """The wrapping key does not bind a wrap to its encryption context, so it must not be used."""


class KeyMismatch(UnwrapRefused):
    """The data key was wrapped by another wrapping key."""


class PayloadTooLarge(StoreError):
    """The store does not accept a payload of this size."""

    remedy = "push a smaller value, or give the compartment a store URI of a bucket"


class AlarmNotTold(SecureXComError):
    """An alarm was raised, but a recipient could not be notified."""

    remedy = "correct the alarm's `notify` in the access policy, and inform them yourself this time"
    met_by = "an operator who verifies, reconciles or watches the access log, and the maintenance DAG"
    page = "docs/reference/access-log.md"


class ClaimsUnavailable(ClaimError):
    """The database of claims cannot be reached."""

    remedy = "check [secure_xcom] claims_uri from this machine, and run `secure-xcom claims migrate` once"
