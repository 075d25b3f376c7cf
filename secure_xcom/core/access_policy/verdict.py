"""What the data path needs of an access policy: its verdicts, its compartments' rules, its legal holds.

An access policy file gives `secure_xcom.core.access_policy.policy`; settings alone give
`secure_xcom.core.access_policy.single`, which loads nothing of the file's model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.alarms import Alarm
    from secure_xcom.core.access_policy.compartment import Route
    from secure_xcom.core.access_policy.policy_file import LegalHold
    from secure_xcom.core.coordinate import Coordinate, TaskTry
    from secure_xcom.core.errors import AccessError


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and its rule, for the access log. Only `enforce` gives out the compartment.

    :ivar rule: of a pull: ``own`` (the consumer belongs to the compartment), ``readers[N]`` (that entry admits
        it, from 0), ``readers[N].FIELD`` (the entry for its DAG does not match in this field), ``readers`` (no
        entry is for it), ``single`` (there is one compartment for all DAGs), ``consumer`` (the consumer is not
        known), ``consumer.bundle`` and ``consumer.team`` (its DAG has another origin than its own compartment
        requires), ``compartment`` (the head names another one). Of a push or a purge: ``own``, ``single``,
        ``maintenance`` (a job of ours, for no task), ``producer`` (the producer is not known),
        ``producer.compartment`` (its DAG belongs to another one), ``producer.bundle`` and ``producer.team``.
    """

    decided_in: Rules
    rule: str
    refusal: AccessError | None = None

    def enforce(self) -> Rules:
        """Return the compartment.

        :raises AccessError: the access is refused.
        """
        if self.refusal is not None:
            raise self.refusal
        return self.decided_in


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
