"""The table of numbers: a row for each compartment, and one without a name for rows of no compartment."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

TABLE = "secure_xcom_numbers"
OUTSIDE = ""
"""The name of the row for what belongs to no compartment."""


@dataclass
class Numbers:
    """What was counted of a compartment.

    :ivar xcoms: references, and :ivar bytes: of their sealed payloads.
    :ivar plaintext: values without a reference, in DAGs of the compartment.
    :ivar expired: references whose time is over; :ivar unreadable: references that cannot be read.
    :ivar versions: the oldest and the newest version of each wrapping key that wraps name, by key URI.
    :ivar first_pushed: and :ivar last_pull: UTC; the latter as the access log says.
    """

    compartment: str
    xcoms: int = 0
    bytes: int = 0
    plaintext: int = 0
    expired: int = 0
    unreadable: int = 0
    versions: dict[str, tuple[int, int]] = field(default_factory=dict)
    first_pushed: datetime | None = None
    last_pull: datetime | None = None
    counted: datetime | None = None

    def see_version(self, uri: str, version: int) -> None:
        """Take in the version that a wrap names."""
        oldest, newest = self.versions.get(uri, (version, version))
        self.versions[uri] = (min(oldest, version), max(newest, version))


@cache
def table() -> Table:
    """Return the table as SQLAlchemy has it. `secure_xcom.numbers.migrate` makes it."""
    from sqlalchemy import BigInteger, Column, DateTime, MetaData, String, Table, Text

    counts = ("xcoms", "bytes", "plaintext", "expired", "unreadable")
    return Table(
        TABLE,
        MetaData(),
        Column("compartment", String(63), primary_key=True),
        *(Column(name, BigInteger, nullable=False) for name in counts),
        Column("versions", Text, nullable=False),
        Column("first_pushed", DateTime(timezone=True)),
        Column("last_pull", DateTime(timezone=True)),
        Column("counted", DateTime(timezone=True), nullable=False),
    )


def is_made(connection: Connection) -> bool:
    """Return whether the database has the table."""
    import sqlalchemy

    return sqlalchemy.inspect(connection).has_table(TABLE)


def read(connection: Connection) -> list[Numbers]:
    """Return the numbers of every compartment."""
    import sqlalchemy

    return [_numbers(record) for record in connection.execute(sqlalchemy.select(table())).mappings()]


def write(connection: Connection, every: Iterable[Numbers], counted: datetime) -> None:
    """Write the numbers of one count in place of those before, in the caller's transaction."""
    rows = [{**_row(numbers), "counted": counted} for numbers in every]
    connection.execute(table().delete())
    if rows:
        connection.execute(table().insert(), rows)


def _row(numbers: Numbers) -> dict[str, Any]:
    row = {column.name: getattr(numbers, column.name) for column in fields(numbers)}
    return {**row, "versions": json.dumps(numbers.versions)}


def _numbers(record: Any) -> Numbers:
    row = dict(record)
    row["versions"] = {uri: (int(oldest), int(newest)) for uri, (oldest, newest) in _versions(row["versions"])}
    for name in ("first_pushed", "last_pull", "counted"):
        row[name] = _utc(row[name])
    return Numbers(**row)


def _versions(text: str) -> Iterable[tuple[str, Any]]:
    return dict(json.loads(text)).items()


def _utc(time: datetime | None) -> datetime | None:
    """Return a time with its zone, which SQLite and MySQL do not keep."""
    return time.replace(tzinfo=timezone.utc) if time is not None and time.tzinfo is None else time
