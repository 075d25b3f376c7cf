"""A decision of the access policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.interface import Rules
    from secure_xcom.core.errors import AccessError


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
