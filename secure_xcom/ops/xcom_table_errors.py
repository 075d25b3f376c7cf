"""Errors of Airflow's database, without the texts of SQLAlchemy and drivers.

Their texts can hold the URL with its password, or a value, so only the kind of the error is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from secure_xcom.connections.sql import driver_error_name, is_missing_table
from secure_xcom.core.operator_errors import DatabaseFailed, ValueNotKept

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

URL_PLACE = "the database URL"
_FORMS = "postgresql+psycopg2://USER@HOST/NAME, mysql+mysqldb://USER@HOST/NAME or sqlite:////path/airflow.db"


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Replace errors of SQLAlchemy and drivers.

    :raises DatabaseFailed: instead of them.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise failed(error, where) from None


@contextmanager
def of_a_value(where: str) -> Iterator[None]:
    """Replace errors about one value: PostgreSQL's JSONB accepts no NaN, NUL or lone surrogate.

    :raises ValueNotKept: the value cannot be stored.
    """
    from sqlalchemy.exc import DataError, StatementError

    try:
        yield
    except (DataError, RecursionError, ValueError, TypeError) as error:
        raise _not_kept(error, where) from None
    except StatementError as error:
        # SQLAlchemy wraps errors of Python's JSON encoder, which are no errors of the driver.
        if error.orig is None or isinstance(error.orig, RecursionError | ValueError | TypeError):
            raise _not_kept(error, where) from None
        raise


def _not_kept(error: Exception, where: str) -> ValueNotKept:
    return ValueNotKept(f"the database does not take this value ({driver_error_name(error)})", where=where)


def failed(error: Exception, where: str) -> DatabaseFailed:
    """Return the meaning of an error of SQLAlchemy or of a driver."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    name = driver_error_name(error)
    if isinstance(error, ImportError | NoSuchModuleError):
        remedy = "install the driver that the URL names, such as psycopg2-binary for postgresql+psycopg2://"
        return DatabaseFailed(f"the database's driver is not installed ({name})", where=where, remedy=remedy)
    # A ValueError can also come from a row, such as from an invalid date.
    if isinstance(error, ArgumentError | ValueError) and where == URL_PLACE:
        remedy = f"set SECURE_XCOM_DB to a SQLAlchemy URL: {_FORMS}"
        return DatabaseFailed(f"the database URL cannot be read ({name})", where=where, remedy=remedy)
    if is_missing_table(error):
        remedy = (
            "name Airflow's own database in SECURE_XCOM_DB; `airflow db migrate` creates the tables of a new one"
        )
        return DatabaseFailed("the database has no table xcom", where=where, remedy=remedy)
    if _is_denied(error):
        remedy = (
            "grant this user the rights that docs/how-to/maintain.md lists, then run the same command again: it "
            "continues where it stopped"
        )
        return DatabaseFailed(
            f"the metadata database denies its user a right on a table ({name})", where=where, remedy=remedy
        )
    return DatabaseFailed(f"the metadata database did not answer ({name})", where=where)


def _is_denied(error: Exception) -> bool:
    # SQLSTATE of PostgreSQL (appendix A, insufficient_privilege); ER_TABLEACCESS_DENIED and ER_COLUMNACCESS_DENIED
    # of MySQL.
    cause = getattr(error, "orig", None)
    state = getattr(cause, "pgcode", None) or getattr(cause, "sqlstate", None)
    return state == "42501" or getattr(cause, "args", ())[:1] in ((1142,), (1143,))


def refuse_a_missing_file(url: URL) -> None:
    """Refuse a mistyped path, for which SQLite would create an empty database.

    :raises DatabaseFailed: the URL names a file that does not exist.
    """
    path = url.database
    if not path or path == ":memory:" or path.startswith("file:") or Path(path).exists():
        return
    raise DatabaseFailed(
        "the database file does not exist",
        where=URL_PLACE,
        remedy=f"name Airflow's own database in SECURE_XCOM_DB ({_FORMS}); `airflow db migrate` creates a new one",
    )
