"""Airflow connections of stores, and the errors of connections that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from secure_xcom.connections.airflow_connections import airflow_connection
from secure_xcom.connections.connection_ids import DEFAULT, leave_default_out
from secure_xcom.core.errors import ExtraMissing, SettingInvalid

if TYPE_CHECKING:
    from airflow.sdk import Connection

_log = logging.getLogger(__name__)


def connection_of(conn_id: str, uri: str) -> Connection:
    """Return the connection that a store URI names.

    :raises ConnectionUnknown: there is none, or Airflow cannot be reached.
    """
    return airflow_connection(
        conn_id,
        where=f"store URI {uri}",
        named="what stands before the @",
        remedy=leave_default_out(uri) if conn_id == DEFAULT else None,
    )


def extra_of(connection: Connection, uri: str) -> dict[str, Any]:
    """Return the connection's extra.

    :raises SettingInvalid: it is not a JSON object. The message does not repeat it, because it contains secrets.
    """
    try:
        extra = connection.extra_dejson
    except Exception as error:  # noqa: BLE001  # the foreign message may repeat the extra
        raise SettingInvalid(
            f"the extra of connection {connection.conn_id!r:.80} cannot be read ({type(error).__name__})",
            where=f"store URI {uri}",
            remedy="write a JSON object into the connection's extra",
        ) from None
    return dict(extra)


def warn_of_unknown(connection: Connection, given: Iterable[str], understood: Iterable[str], within: str) -> None:
    """Log the options of a connection that have no effect here. Only names, never values."""
    unknown = sorted(set(given) - set(understood))
    if unknown:
        _log.warning(
            "The store does not use %s of the %s of connection %s",
            ", ".join(unknown),
            within,
            connection.conn_id,
        )


def missing(extra: str, error: ImportError, uri: str) -> ExtraMissing:
    """Return the error for a provider or client library that is not installed."""
    return ExtraMissing(
        f"{error.name or 'a library'} cannot be imported",
        where=f"store URI {uri}",
        remedy=f"install secure-xcom[{extra}] on this worker",
    )


def refused(connection: Connection, error: Exception, uri: str) -> SettingInvalid:
    """Return the error for a connection that a hook refuses. The hook's own message may repeat a secret."""
    return SettingInvalid(
        f"connection {connection.conn_id!r:.80} cannot be used ({type(error).__name__})",
        where=f"store URI {uri}",
        remedy="correct the connection and try it with `airflow connections test`",
    )


class NotRenewed(Exception):
    """Carries only a code through obstore, which puts a callback's error into its own message."""


def renewed(call: Callable[[], Any]) -> Any:
    """Return the credentials that a cloud's own library gives.

    :raises NotRenewed: with the service's error code or the error's class, never with the foreign message.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001  # any error of the library becomes the store's error
        response = getattr(error, "response", None)
        code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
        raise NotRenewed(str(code or type(error).__name__)) from None


def text(mapping: Mapping[str, Any], name: str) -> str | None:
    """Return a text option, or None if it is absent or empty."""
    value = mapping.get(name)
    return str(value) if value else None
