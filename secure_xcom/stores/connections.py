"""Airflow connections for stores: looked up once, on the thread that makes the store.

Inside a task the lookup goes through the task's one channel to its supervisor, which other threads must not use.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from secure_xcom.errors import ConnectionUnknown, ExtraMissing, SettingInvalid

if TYPE_CHECKING:
    from airflow.sdk import Connection

_log = logging.getLogger(__name__)


def airflow_connection(conn_id: str, uri: str) -> Connection:
    """The connection, from the environment, a secrets backend or Airflow's database.

    :raises ConnectionUnknown: there is none, or Airflow cannot be asked.
    """
    try:
        from airflow.sdk import BaseHook

        return BaseHook.get_connection(conn_id)
    except Exception as error:  # noqa: BLE001  # AirflowNotFoundException here, other classes inside a task
        raise ConnectionUnknown(
            f"Airflow gives no connection {conn_id!r:.80} ({type(error).__name__})",
            where=f"store URI {uri}",
            remedy="add it (`airflow connections add`), or correct what stands before the @",
        ) from None


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


def hook_with(hook: Any, connection: Connection) -> Any:
    """The hook's class with the connection that was looked up already, on the thread that may do so.

    AwsBaseHook's own lookup also falls back to the default credentials when there is no such connection.
    """
    return type(hook.__name__, (hook,), {"get_connection": classmethod(lambda _cls, _conn_id: connection)})


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
