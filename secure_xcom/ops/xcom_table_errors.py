"""What went wrong between us and Airflow's database, without the texts of SQLAlchemy and drivers.

Their texts may hold the URL with its password, or a value, so only what they are about is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from secure_xcom.core.errors import DatabaseFailed, ValueNotKept

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

URL_PLACE = "the database URL"
_FORMS = "postgresql+psycopg2://USER@HOST/NAME, mysql+mysqldb://USER@HOST/NAME or sqlite:////path/airflow.db"
# As SQLite, PostgreSQL and MySQL say it, in the server's English.
_NO_TABLE = re.compile(r"no such table|relation .* does not exist|Table '.*' doesn't exist", re.IGNORECASE)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """No error of SQLAlchemy or of a driver leaves.

    :raises DatabaseFailed: in its place.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise failed(error, where) from None


@contextmanager
def of_a_value(where: str) -> Iterator[None]:
    """What is wrong with one value is that row's trouble: PostgreSQL's JSONB takes no NaN, NUL or lone surrogate.

    :raises ValueNotKept: the value cannot be written.
    """
    from sqlalchemy.exc import DataError, StatementError

    try:
        yield
    except (DataError, RecursionError, ValueError, TypeError) as error:
        raise _not_kept(error, where) from None
    except StatementError as error:
        # SQLAlchemy wraps what Python's JSON encoder raises, and has no error of the driver's then.
        if error.orig is None or isinstance(error.orig, RecursionError | ValueError | TypeError):
            raise _not_kept(error, where) from None
        raise


def _not_kept(error: Exception, where: str) -> ValueNotKept:
    name = type(getattr(error, "orig", None) or error).__name__
    return ValueNotKept(f"the database does not take this value ({name})", where=where)


def failed(error: Exception, where: str) -> DatabaseFailed:
    """What an error of SQLAlchemy or of a driver means."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    cause = getattr(error, "orig", None) or error
    name = type(cause).__name__
    if isinstance(error, ImportError | NoSuchModuleError):
        remedy = "install the driver that the URL names, such as psycopg2-binary for postgresql+psycopg2://"
        return DatabaseFailed(f"the database's driver is not installed ({name})", where=where, remedy=remedy)
    # A ValueError can come from a row as well, such as of a date that cannot be one.
    if isinstance(error, ArgumentError | ValueError) and where == URL_PLACE:
        remedy = f"set SECURE_XCOM_DB to a SQLAlchemy URL: {_FORMS}"
        return DatabaseFailed(f"the database URL cannot be read ({name})", where=where, remedy=remedy)
    if _NO_TABLE.search(str(cause)):
        remedy = "name Airflow's own database in SECURE_XCOM_DB; a new one gets its tables by `airflow db migrate`"
        return DatabaseFailed("the database has no table xcom", where=where, remedy=remedy)
    return DatabaseFailed(f"the metadata database did not answer ({name})", where=where)


def refuse_a_missing_file(url: URL) -> None:
    """SQLite would make an empty database of a mistyped path.

    :raises DatabaseFailed: the URL names a file that is not there.
    """
    path = url.database
    if not path or path == ":memory:" or path.startswith("file:") or Path(path).exists():
        return
    raise DatabaseFailed(
        "the database's file is not there",
        where=URL_PLACE,
        remedy=f"name Airflow's own database in SECURE_XCOM_DB ({_FORMS}); `airflow db migrate` makes a new one",
    )
