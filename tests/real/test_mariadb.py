"""Claims on a real MariaDB, which speaks MySQL's dialect."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy

from secure_xcom.claims.claim_table import ClaimTable
from secure_xcom.claims.migrate import migrate
from secure_xcom.core.claim_errors import ClaimRefused
from secure_xcom.core.service_errors import ClaimsUnavailable
from tests.support.claim_contract import ClaimTableContract, claimant, taken, target
from tests.support.servers.mariadb_server import MariaDbServer, mariadb_server

pytestmark = pytest.mark.on_request


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDbServer]:
    """A server for this file."""
    with mariadb_server() as server:
        yield server


class TestClaims(ClaimTableContract):
    THREADS = 10

    @pytest.fixture
    def race(self, mariadb: MariaDbServer) -> tuple[str, str]:
        return "database", f"db+{mariadb.new_database()}"


def user(mariadb: MariaDbServer, url: str, *grants: str) -> str:
    """The URL of a new user with these rights, such as ``SELECT ON xcom``, in a database."""
    parsed, name = sqlalchemy.make_url(url), f"u_{uuid.uuid4().hex[:8]}"
    mariadb.run(f"CREATE USER {name}@'127.0.0.1'")
    for grant in grants:
        right, _, of = grant.rpartition(" ON ")
        mariadb.run(f"GRANT {right} ON {parsed.database}.{of} TO {name}@'127.0.0.1'")
    return parsed.set(username=name).render_as_string(hide_password=False)


def test_a_task_needs_two_rights_in_the_database(mariadb: MariaDbServer) -> None:
    """With SELECT and INSERT alone a task claims, and can neither take a claim away nor drop the table."""
    url = mariadb.new_database()
    migrate(ClaimTable(f"db+{url}"))
    table = ClaimTable(f"db+{user(mariadb, url, 'SELECT, INSERT ON claim_xcom')}")
    at = target("memory://x")
    assert taken(table, at, "a") == table.find_many([at])[0]
    with pytest.raises(ClaimsUnavailable):
        table.remove(at)
    with pytest.raises(ClaimsUnavailable):
        migrate(table, to="base")


def test_a_killed_database_refuses_and_loses_nothing(mariadb: MariaDbServer) -> None:
    """Without the database nothing is claimed and nothing given; when it is back the claims are there."""
    url = f"db+{mariadb.new_database()}"
    table = ClaimTable(url)
    migrate(table)
    at = target("memory://x")
    taken(table, at, "a")
    mariadb.stop()
    try:
        with pytest.raises(ClaimsUnavailable):
            taken(ClaimTable(url, patience=0.2), at, "b")
    finally:
        mariadb.start()
    with pytest.raises(ClaimRefused):
        taken(table, at, "b")
    assert taken(table, at, "a").claimant == claimant("a")
