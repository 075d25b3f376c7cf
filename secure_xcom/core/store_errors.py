"""Errors of a store that does not do what it is asked, raised by its adapter alone."""

from __future__ import annotations

from secure_xcom.core.errors import StoreError


class StoreUnavailable(StoreError):
    """The store cannot be reached, does not exist, or throttles requests."""


class StoreDenied(StoreError):
    """The store's policy denies this identity."""

    refuses = True
    remedy = "compare this worker's identity with the grants that `secure-xcom policy compile` writes"


class StoreFull(StoreError):
    """The store has no space left."""

    remedy = "free space, or run `secure-xcom gc` to remove payloads that no row refers to"
