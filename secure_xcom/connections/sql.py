"""The database that a URI names, for sinks and for claims.

db://CONN_ID                                    an Airflow connection of type postgres, mysql or sqlite
db+postgresql://USER:PASSWORD@HOST:PORT/NAME    a SQLAlchemy URL behind ``db+``
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from secure_xcom.connections import airflow_connection
from secure_xcom.core.errors import ExtraMissing, UriInvalid

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

FORM = "write db://CONN_ID, or db+postgresql://USER@HOST:PORT/NAME"
"""What to do where a URI names no database."""

_OF_CONNECTION = {"postgres": "postgresql", "postgresql": "postgresql", "mysql": "mysql", "sqlite": "sqlite"}
# Airflow's provider has the first; which of them SQLAlchemy takes by itself depends on its release.
_DRIVERS = {"postgresql": ("psycopg2", "psycopg"), "mysql": ("MySQLdb", "pymysql")}


def database_url(uri: str, *, where: str) -> URL:
    """The SQLAlchemy URL of a database, with the password where there is one: never to be shown as it is.

    :param where: what names the database, for errors.
    :raises UriInvalid: it is neither of the two forms, or the connection is of another type.
    :raises ConnectionUnknown: Airflow has no such connection.
    :raises ExtraMissing: SQLAlchemy is not installed.
    """
    try:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError:
        raise ExtraMissing(
            "SQLAlchemy cannot be imported",
            where=where,
            remedy="install SQLAlchemy and the database's driver on this worker",
        ) from None
    if uri.startswith("db://"):
        return _of_connection(uri.removeprefix("db://"), where)
    if not uri.startswith("db+"):
        raise UriInvalid("not a URI of a database", where=where, remedy=FORM)
    try:
        return make_url(uri.removeprefix("db+"))
    except (ArgumentError, ValueError):
        # The foreign message repeats the URL.
        raise UriInvalid("the SQLAlchemy URL behind db+ cannot be read", where=where, remedy=FORM) from None


def url_of_connection(conn_id: str) -> str:
    """Return the SQLAlchemy URL of an Airflow connection of type postgres, mysql or sqlite, password included.

    :raises ConfigurationError: there is no such connection, or it is of another type.
    """
    url = with_driver(database_url(f"db://{conn_id}", where="database_conn_id"))
    return url.render_as_string(hide_password=False)


def with_driver(url: URL) -> URL:
    """The URL with the first driver that is installed, where it names none."""
    backend = url.get_backend_name()
    found = next((name for name in _DRIVERS.get(backend, ()) if find_spec(name)), None)
    return url if "+" in url.drivername or found is None else url.set(drivername=f"{backend}+{found.lower()}")


def _of_connection(conn_id: str, where: str) -> URL:
    from sqlalchemy.engine import URL

    found = airflow_connection(conn_id, where=where, named="what stands behind db://")
    backend = _OF_CONNECTION.get(str(found.conn_type or ""))
    if backend is None:
        raise UriInvalid(
            f"the connection {conn_id!r:.80} is of type {found.conn_type!r:.40}",
            where=where,
            remedy="give it the type postgres, mysql or sqlite",
        )
    if backend == "sqlite":
        # Airflow writes a file's path into the host, as its SqliteHook reads it.
        return URL.create(backend, database=found.host or found.schema or "")
    return URL.create(backend, found.login, found.password, found.host, found.port, found.schema)
