"""The access log's table on a real PostgreSQL, and a user that may INSERT into it and nothing else."""

from __future__ import annotations

import uuid

import sqlalchemy

from secure_xcom.sinks.database import DDL
from tests.support.servers.postgres_server import PostgresServer


class AuditTable:
    """The documented table in a new database, and a user that may INSERT into it and nothing else."""

    def __init__(self, server: PostgresServer) -> None:
        self.owner = sqlalchemy.create_engine(server.new_database(), poolclass=sqlalchemy.NullPool)
        user = f"worker_{uuid.uuid4().hex[:8]}"
        self.run(DDL, f"CREATE ROLE {user} LOGIN PASSWORD 'canary-password'")
        self.run(f"GRANT INSERT ON secure_xcom_events TO {user}")
        self.worker = self.owner.url.set(username=user, password="canary-password")

    @property
    def uri(self) -> str:
        """The worker's sink URI."""
        return f"db+{self.worker.render_as_string(hide_password=False)}"

    def run(self, *statements: str) -> None:
        """Run statements as the owner."""
        with self.owner.begin() as connection:
            for statement in statements:
                connection.execute(sqlalchemy.text(statement))

    def lines(self) -> list[bytes]:
        """What the owner reads."""
        query = "SELECT line FROM secure_xcom_events ORDER BY chain, sequence"
        with self.owner.connect() as connection:
            return [str(line).encode() for (line,) in connection.execute(sqlalchemy.text(query))]
