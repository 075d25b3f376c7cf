"""Airflow connections: the one way to look one up, for key services, stores, sinks, claims and alarms.

Inside a task the lookup goes through the task's one channel to its supervisor, which other threads must not use:
whoever needs a connection asks once, on the thread that makes what needs it, and keeps the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secure_xcom.core.errors import ConnectionUnknown

if TYPE_CHECKING:
    from airflow.sdk import Connection


def airflow_connection(conn_id: str, *, where: str, named: str) -> Connection:
    """The connection, from the environment, a secrets backend or Airflow's database.

    :param where: what needs it, for the error.
    :param named: what to correct where the id is wrong, such as ``what stands before the @``.
    :raises ConnectionUnknown: there is none, or Airflow cannot be asked.
    """
    try:
        from airflow.sdk import BaseHook

        return BaseHook.get_connection(conn_id)
    except Exception as error:  # noqa: BLE001  # AirflowNotFoundException here, other classes inside a task
        raise ConnectionUnknown(
            f"Airflow gives no connection {conn_id!r:.80} ({type(error).__name__})",
            where=where,
            remedy=f"give it to this worker as AIRFLOW_CONN_{conn_id.upper():.80} in its own environment, or in a "
            "local secrets file of mode 0600 (in Airflow's database every task of every team could read it), or "
            f"correct {named}",
        ) from None


def hook_with(hook: Any, connection: Connection) -> Any:
    """The hook's class with the connection that was looked up already, on the thread that may do so.

    AwsBaseHook's own lookup also falls back to the default credentials when there is no such connection.
    """

    def get_connection(_cls: type, conn_id: str) -> Connection:  # noqa: ARG001  # the signature is Airflow's
        return connection

    return type(hook.__name__, (hook,), {"get_connection": classmethod(get_connection)})
