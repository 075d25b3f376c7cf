"""A whole way of a value in memory, for tests of the core: no Airflow, no server, no file but the access log."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from secure_xcom.claims.ledger import Ledger
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.masking.secrets_of_value import Secrets
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.core.pipeline.telemetry.measuring import Telemetry
from secure_xcom.keys import KeyService
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import Store, store
from tests.support.doubles import MemoryKeyService, MemorySink


@dataclass
class World:
    """The pipeline and all that it touches."""

    settings: Settings = field(default_factory=Settings)
    policy: AccessPolicy | None = None
    keys: dict[str, MemoryKeyService] = field(default_factory=dict)
    sink: MemorySink = field(default_factory=MemorySink)
    masked: list[str] = field(default_factory=list)
    names: SensitiveNames = field(default_factory=lambda: SensitiveNames({"password", "token"}))
    store_uri: str = field(default_factory=lambda: f"memory://{uuid.uuid4().hex}")

    def __post_init__(self) -> None:
        self.store: Store = store(self.store_uri)
        if self.policy is None:
            self.policy = AccessPolicy.single(["memory-key://one"], self.store.uri)
        self.pipeline = self.process()

    def process(
        self,
        services: Callable[[str], KeyService] | None = None,
        *,
        stores: Callable[[str], Store] = store,
        ledger: Ledger | None = None,
        telemetry: Telemetry | None = None,
    ) -> Pipeline:
        """A pipeline of another process of the same deployment: it shares nothing but keys, store and log.

        :param services: other key services than the doubles.
        :param stores: other stores; :param ledger: another place of claims.
        :param telemetry: what is told of it.
        """
        assert self.policy is not None
        return Pipeline(
            self.settings,
            self.policy,
            AccessLog([self.sink], version="test"),
            self.names,
            Codecs(lambda value: value, lambda structure: structure),
            register=self._register,
            services=services or self.service,
            stores=stores,
            ledger=ledger,
            telemetry=telemetry,
        )

    def service(self, uri: str) -> MemoryKeyService:
        """The key service of a URI, the same one in every process."""
        return self.keys.setdefault(uri, MemoryKeyService(uri))

    def push(self, value: object, at: Coordinate | None = None) -> dict[str, Any]:
        """The reference of a value that a task pushed as its own, as JSON gives it back from a database."""
        at = at or coordinate()
        pushed = self.pipeline.push([Push(at, value)], producer=own_task(at))[0]
        return dict(json.loads(json.dumps(pushed)))

    def pull(self, reference: object, **options: Any) -> Any:
        """The value of a reference, pulled by another process."""
        return self.process().pull([Row(reference)], **options)[0]

    def _register(self, secrets: Secrets) -> None:
        self.masked.extend(secrets.values)


def own_task(at: Coordinate) -> TaskTry:
    """The task that pushes at its own coordinate, as most do."""
    return TaskTry(at.dag_id, at.run_id, at.task_id, at.map_index, 1)


def coordinate(**changes: Any) -> Coordinate:
    """A coordinate with some fields changed."""
    fields: dict[str, Any] = {
        "dag_id": "orders",
        "run_id": "manual__2026-01-01T00:00:00+00:00",
        "task_id": "extract",
        "map_index": -1,
        "key": "return_value",
    }
    return Coordinate(**{**fields, **changes})
