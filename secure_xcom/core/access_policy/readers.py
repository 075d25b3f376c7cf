"""The decision about a consumer of another compartment: the compartment's readers admit it, or not."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy.compartment import Compartment, Reader
from secure_xcom.core.access_policy.globs import any_matches
from secure_xcom.core.access_policy.verdict import Verdict
from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.policy_errors import AccessRefused


def judge(
    compartment: Compartment, coordinate: Coordinate, consumer: TaskTry, consumer_compartment: str | None
) -> Verdict:
    """Decide whether a compartment's readers admit a consumer from outside."""
    nearest: tuple[int, str] | None = None
    for number, reader in enumerate(compartment.readers):
        lacking = list(_lacking(reader, coordinate, consumer, consumer_compartment))
        if not lacking:
            return Verdict(compartment, f"readers[{number}]")
        # The error names the entry for the consumer's DAG, not every other entry.
        if "compartment" not in lacking and "dags" not in lacking and nearest is None:
            nearest = (number, lacking[0])
    if nearest is None:
        what = f"the DAG {consumer.dag_id!r:.80} is not a reader of compartment {compartment.name!r}"
        rule = "readers"
    else:
        number, field = nearest
        rule = f"readers[{number}].{field}"
        subject = f"its task {consumer.task_id!r:.80}" if field == "tasks" else "this XCom"
        what = (
            f"the DAG {consumer.dag_id!r:.80} is a reader of compartment {compartment.name!r}, but "
            f"readers[{number}] does not have {subject} in {field}"
        )
    return Verdict(compartment, rule, AccessRefused(what, where=str(coordinate)))


def _lacking(
    reader: Reader, coordinate: Coordinate, consumer: TaskTry, consumer_compartment: str | None
) -> Iterator[str]:
    """Yield the fields of a reader that do not match."""
    if reader.compartment is not None and reader.compartment != consumer_compartment:
        yield "compartment"
    for field, globs, text in (
        ("dags", reader.dags, consumer.dag_id),
        ("tasks", reader.tasks, consumer.task_id),
        ("of_dags", reader.of_dags, coordinate.dag_id),
        ("of_tasks", reader.of_tasks, coordinate.task_id),
    ):
        if not any_matches(globs, text):
            yield field
