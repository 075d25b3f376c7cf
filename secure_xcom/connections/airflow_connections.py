"""Look up Airflow connections, for key services, stores, sinks, claims and alarms.

Inside a task, a lookup uses the task's only channel to its supervisor, which other threads must not use. So each
user of a connection looks it up once, on the thread that creates it, and keeps the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secure_xcom.connections import in_triggerer
from secure_xcom.core.service_errors import ConnectionUnknown

if TYPE_CHECKING:
    from airflow.sdk import Connection


# What Airflow raises instead of waiting for ever: airflow/sdk/execution_time/comms.py. A triggerer without portals
# raises a RuntimeError.
_DEADLOCK = "DeadlockImminentError"


def airflow_connection(conn_id: str, *, where: str, named: str, remedy: str | None = None) -> Connection:
    """Return the connection, from the environment, a secrets backend or Airflow's database.

    :param where: what needs it, for the error.
    :param named: what to correct where the id is wrong, such as ``the id before the @``.
    :param remedy: what to do where there is none, if giving the worker one is not it.
    :raises ConnectionUnknown: there is none, or Airflow cannot be asked.
    """
    try:
        from airflow.sdk import BaseHook

        return BaseHook.get_connection(conn_id)
    except Exception as error:  # noqa: BLE001  # AirflowNotFoundException outside of a task, other classes inside
        if type(error).__name__ == _DEADLOCK or (in_triggerer() and type(error) is RuntimeError):
            raise ConnectionUnknown(
                f"Airflow cannot be asked for the connection {conn_id!r:.80} by a call that blocks its event loop "
                f"({type(error).__name__})",
                where=where,
                remedy="in async code, use the async methods: axcom_pull, axcom_push, XCom.aget_one, XCom.aset",
            ) from None
        raise ConnectionUnknown(
            f"Airflow has no connection {conn_id!r:.80} ({type(error).__name__})",
            where=where,
            remedy=remedy
            or f"give it to this worker as AIRFLOW_CONN_{conn_id.upper():.80} in its own environment, or in a "
            "local secrets file of mode 0600 (in Airflow's database every task of every team could read it), or "
            f"correct {named}",
        ) from None


def hook_with(hook: Any, connection: Connection) -> Any:
    """Return a subclass of the hook that uses a connection which was looked up already.

    AwsBaseHook's own lookup falls back to the default credentials where the connection does not exist.
    """

    def get_connection(_cls: type, conn_id: str) -> Connection:  # noqa: ARG001  # the signature is Airflow's
        return connection

    return type(hook.__name__, (hook,), {"get_connection": classmethod(get_connection)})
