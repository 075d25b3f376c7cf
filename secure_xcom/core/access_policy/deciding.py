"""What was decided about one pull, push or purge, and by which rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from secure_xcom.core.access_policy.globs import matches
from secure_xcom.core.access_policy.model import Compartment, Reader
from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.errors import AccessError, AccessRefused


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and its rule, for the access log; the compartment is given out by `enforce` alone.

    :ivar rule: ``own`` (the consumer is of the compartment), ``readers[N]`` (that entry admits it, from 0),
        ``readers[N].FIELD`` (the entry for its DAG does not hold in this field), ``readers`` (there is none for
        it), ``single`` (there is one compartment for all), ``consumer`` (it is not known), ``consumer.bundle`` and
        ``consumer.team`` (its DAG is not from where its own compartment takes DAGs), ``compartment`` (the head
        names another one). Of a push or a purge: ``own``, ``single``, ``maintenance`` (a job of ours, for no
        task), ``producer`` (it is not known), ``producer.compartment`` (its DAG is of another one),
        ``producer.bundle`` and ``producer.team``.
    """

    decided_in: Compartment
    rule: str
    refusal: AccessError | None = None

    def enforce(self) -> Compartment:
        """The compartment that it is allowed in.

        :raises AccessError: it is not allowed.
        """
        if self.refusal is not None:
            raise self.refusal
        return self.decided_in


def judge(own: Compartment, coordinate: Coordinate, consumer: TaskTry, theirs: str | None) -> Verdict:
    """Whether a compartment's readers admit a consumer from outside.

    :param theirs: the compartment of the consumer's DAG.
    """
    nearest: tuple[int, str] | None = None
    for number, reader in enumerate(own.readers):
        lacking = list(_lacking(reader, coordinate, consumer, theirs))
        if not lacking:
            return Verdict(own, f"readers[{number}]")
        # The consumer is told of the entry that was made for its DAG, not of every other.
        if "compartment" not in lacking and "dags" not in lacking and nearest is None:
            nearest = (number, lacking[0])
    if nearest is None:
        what = f"the DAG {consumer.dag_id!r:.80} is not a reader of compartment {own.name!r}"
        rule = "readers"
    else:
        number, field = nearest
        rule = f"readers[{number}].{field}"
        subject = f"its task {consumer.task_id!r:.80}" if field == "tasks" else "this XCom"
        what = (
            f"the DAG {consumer.dag_id!r:.80} is a reader of compartment {own.name!r}, but readers[{number}] does "
            f"not have {subject} in {field}"
        )
    return Verdict(own, rule, AccessRefused(what, where=str(coordinate)))


def _lacking(reader: Reader, coordinate: Coordinate, consumer: TaskTry, theirs: str | None) -> Iterator[str]:
    """The fields of a reader that do not hold."""
    if reader.compartment is not None and reader.compartment != theirs:
        yield "compartment"
    for field, globs, text in (
        ("dags", reader.dags, consumer.dag_id),
        ("tasks", reader.tasks, consumer.task_id),
        ("of_dags", reader.of_dags, coordinate.dag_id),
        ("of_tasks", reader.of_tasks, coordinate.task_id),
    ):
        if not _any(globs, text):
            yield field


def _any(globs: Sequence[str], text: str) -> bool:
    return any(matches(glob, text) for glob in globs)
