"""SQL databases: the only place that makes engines, chooses drivers and knows the differences between dialects.

    db://CONN_ID                                    an Airflow connection of type postgres, mysql or sqlite
    db+postgresql://USER:PASSWORD@HOST:PORT/NAME    a SQLAlchemy URL after ``db+``

The tables are declared where they are used: the access log's in `secure_xcom.sinks`, the claims' in
`secure_xcom.claims`, Airflow's in `secure_xcom.ops`. Errors of SQLAlchemy and drivers quote URLs, parameters and
values, so callers replace them with an error of this package that names only `driver_error_name`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from secure_xcom.connections.airflow_connections import airflow_connection
from secure_xcom.core.errors import ExtraMissing, UriInvalid
from secure_xcom.core.per_process import PerProcess

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Engine

FORM = "write db://CONN_ID, or db+postgresql://USER@HOST:PORT/NAME"
"""The remedy for a URI that does not name a database."""

# SQLite's lock is held for as long as the transaction of another writer takes.
SQLITE_WAIT_SECONDS = 60

_BACKENDS = {"postgres": "postgresql", "postgresql": "postgresql", "mysql": "mysql", "sqlite": "sqlite"}
# Airflow's provider installs the first; which of them SQLAlchemy uses by default depends on its release.
_DRIVERS = {"postgresql": ("psycopg2", "psycopg"), "mysql": ("MySQLdb", "pymysql")}
# The option of each driver for how long to wait: for a connection, in SQLite for the lock.
_WAIT_OPTIONS = {"postgresql": "connect_timeout", "mysql": "connect_timeout", "sqlite": "timeout"}
_REST_OF_PASSWORD = re.compile(r":\*\*\*@.*@")
# The message of SQLite, PostgreSQL and MySQL, in English.
_NO_TABLE = re.compile(r"no such table|relation .* does not exist|Table '.*' doesn't exist", re.IGNORECASE)


def database_url(uri: str, *, where: str) -> URL:
    """Return the SQLAlchemy URL of a database. It may hold the password: show it with `shown_url` only.

    :param where: what names the database, for errors.
    :raises UriInvalid: it has neither of the two forms, or the connection is of another type.
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
        raise UriInvalid("not the URI of a database", where=where, remedy=FORM)
    try:
        return make_url(uri.removeprefix("db+"))
    except (ArgumentError, ValueError):
        # The foreign message repeats the URL.
        raise UriInvalid("the SQLAlchemy URL after db+ cannot be read", where=where, remedy=FORM) from None


def url_of_connection(conn_id: str) -> str:
    """Return the SQLAlchemy URL of an Airflow connection of type postgres, mysql or sqlite, password included.

    :raises ConfigurationError: there is no such connection, or it is of another type.
    """
    url = with_driver(database_url(f"db://{conn_id}", where="database_conn_id"))
    return url.render_as_string(hide_password=False)


def with_driver(url: URL) -> URL:
    """Return the URL with the first driver that is installed, unless it names one."""
    backend = url.get_backend_name()
    driver = next((name for name in _DRIVERS.get(backend, ()) if find_spec(name)), None)
    return url if "+" in url.drivername or driver is None else url.set(drivername=f"{backend}+{driver.lower()}")


def shown_url(url: URL) -> str:
    """Return the URL without its password and options, for people."""
    # Drivers accept a password among the options too, and an @ within a password looks like its end.
    return _REST_OF_PASSWORD.sub(":***@", url.set(query={}).render_as_string(hide_password=True))


def make_engine(
    url: URL,
    *,
    pool: Literal["none", "one", "checked"],
    sqlite_wait: int = SQLITE_WAIT_SECONDS,
    server_wait: int | None = None,
) -> Engine:
    """Return an engine whose errors never show parameters.

    :param pool: ``none`` connects for each use; ``one`` keeps one connection, for any thread; ``checked`` keeps
        several and tests each before it is used.
    :param sqlite_wait: seconds to wait for SQLite's lock.
    :param server_wait: seconds to wait for a connection to a server; None for the driver's own limit.
    :raises ImportError: the driver is not installed.
    :raises sqlalchemy.exc.ArgumentError: no such dialect is known.
    """
    from sqlalchemy import create_engine
    from sqlalchemy import pool as pools

    url = with_driver(url)
    backend = url.get_backend_name()
    wait_option = _WAIT_OPTIONS.get(backend)
    wait = sqlite_wait if backend == "sqlite" else server_wait
    arguments: dict[str, object] = {}
    if wait_option is not None and wait is not None and wait_option not in url.query:
        arguments[wait_option] = wait
    options: dict[str, object] = {"hide_parameters": True, "connect_args": arguments}
    if pool == "none":
        options["poolclass"] = pools.NullPool
    elif pool == "one":
        # Named, since SQLAlchemy's default pool for SQLite depends on its release.
        options |= {"poolclass": pools.QueuePool, "pool_size": 1, "max_overflow": 0}
        if backend == "sqlite":
            arguments["check_same_thread"] = False
    else:
        options["pool_pre_ping"] = True
    return create_engine(url, **options)


class ProcessEngine(PerProcess["Engine"]):
    """An engine that a forked child makes anew, since connections do not survive a fork."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        # The parent closes its own connections.
        super().__init__(make, disown=lambda engine: engine.dispose(close=False))


def driver_error_name(error: BaseException) -> str:
    """Return the class name of the driver's error, or of SQLAlchemy's: the only part that is safe to show."""
    return type(getattr(error, "orig", None) or error).__name__


def is_duplicate_key(error: BaseException) -> bool:
    """Return whether an IntegrityError says that the key exists already, and violates no other constraint."""
    cause = getattr(error, "orig", None)
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state:
        # PostgreSQL's unique_violation.
        return bool(state == "23505")
    # MySQL's ER_DUP_ENTRY; SQLite has no code in Python 3.10.
    return bool(getattr(cause, "args", ())[:1] == (1062,)) or str(cause).startswith("UNIQUE constraint failed")


def is_missing_table(error: BaseException) -> bool:
    """Return whether an error says that the table does not exist."""
    return _NO_TABLE.search(str(getattr(error, "orig", None) or error)) is not None


def _of_connection(conn_id: str, where: str) -> URL:
    from sqlalchemy.engine import URL

    connection = airflow_connection(conn_id, where=where, named="the id after db://")
    backend = _BACKENDS.get(str(connection.conn_type or ""))
    if backend is None:
        raise UriInvalid(
            f"the connection {conn_id!r:.80} is of type {connection.conn_type!r:.40}",
            where=where,
            remedy="give it the type postgres, mysql or sqlite",
        )
    if backend == "sqlite":
        # Airflow's SqliteHook reads the path of the file from the host.
        return URL.create(backend, database=connection.host or connection.schema or "")
    login, password, host = connection.login, connection.password, connection.host
    return URL.create(backend, login, password, host, connection.port, connection.schema)
