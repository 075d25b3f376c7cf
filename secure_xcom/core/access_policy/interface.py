"""What the data path needs of an access policy: its decisions, its compartments' rules, its legal holds.

An access policy file gives `secure_xcom.core.access_policy.policy`; settings alone give
`secure_xcom.core.access_policy.single`, which loads nothing of the file's model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from secure_xcom.core.access_policy.alarms import Alarm
from secure_xcom.core.access_policy.compartment import Route
from secure_xcom.core.access_policy.policy_file import LegalHold
from secure_xcom.core.access_policy.verdict import Verdict
from secure_xcom.core.coordinate import Coordinate, TaskTry


class Rules(Protocol):
    """The rules of a compartment for its XComs (`secure_xcom.core.access_policy.compartment` describes each)."""

    @property
    def name(self) -> str: ...
    @property
    def key_uris(self) -> tuple[str, ...]: ...
    @property
    def store_uri(self) -> str: ...
    @property
    def all_key_uris(self) -> tuple[str, ...]: ...
    @property
    def all_store_uris(self) -> tuple[str, ...]: ...
    @property
    def routes(self) -> Sequence[Route]: ...
    @property
    def exclusive_rerun(self) -> bool: ...
    @property
    def max_bytes(self) -> int | None: ...
    @property
    def mask_values(self) -> Literal["named", "all", "none"] | None: ...
    def lasts(self, key: str) -> int | None: ...
    def is_exclusive(self, key: str) -> bool: ...


class Decisions(Protocol):
    """The decisions of an access policy."""

    digest: str
    alarms_at_once: tuple[Alarm, ...]

    @property
    def compartments(self) -> Sequence[Rules]: ...
    def decide(self, coordinate: Coordinate, compartment: str, consumer: TaskTry | None) -> Verdict: ...
    def decide_write(
        self, coordinate: Coordinate, producer: TaskTry | None, *, maintenance: bool = False
    ) -> Verdict: ...
    def held(self, dag_id: str, run_id: str) -> LegalHold | None: ...
