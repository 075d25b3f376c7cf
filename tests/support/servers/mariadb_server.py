"""A real MariaDB for tests, with a database for each caller.

Looked for in this order: a server that ``SECURE_XCOM_TEST_MARIADB_URL`` names (a SQLAlchemy URL of an operator),
and the programs of Debian's package mariadb-server. MariaDB does not run as root, so as root it runs as nobody.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.servers.vault_server import free_port

START_SECONDS = 120


@dataclass
class MariaDbServer:
    """A server that answers.

    :ivar url: SQLAlchemy URL of its database ``mysql``.
    """

    url: str
    _command: list[str] = field(default_factory=list)
    _log: Path | None = None
    _process: subprocess.Popen[bytes] | None = None

    def new_database(self) -> str:
        """The URL of a new, empty database, whose text columns ignore case as they usually do."""
        import sqlalchemy

        name = f"test_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        return sqlalchemy.make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def run(self, *statements: str) -> None:
        """Run statements as the server's operator."""
        import sqlalchemy

        engine = sqlalchemy.create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(sqlalchemy.text(statement))
        engine.dispose()

    def stop(self) -> None:
        """Kill it in the middle of whatever it does. Skips for a server that was not started here."""
        if self._log is None:
            pytest.skip("only a server that the tests started is stopped")
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Start it at the same address, again if it was stopped."""
        import sqlalchemy

        assert self._log is not None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.run("SELECT 1")
            except sqlalchemy.exc.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"MariaDB did not come up: {self._log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.1)
            else:
                return


@contextmanager
def mariadb_server() -> Iterator[MariaDbServer]:
    """Find the server or start it; it ends with the context. Skips where there is none."""
    pytest.importorskip("pymysql", reason="the driver is in requirements/servers.txt")
    given = os.environ.get("SECURE_XCOM_TEST_MARIADB_URL")
    if given:
        yield MariaDbServer(given)
        return
    server = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")
    install = shutil.which("mariadb-install-db")
    if server is None or install is None:
        pytest.skip("no MariaDB: install mariadb-server, or set SECURE_XCOM_TEST_MARIADB_URL")
    with tempfile.TemporaryDirectory(prefix="secure-xcom-mariadb-") as above:
        # The server gives up root itself, so the folder that it changes to must be reachable.
        user = ["--user=nobody"] if os.geteuid() == 0 else []
        if user:
            os.chmod(above, 0o711)  # noqa: S103  # so that nobody reaches the folder in it
        folder = Path(above) / "data"
        folder.mkdir(mode=0o700)
        if user:
            shutil.chown(folder, "nobody")
        made = subprocess.run(
            [
                *(install, "--no-defaults", *user, f"--datadir={folder}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"),
            ],
            capture_output=True, text=True, timeout=START_SECONDS, check=False,
        )  # fmt: skip
        assert made.returncode == 0, (made.stdout + made.stderr)[-2000:]
        port = free_port()
        command = [
            *(server, "--no-defaults", *user, f"--datadir={folder}", f"--socket={folder}/socket"),
            *(f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={folder}/pid", "--skip-name-resolve"),
            # A killed process loses nothing that the operating system has, and the machine is not switched off.
            *("--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=2", "--innodb-doublewrite=0"),
        ]
        running = MariaDbServer(f"mysql+pymysql://root@127.0.0.1:{port}/mysql", command, Path(above) / "log")
        try:
            running.start()
            yield running
        finally:
            running.stop()
