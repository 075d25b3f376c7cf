"""A small deployment for tests of maintenance: real files, a real database, keys in memory or in a keyring."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import uuid6

from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.ops.jobs.rewrap import rewrap
from secure_xcom.ops.jobs.rewrap_plan import Plan, RewrapReport
from secure_xcom.ops.keyring import create_keyring
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import Store, store
from tests.support.doubles import MemorySink
from tests.support.world import coordinate, own_task
from tests.support.xcom_table import XComTable

ZERO = timedelta(0)


@dataclass
class Upkeep:
    """A deployment below a folder: one compartment ``pay`` with a keyring, a file store, an SQLite database."""

    folder: Path
    url: str = ""
    store_uri: str = ""
    more: str = ""
    settings: Settings = field(default_factory=Settings)
    sink: MemorySink = field(default_factory=MemorySink)
    schema: Schema = Schema.COORDINATES
    live: list[Coordinate] = field(default_factory=list)
    """What a test has pushed and is to find again."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.keyring = str(self.folder / "keys" / "keyring.json")
        create_keyring(self.keyring)
        if not self.store_uri:
            (self.folder / "store").mkdir(mode=0o700)
            self.store_uri = f"file://{self.folder}/store"
        self.table = XComTable(self.url or f"sqlite:///{self.folder}/airflow.db", self.schema)
        self.state = self.folder / "state" / "job.sqlite"
        self.write_policy(self.more)

    @property
    def key_uri(self) -> str:
        """The keyring's."""
        return f"local://{self.keyring}"

    def write_policy(self, more: str = "", keys: str = "") -> AccessPolicy:
        """The access policy with more lines in its compartment, also as a file."""
        self.policy_file = self.folder / "policy.yaml"
        self.policy_file.write_text(
            "version: 1\ncompartments:\n  - name: pay\n    dags: ['*']\n"
            f"    key_uris: [{keys or self.key_uri}]\n    store_uri: {self.store_uri}\n{more}"
        )
        self.policy = AccessPolicy.load(str(self.policy_file))
        return self.policy

    def pipeline(self) -> Pipeline:
        """A process of the deployment."""
        return Pipeline(
            self.settings,
            self.policy,
            AccessLog([self.sink], version="test"),
            SensitiveNames({"password"}),
            Codecs(lambda value: value, lambda structure: structure),
            register=lambda _: None,
        )

    def store(self) -> Store:
        """The deployment's store."""
        return store(self.store_uri)

    def push(self, value: Any, at: Coordinate | None = None, *, row: bool = True) -> Coordinate:
        """Push a value as a task does, and write its row unless told not to."""
        at = at or coordinate(key=f"k{uuid.uuid4().hex[:8]}")
        pushed = self.pipeline().push([Push(at, value)], producer=own_task(at))[0]
        if row:
            self.table.put(at, pushed)
        return at

    def pull(self, at: Coordinate) -> Any:
        """What a task of the same DAG gets."""
        consumer = TaskTry(at.dag_id, at.run_id, "reader", -1, 1)
        return self.pipeline().pull([Row(self.table.value(at))], consumer=consumer)[0]

    def rewrap(self, plan: Plan | None = None, *, apply: bool = True, **options: Any) -> RewrapReport:
        """Bring its wraps to the newest version, or do what the plan says."""
        database, log = self.table.database(), AccessLog([self.sink], version="test")
        try:
            chosen = plan or Plan()
            return rewrap(self.policy, database, log, self.state, chosen, apply=apply, operator="me", **options)
        finally:
            database.close()

    def objects(self) -> list[str]:
        """The paths of all payloads."""
        return sorted(found.path for found in self.store().list())

    def close(self) -> None:
        """Close the database."""
        self.table.close()


def unique_of(when: datetime) -> str:
    """A UUIDv7 of a given time."""
    milliseconds = int(when.timestamp() * 1000)
    number = (milliseconds << 80) | (7 << 76) | (0b10 << 62) | (uuid.uuid4().int & ((1 << 62) - 1))
    return str(uuid.UUID(int=number))


def long_ago(**ago: float) -> datetime:
    """A time before now."""
    return datetime.now(timezone.utc) - timedelta(**ago)


def settle() -> None:
    """Let the clock pass what was just pushed: UUIDv7s that are made within a millisecond run ahead of it."""
    newest = (uuid6.uuid7().int >> 80) / 1000
    time.sleep(max(0.0, newest - time.time()) + 0.01)
