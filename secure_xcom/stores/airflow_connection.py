"""What stores make of an Airflow connection, and what they say of one that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from secure_xcom.connections import airflow_connection
from secure_xcom.core.errors import ExtraMissing, SettingInvalid

if TYPE_CHECKING:
    from airflow.sdk import Connection

_log = logging.getLogger(__name__)


def connection_of(conn_id: str, uri: str) -> Connection:
    """The connection that a store URI names.

    :raises ConnectionUnknown: there is none, or Airflow cannot be asked.
    """
    return airflow_connection(conn_id, where=f"store URI {uri}", named="what stands before the @")


def extra_of(connection: Connection, uri: str) -> dict[str, Any]:
    """The connection's extra.

    :raises SettingInvalid: it is not a JSON object. The message does not repeat it, because it holds secrets.
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
    """Say in the task's log which options of a connection have no effect here. Names only, never values."""
    unknown = sorted(set(given) - set(understood))
    if unknown:
        _log.warning(
            "The store does not use %s of the %s of connection %s",
            ", ".join(unknown),
            within,
            connection.conn_id,
        )


def missing(extra: str, error: ImportError, uri: str) -> ExtraMissing:
    """What to raise when a provider or a client library is not installed."""
    return ExtraMissing(
        f"{error.name or 'a library'} cannot be imported",
        where=f"store URI {uri}",
        remedy=f"install secure-xcom[{extra}] on this worker",
    )


def refused(connection: Connection, error: Exception, uri: str) -> SettingInvalid:
    """What to raise when a hook does not take its connection. Its own message may repeat a secret."""
    return SettingInvalid(
        f"connection {connection.conn_id!r:.80} cannot be used ({type(error).__name__})",
        where=f"store URI {uri}",
        remedy="correct the connection and try it with `airflow connections test`",
    )


class NotRenewed(Exception):
    """Carries no more than a code through obstore, which puts a callback's error into its own text."""


def renewed(call: Callable[[], Any]) -> Any:
    """What a cloud's own library gives for credentials.

    :raises NotRenewed: with the service's error code or the error's class, never with the foreign text.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001  # whatever the library raises ends in the store's error
        response = getattr(error, "response", None)
        code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
        raise NotRenewed(str(code or type(error).__name__)) from None


def text(mapping: Mapping[str, Any], name: str) -> str | None:
    """A text option that may be absent or empty."""
    value = mapping.get(name)
    return str(value) if value else None
