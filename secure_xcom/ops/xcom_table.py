"""Read and change the rows with XComs in Airflow's database, whichever tables Airflow keeps them in.

Permissions: ``SELECT`` on the tables of `secure_xcom.connections.sql.airflow_tables` for gc and doctor; ``UPDATE``
and ``DELETE`` on those with XComs for what changes rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from secure_xcom.connections.sql.positions import AttemptPosition, Position
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import CoordinateMismatch
from secure_xcom.core.operator_errors import DatabaseFailed
from secure_xcom.core.reference import TAG
from secure_xcom.ops.airflow_database import TASKS_AT_ONCE, AirflowDatabase, database_url
from secure_xcom.ops.stored_row import StoredRow
from secure_xcom.ops.xcom_table_errors import failed, of_a_value, translated

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.engine import Connection

    from secure_xcom.connections.sql.xcom_rows import RowSource

__all__ = ["Database", "Position", "StoredRow", "database_url"]

PAGE_ROWS = 500
TEXT_MAX_CHARACTERS = 128 << 10
"""A reference with the largest inline payload is shorter. With PAGE_ROWS it bounds a page to 64 MiB."""
_NAMED = 5
"""The number of attempts that an error names, of those that share a coordinate."""


class Database(AirflowDatabase):
    """Airflow's metadata database with its XComs."""

    @cached_property
    def _sources(self) -> tuple[RowSource, ...]:
        from secure_xcom.connections.sql.xcom_rows import SOURCES

        return SOURCES[self.schema]

    def _source(self, position: Position) -> RowSource:
        # The tables differ in the number of columns of their key.
        return next(source for source in self._sources if len(source.keys) == len(position))

    # --- reading --------------------------------------------------------------------------------------------

    def rows(
        self, after: Position | None = None, *, page: int = PAGE_ROWS, dag_id: str | None = None
    ) -> Iterator[StoredRow]:
        """Yield every row in the order of its position, page by page; concurrent changes may be missed.

        :param after: the position to continue after; :param dag_id: only rows of this DAG.
        :raises DatabaseFailed: the database does not answer; :raises TablesUnknown: its tables are not known.
        """
        for rows in self.pages(after, page=page, dag_id=dag_id):
            yield from rows

    def pages(
        self,
        after: Position | None = None,
        *,
        page: int = PAGE_ROWS,
        dag_id: str | None = None,
        without_hidden: bool = False,
    ) -> Iterator[list[StoredRow]]:
        """Yield `rows`, one page at a time.

        :param without_hidden: leave out what `hidden_rows` gives.
        """
        sources = self._sources
        if after is not None:
            sources = sources[sources.index(self._source(after)) :]
        for source in sources:
            yield from self._pages(source, after, page, dag_id, without_hidden=without_hidden)
            after = None

    def _pages(
        self, source: RowSource, after: Position | None, page: int, dag_id: str | None, *, without_hidden: bool
    ) -> Iterator[list[StoredRow]]:
        query = source.select(TEXT_MAX_CHARACTERS).order_by(*source.keys).limit(page)
        if without_hidden and source.hidden is not None:
            query = query.where(~source.hidden)
        if dag_id is not None:
            query = query.where(source.ids[0] == dag_id)
        following = query.where(source.behind_any(self.dialect))
        while True:
            if after is None:
                rows = self._read(source, query)
            else:
                rows = self._read(source, following, source.parameters(after))
            if rows:
                yield rows
                after = rows[-1].position
            if len(rows) < page:
                return

    def of_tasks(
        self, tasks: Iterable[tuple[str, str, str, int]], *, key: str | None = None
    ) -> Iterator[StoredRow]:
        """Yield the rows of task instances, each given as DAG id, run id, task id and map index.

        These are the rows of all attempts, and in a loop of all iterations.

        :param key: only XComs with this key.
        """
        wanted = list(dict.fromkeys(tasks))
        for start in range(0, len(wanted), TASKS_AT_ONCE):
            for source in self._sources:
                for condition in source.of_tasks(wanted[start : start + TASKS_AT_ONCE]):
                    query = source.select(TEXT_MAX_CHARACTERS).where(condition)
                    if key is not None:
                        query = query.where(source.table.c.key == key)
                    # Some databases take upper and lower case for the same.
                    yield from (row for row in self._read(source, query) if key in (None, row.key))

    def hidden_rows(self) -> Iterator[tuple[StoredRow, StoredRow]]:
        """Yield each row of an earlier release that Airflow 3.4 does not show, and the one that it shows."""
        source, after = self._sources[0], None
        if source.hidden is None:
            return
        while True:
            query = source.select(TEXT_MAX_CHARACTERS).where(source.hidden)
            if after is not None:
                query = query.where(source.behind(after, self.dialect))
            rows = self._read(source, query.order_by(*source.keys).limit(PAGE_ROWS))
            for row in rows:
                shown = None if row.attempt is None else self.one(AttemptPosition(row.attempt, row.key))
                if shown is not None:
                    yield row, shown
            if len(rows) < PAGE_ROWS:
                return
            after = rows[-1].position

    def one(self, position: Position) -> StoredRow | None:
        """Return the current row, or None."""
        source = self._source(position)
        return next(iter(self._read(source, source.select(TEXT_MAX_CHARACTERS).where(source.at(position)))), None)

    def at(self, coordinate: Coordinate, attempt: str | None = None) -> StoredRow | None:
        """Return the row that Airflow shows of a coordinate with its text, however long; None where there is none.

        :param attempt: the UUID of the task instance that is meant, also of an archived one.
        :raises CoordinateMismatch: it has several, one for each iteration of a loop, and no attempt was named.
        """
        # A task instance may have any number of rows, whoever wrote them.
        tasks = [(*coordinate.of_task, coordinate.map_index)]
        rows = [
            row
            for row in self.of_tasks(tasks, key=coordinate.key)
            if (not row.archived if attempt is None else row.attempt == attempt)
        ]
        # The tables are read in the order in which a later row hides an earlier one.
        shown = {row.attempt: row for row in rows}
        if len(shown) > 1:
            raise CoordinateMismatch(
                f"{len(shown)} iterations of a loop have this coordinate",
                where=str(coordinate),
                remedy="name the task instance of one with --attempt, such as "
                + ", ".join(sorted(map(str, shown))[:_NAMED]),
            )
        row = next(iter(shown.values()), None)
        return replace(row, text=self.whole_text(row.position)) if row and row.text is None else row

    def shown(self, coordinate: Coordinate, *, attempt: str | None = None) -> StoredRow | None:
        """Return the row of a coordinate that Airflow shows, or that of an attempt; None where there is none.

        In bounded memory: a text over TEXT_MAX_CHARACTERS is not read.

        :param attempt: the UUID of the task instance (Airflow 3.4); None for the current one.
        :raises CoordinateMismatch: it has several, one for each iteration of a loop.
        """
        import sqlalchemy

        rows = []
        for source in self._sources:
            (condition,) = source.of_tasks([(*coordinate.of_task, coordinate.map_index)])
            unowned = source.attempt.is_(None)
            if attempt is None:
                wanted = sqlalchemy.or_(unowned, source.live.is_(True))
            else:
                wanted = sqlalchemy.and_(~unowned, source.attempt == UUID(attempt))
            query = source.select(TEXT_MAX_CHARACTERS).where(
                condition, wanted, source.table.c.key == coordinate.key
            )
            # Some databases take upper and lower case for the same.
            rows += [row for row in self._read(source, query.limit(2)) if row.key == coordinate.key]
        # The tables are read in the order in which a later row hides an earlier one.
        shown = {row.attempt: row for row in rows}
        if len(shown) > 1:
            raise CoordinateMismatch(
                "several iterations of a loop have this coordinate",
                where=str(coordinate),
                remedy="name the task instance by its UUID: a coordinate alone does not identify it",
            )
        return next(iter(shown.values()), None)

    def whole_text(self, position: Position) -> str | None:
        """Return a row's text, however long; None where there is no such row."""
        import sqlalchemy

        source = self._source(position)
        with self.connected() as connection:
            text = connection.execute(sqlalchemy.select(source.text).where(source.at(position))).scalar()
        return None if text is None else str(text)

    def object_of(self, position: Position) -> str | None:
        """Return the object that a row names which is too long to be read; the database looks it up.

        None where it names none, or does not have the tag of a reference.
        """
        import sqlalchemy
        from sqlalchemy.exc import DBAPIError

        source = self._source(position)
        value = source.table.c.value
        query = sqlalchemy.select(value["head"]["object"].as_string()).where(
            source.at(position), value[TAG].as_string().is_not(None)
        )
        try:
            with self._engine.connect() as connection:
                named = connection.execute(query).scalar()
        except DBAPIError as error:
            # SQLite refuses to query text that is not JSON, such as a NaN that Python wrote.
            if "malformed" in str(error.orig).lower():
                return None
            raise failed(error, "reading a long row") from None
        return None if named is None else str(named)

    def count(self) -> int:
        """Return how many rows there are, for a progress bar."""
        import sqlalchemy

        total = 0
        for source in self._sources:
            query = sqlalchemy.select(sqlalchemy.func.count()).select_from(source.table)
            with self.connected() as connection:
                total += int(connection.execute(query).scalar_one())
        return total

    def _read(
        self, source: RowSource, query: Select[Any], parameters: Mapping[str, Any] | None = None
    ) -> list[StoredRow]:
        with self.connected() as connection:
            return [_row(source, record) for record in connection.execute(query, parameters).all()]

    # --- changing -------------------------------------------------------------------------------------------

    def replace(self, row: StoredRow, value: Any) -> bool:
        """Replace the value of a row if it has not changed since it was read: compare and swap.

        All else that Airflow keeps in the row stays, such as its time and the length for a mapped task.

        :param row: as it was read, with its text.
        :returns: whether it did; False where a task has changed or deleted the row meanwhile.
        :raises ValueNotKept: the database cannot store this value.
        """
        import sqlalchemy

        table = self._source(row.position).table
        statement = sqlalchemy.update(table).where(self._same(row)).values(value=value)
        with translated(self.where), of_a_value(row.where), self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def delete(self, row: StoredRow) -> bool:
        """Delete a row if it has not changed since it was read, with what it hides."""
        import sqlalchemy

        table = self._source(row.position).table
        with self.connected() as connection:
            deleted = connection.execute(sqlalchemy.delete(table).where(self._same(row))).rowcount == 1
            if deleted and isinstance(row.position, AttemptPosition):
                _delete_hidden(connection, row.position)
            return deleted

    def _same(self, row: StoredRow) -> ColumnElement[bool]:
        import sqlalchemy

        if row.text is None:
            raise DatabaseFailed("a row can be changed only after its text was read", where=row.where)
        source = self._source(row.position)
        if self.dialect in ("mysql", "mariadb"):
            # MySQL's usual collations ignore case.
            binary = sqlalchemy.LargeBinary()
            same = sqlalchemy.cast(source.text, binary) == sqlalchemy.cast(sqlalchemy.literal(row.text), binary)
            return sqlalchemy.and_(source.at(row.position), same)
        return sqlalchemy.and_(source.at(row.position), source.text == row.text)


def _row(source: RowSource, record: Sequence[Any]) -> StoredRow:
    dag_id, run_id, task_id, map_index, attempt, live, text, size, timestamp = record[len(source.keys) :]
    owner = None if attempt is None else str(attempt)
    archived = owner is not None and not live
    position = source.position(record)
    return StoredRow(position, dag_id, run_id, task_id, map_index, text, size, timestamp, owner, archived)


def _delete_hidden(connection: Connection, position: AttemptPosition) -> None:
    """Delete the row of an earlier release that would show again, as Airflow does when it deletes an XCom."""
    import sqlalchemy

    from secure_xcom.connections.sql.airflow_tables import OWNER, PLACE, XCOM_V1

    owners = sqlalchemy.select(*(OWNER.c[name] for name in PLACE)).where(
        OWNER.c.task_instance_id == UUID(position.attempt)
    )
    for place in connection.execute(owners).all():
        here = (XCOM_V1.c[name] == value for name, value in zip(PLACE, place, strict=True))
        connection.execute(sqlalchemy.delete(XCOM_V1).where(*here, XCOM_V1.c.key == position.key))
