"""Claims as rows of a database: for workers that may reach one, with claims that no bucket's writer can take away.

    db://CONN_ID                                    an Airflow connection of type postgres, mysql or sqlite
    db+postgresql://USER:PASSWORD@HOST:PORT/NAME    a SQLAlchemy URL behind ``db+``; also mysql and sqlite

The table is made by ``secure-xcom claims migrate``, and never by a pull. A task needs SELECT and INSERT on
``claim_xcom``; maintenance DELETE as well. A URI is never shown with its password.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from secure_xcom.claims.claim import Claim
from secure_xcom.claims.claimant import Target
from secure_xcom.connections.sql import (
    FORM,
    ProcessEngine,
    database_url,
    driver_error_name,
    make_engine,
    shown_url,
)
from secure_xcom.core.claim_errors import ClaimTampered
from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.service_errors import ClaimsUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import URL

_PAGE = 1000


class ClaimTable:
    """The table ``claim_xcom``. One connection for each request: a task makes few.

    :param patience: for how many seconds a connection is tried for: a restart of the server, or a rush of tasks.
    :raises UriInvalid: the URI has a typo, or names another kind of database.
    """

    kind = "database"

    def __init__(self, uri: str, *, patience: float = 20.0) -> None:
        self._url = _url(uri)
        self.uri = f"db+{shown_url(self._url)}"
        self._engine = ProcessEngine(lambda: make_engine(self._url, pool="none"))
        self._patience = patience

    def find_many(self, targets: Sequence[Target]) -> list[Claim | None]:
        """Return the claim of each target."""
        from sqlalchemy import select

        from secure_xcom.claims.table_schema import claim_xcom

        table = claim_xcom()
        by_payload: dict[str, Claim] = {}
        with self.connection() as connection:
            for start in range(0, len(targets), _PAGE):
                some = [target.unique for target in targets[start : start + _PAGE]]
                query = select(table.c.payload, table.c.record).where(table.c.payload.in_(some))
                for payload, record in connection.execute(query):
                    by_payload[payload] = Claim.parse(_raw(record), f"claim_xcom {payload}")
        claims = [by_payload.get(target.unique) for target in targets]
        for target, claim in zip(targets, claims, strict=True):
            if claim is not None:
                claim.check_target(target)
        return claims

    def create(self, target: Target, claim: Claim) -> bool:
        """Insert the row; the primary key lets one in, on every database and at every isolation level."""
        from sqlalchemy.exc import IntegrityError

        from secure_xcom.claims.table_schema import claim_xcom, row_of

        with self.connection() as connection:
            try:
                connection.execute(claim_xcom().insert().values(**row_of(target, claim)))
                connection.commit()
            except IntegrityError:
                connection.rollback()
                return False
        return True

    def list(self, places: Iterable[tuple[str, str]]) -> Iterator[Claim | ClaimTampered]:
        """Yield every claim of these compartments, page by page."""
        from sqlalchemy import select

        from secure_xcom.claims.table_schema import claim_xcom

        table = claim_xcom()
        compartments = sorted({compartment for _, compartment in places})
        last = ""
        while True:
            query = (
                select(table.c.payload, table.c.compartment, table.c.record)
                .where(table.c.payload > last, table.c.compartment.in_(compartments))
                .order_by(table.c.payload)
                .limit(_PAGE)
            )
            with self.connection() as connection:
                page = connection.execute(query).all()
            for payload, compartment, record in page:
                where = f"claim_xcom {payload}"
                claim = Claim.read(_raw(record), where)
                if isinstance(claim, Claim) and (claim.object[-36:], claim.compartment) != (payload, compartment):
                    claim = ClaimTampered(
                        "the row's columns belong to a different claim than its record", where=where
                    )
                yield claim
            if len(page) < _PAGE:
                return
            last = page[-1][0]

    def remove(self, target: Target) -> None:
        """Delete the row."""
        from secure_xcom.claims.table_schema import claim_xcom

        with self.connection() as connection:
            connection.execute(claim_xcom().delete().where(claim_xcom().c.payload == target.unique))
            connection.commit()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield a connection. No error of SQLAlchemy's or a driver's leaves: its text holds parameters and URLs.

        :raises ClaimsUnavailable: the database cannot be reached, or has no such table.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._connect() as connection:
                yield connection
        except (SQLAlchemyError, ImportError) as error:
            raise ClaimsUnavailable(
                f"the claims database cannot be used ({driver_error_name(error)})", where=self.uri
            ) from None

    def _connect(self) -> Connection:
        """Return a new connection. Hundreds of tasks may ask at once, and a server accepts about a hundred."""
        from sqlalchemy.exc import OperationalError

        engine, until, wait = self._engine.get(), time.monotonic() + self._patience, 0.05
        while True:
            try:
                return engine.connect()
            except OperationalError:
                if time.monotonic() + wait > until:
                    raise
            # Not all at the same moment again.
            time.sleep(wait * random.random())  # noqa: S311  # no secret depends on it
            wait = min(wait * 2, 2.0)


def _raw(record: object) -> bytes:
    """Return the record's bytes. SQLite keeps in a text column whatever it is given, and PostgreSQL any text."""
    if isinstance(record, bytes):
        return record
    return str(record).encode("utf-8", "replace")


def _url(uri: str) -> URL:
    where = "[secure_xcom] claims_uri"
    url = database_url(uri, where=where)
    if url.get_backend_name() not in ("postgresql", "mysql", "sqlite"):
        raise UriInvalid(
            f"claims are kept in postgresql, mysql or sqlite, not in {url.get_backend_name()!r:.40}",
            where=where,
            remedy=FORM,
        )
    return url
