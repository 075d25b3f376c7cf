"""What the page asks of a database, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from tests.airflow_here import airflow_here
from tests.servers.postgres_server import PostgresServer, postgres_server
from tests.ui_browsing_contract import BrowsingContract, make_tables

__all__ = ["airflow_here"]
pytestmark = pytest.mark.usefixtures("airflow_here")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server for this file."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def session(postgres: PostgresServer) -> Iterator[Session]:
    """A session on empty tables."""
    engine = make_tables(postgres.new_database())
    with Session(engine) as opened:
        yield opened
    engine.dispose()


class TestPostgres(BrowsingContract):
    """The contract."""
