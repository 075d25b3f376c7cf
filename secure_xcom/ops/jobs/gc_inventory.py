"""What gc has read of stores and rows, in a state file: memory stays bounded, and a killed run resumes.

The state file is an SQLite database of ids: which payloads lie in the stores, and which of them a row names.
SQLite sorts and joins both on disk. It holds no value, no preview and no wrapped key.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from secure_xcom.core import clock
from secure_xcom.core.file_lock import NotLocked, acquire, release
from secure_xcom.core.operator_errors import MaintenanceError, StateInvalid

STATE_MAX_DAYS = 7
"""An older state is discarded, since events such as a restore may have happened that gc does not follow."""

_CACHE_KIB = 16 << 10
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS unit (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS payload (name BLOB NOT NULL, unit TEXT NOT NULL, path TEXT NOT NULL, size INTEGER);
CREATE TABLE IF NOT EXISTS young (name BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS named (name BLOB NOT NULL, place TEXT NOT NULL, path TEXT);
CREATE TABLE IF NOT EXISTS kept (path TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS tally (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


def default_folder() -> Path:
    """Return the default folder of state files, in Airflow's home."""
    home = os.environ.get("AIRFLOW_HOME") or "~/airflow"
    return Path(home).expanduser() / "secure_xcom" / "state"


def name_of(uri: str) -> bytes:
    """Return a 16-byte hash of an object's URI, so that ten million can be sorted without their long texts."""
    return hashlib.blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a state file for one process.

    :raises MaintenanceError: another process has it; :raises StateInvalid: its folder cannot be used.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateInvalid(f"the state file cannot be created ({type(error).__name__})", where=str(path)) from None
    try:
        try:
            acquire(descriptor, wait=0)
        except NotLocked as error:
            raise MaintenanceError(
                f"another process runs this job: {error.holder}",
                where=str(path),
                remedy="wait for it, or name another --state",
            ) from None
        except OSError as error:
            raise StateInvalid(
                f"the state file cannot be locked ({type(error).__name__})", where=str(path)
            ) from None
        yield
    finally:
        release(descriptor)


class Batch(NamedTuple):
    """A part of a listing: payloads as name, path and size; the names of those within the window; counts."""

    payloads: Sequence[tuple[bytes, str, int]]
    young: Sequence[bytes]
    counts: Mapping[str, int]


class Inventory:
    """Payloads and rows, as far as they were read. Every method is one transaction.

    :param path: the state file. One of another job (other stores, another database, another window) or of a week
        ago is begun anew.
    :param job: what makes this job another one.
    :raises StateInvalid: it is no state file, or the disk does not take it.
    """

    def __init__(self, path: Path, job: Mapping[str, str]) -> None:
        self.path = path
        with self._translated():
            self._open()
            now = clock.now().timestamp()
            started = float(self.meta("started") or 0)
            known = {name: self.meta(name) for name in job}
            if known != dict(job) or not 0 <= now - started < STATE_MAX_DAYS * 86_400:
                self.forget()
                self._open()
                for name, value in {**job, "started": str(now)}.items():
                    self.set_meta(name, value)
        self.started = float(self.meta("started") or 0)

    def _open(self) -> None:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        self._connection = sqlite3.connect(self.path, isolation_level=None)
        self._connection.executescript(
            # A state that a power failure damaged is discarded; killed processes damage none.
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA temp_store=FILE; "
            f"PRAGMA cache_size=-{_CACHE_KIB}; {_SCHEMA}"
        )

    def close(self) -> None:
        """Close the file; it stays for the next run."""
        self._connection.close()

    def forget(self) -> None:
        """Remove the file, when the job is done."""
        self._connection.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    # --- what was done --------------------------------------------------------------------------------------

    def meta(self, name: str) -> str | None:
        """Return a note of this job."""
        record = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if record is None else str(record[0])

    def set_meta(self, name: str, value: str) -> None:
        """Write a note."""
        with self._translated():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def tally(self) -> dict[str, int]:
        """Return all counts."""
        return {str(name): int(value) for name, value in self._connection.execute("SELECT * FROM tally")}

    def _count(self, counts: Mapping[str, int]) -> None:
        self._connection.executemany(
            "INSERT INTO tally VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            [(name, number) for name, number in counts.items() if number],
        )

    # --- filling --------------------------------------------------------------------------------------------

    def is_listed(self, unit: str) -> bool:
        """Return whether a unit (one compartment in one store) was listed to its end."""
        return self._connection.execute("SELECT 1 FROM unit WHERE name = ?", (unit,)).fetchone() is not None

    def list_unit(self, unit: str, batches: Iterable[Batch]) -> None:
        """Record a unit's payloads batch by batch, in one transaction."""
        with self._translated(), self._transaction():
            for payloads, young, counts in batches:
                self._connection.executemany("INSERT INTO young VALUES (?)", ((name,) for name in young))
                rows = ((name, unit, path, size) for name, path, size in payloads)
                self._connection.executemany("INSERT INTO payload VALUES (?, ?, ?, ?)", rows)
                self._count(counts)
            self._connection.execute("INSERT INTO unit VALUES (?)", (unit,))

    def note_rows(
        self,
        named: Iterable[tuple[bytes, str, str | None]],
        kept: Iterable[str],
        counts: Mapping[str, int],
        position: str,
    ) -> None:
        """Record a page of rows: what each names, as name, place and URI; the paths to keep; the last position."""
        with self._translated(), self._transaction():
            self._connection.executemany("INSERT INTO named VALUES (?, ?, ?)", named)
            self._connection.executemany("INSERT OR IGNORE INTO kept VALUES (?)", ((path,) for path in kept))
            self._count(counts)
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('position', ?)", (position,))

    def join(self) -> None:
        """Index both sides, so that entries of only one side can be read in order."""
        with self._translated():
            self._connection.execute("CREATE INDEX IF NOT EXISTS payload_by_name ON payload (name)")
            self._connection.execute("CREATE INDEX IF NOT EXISTS young_by_name ON young (name)")
            self._connection.execute("CREATE INDEX IF NOT EXISTS named_by_name ON named (name)")

    # --- the join -------------------------------------------------------------------------------------------

    def orphans(self, unit: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, str, int]]:
        """Return payloads of a unit that no row names, after a number: number, path and size, in rising order."""
        with self._translated():
            return self._connection.execute(
                "SELECT rowid, path, size FROM payload WHERE unit = ? AND rowid > ? AND NOT EXISTS "
                "(SELECT 1 FROM named WHERE named.name = payload.name) ORDER BY rowid LIMIT ?",
                (unit, after, limit),
            ).fetchall()

    def shares(self, unit: str) -> tuple[int, int]:
        """Return how many payloads of a unit no row names, and how many it has in all."""
        with self._translated():
            orphans, payloads = self._connection.execute(
                "SELECT coalesce(sum(NOT EXISTS (SELECT 1 FROM named WHERE named.name = payload.name)), 0), "
                "count(*) FROM payload WHERE unit = ?",
                (unit,),
            ).fetchone()
        return int(orphans), int(payloads)

    def orphan_counts(self) -> tuple[int, int]:
        """Return how many payloads no row names, and their bytes."""
        with self._translated():
            count, size = self._connection.execute(
                "SELECT count(*), coalesce(sum(size), 0) FROM payload WHERE NOT EXISTS "
                "(SELECT 1 FROM named WHERE named.name = payload.name)"
            ).fetchone()
        return int(count), int(size)

    def without_payload(self, *, after: int = 0, limit: int = 1000) -> list[tuple[int, str, str]]:
        """Return rows whose older payload was not listed: number, where the row is, and URI."""
        with self._translated():
            return self._connection.execute(
                "SELECT rowid, place, path FROM named WHERE path IS NOT NULL AND rowid > ? AND NOT EXISTS "
                "(SELECT 1 FROM payload WHERE payload.name = named.name) AND NOT EXISTS "
                "(SELECT 1 FROM young WHERE young.name = named.name) ORDER BY rowid LIMIT ?",
                (after, limit),
            ).fetchall()

    def is_kept(self, path: str) -> bool:
        """Return whether an unreadable row may name this payload."""
        return self._connection.execute("SELECT 1 FROM kept WHERE path = ?", (path,)).fetchone() is not None

    def gone(self, numbers: Iterable[int]) -> None:
        """Remove deleted payloads from the inventory."""
        with self._translated(), self._transaction():
            self._connection.executemany("DELETE FROM payload WHERE rowid = ?", ((number,) for number in numbers))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StateInvalid(
                f"the state file cannot be used ({type(error).__name__})", where=str(self.path)
            ) from None
