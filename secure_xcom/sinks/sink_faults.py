"""Errors about an access log that cannot be used or written. Only a fault loads this module."""

from __future__ import annotations

from secure_xcom.core.errors import AuditError, SettingInvalid
from secure_xcom.core.file_lock import NotLocked
from secure_xcom.core.waiting import NoTurn

_WHERE = "[secure_xcom] audit_sinks"


def none_required() -> SettingInvalid:
    """Return the error about sinks that are all optional."""
    return SettingInvalid(
        "no sink of the access log is required, so values could be returned without a record",
        where=_WHERE,
        remedy="remove optional=true from at least one sink URI",
    )


def among_payloads(sink: str, folder: str, compartment: str) -> SettingInvalid:
    """Return the error about a sink that shares a folder with a compartment's payloads.

    :param sink: its URI, without options and passwords.
    """
    return SettingInvalid(
        f"the access log's sink {sink:.200} and the folder {folder:.200} of compartment "
        f"{compartment!r} overlap, so a right on one is a right on the other",
        where=_WHERE,
        remedy="give the access log a bucket of its own, or a prefix or folder beside the store's",
    )


def not_written(missed: NoTurn) -> AuditError:
    """Return the error about an event whose turn did not come."""
    if missed.own:
        return AuditError(
            "a signal handler pushed or pulled while an event was being written",
            where="the access log",
            remedy="push and pull outside of signal handlers and on_kill",
        )
    return AuditError(
        "the event before this one has not been written in time",
        where="the access log",
        remedy="check that all sinks answer; in async code, use the async methods (axcom_pull, axcom_push) only",
    )


def not_locked(error: NotLocked, seconds: int, uri: str) -> AuditError:
    """Return the error about a file that another process keeps locked.

    :param seconds: how long this process has waited.
    """
    return AuditError(
        f"another process has held the access log's lock for {seconds} seconds: {error.holder}",
        where=uri,
        remedy="end that process, and let only the tasks' user and auditors open the file; "
        "lock_wait=SECONDS in the sink's URI waits longer",
    )
