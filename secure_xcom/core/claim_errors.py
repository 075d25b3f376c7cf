"""Errors about claims on exclusive XComs."""

from __future__ import annotations

from secure_xcom.core.errors import SecureXComError


class ClaimError(SecureXComError):
    """An exclusive XCom cannot be claimed."""

    remedy = "see docs/how-to/exclusive-xcoms.md for who may pull an exclusive XCom, and how"
    met_by = "a task that pulls an exclusive XCom"
    page = "docs/how-to/exclusive-xcoms.md"


class ClaimRefused(ClaimError):
    """Another task instance has claimed this XCom, or the pulling task instance is unknown."""

    refuses = True
    remedy = "clear the producing task so that it pushes again, and let only one task instance pull it"


class ClaimTampered(ClaimError):
    """The claim on this XCom was edited, moved or forged."""

    remedy = "find out who wrote it, and clear the producing task so that it pushes again"
