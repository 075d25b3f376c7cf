"""Who may pull an XCom, as the access policy says it; and how a reader of the policy reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from secure_xcom.airflow.plugin.ui.known_deployment import Deployment
from secure_xcom.airflow.plugin.ui.looking import XCom
from secure_xcom.core.access_policy.compartment import Compartment, Reader
from secure_xcom.core.access_policy.globs import matches

Line = dict[str, str]


def who_may(xcom: XCom, deployment: Deployment) -> list[Line]:
    """Return who may pull an XCom, as lines with a kind; nothing where the policy is not known."""
    if xcom.state == "plaintext":
        refused = deployment.settings.on_plaintext == "refuse"
        text = "nobody: a pull refuses plaintext" if refused else "every task that Airflow lets read it"
        return [_line("nobody" if refused else "everybody", text)]
    if xcom.state in ("shredded", "unreadable"):
        return [_line("nobody", "nobody: no pull opens it")]
    if xcom.state == "expired":
        return [_line("nobody", "nobody: it has expired, so a pull refuses it")]
    if xcom.head is not None and xcom.head.exclusive is not None:
        return [_line("claim", "the first task instance that pulls it, and nobody else")]
    if deployment.policy is None:
        return []
    if deployment.state == "single":
        return [_line("everybody", "every task: all DAGs belong to one compartment")]
    if xcom.compartment is None:
        return [_line("nobody", "nobody: the access policy has no such compartment")]
    compartment, stored = xcom.compartment, xcom.stored
    readers = (
        reader
        for reader in compartment.readers
        if _any(reader.of_dags, stored.run.dag_id) and _any(reader.of_tasks, stored.place.task_id)
    )
    return [
        _line("own", f"every DAG of {compartment.name}"),
        *(_line("reader", who(reader)) for reader in readers),
    ]


def who(reader: Reader, *, of: bool = False) -> str:
    """Return a reader of a compartment in words; what is everything is left out.

    :param of: with what it may pull.
    """
    return ", ".join(_words(reader, of=of)) or "every DAG"


def _words(reader: Reader, *, of: bool) -> Iterator[str]:
    if reader.compartment is not None:
        yield f"compartment {reader.compartment}"
    for name, globs in (("DAGs", reader.dags), ("tasks", reader.tasks)):
        if globs != ("*",):
            yield f"{name} {' '.join(globs)}"
    if of:
        for name, globs in (("what DAGs", reader.of_dags), ("what tasks", reader.of_tasks)):
            if globs != ("*",):
                yield f"{name} {' '.join(globs)} pushed"


def compartment_of(xcom: XCom, deployment: Deployment) -> Compartment | None:
    """Return the compartment that the policy gives an XCom's DAG."""
    return None if deployment.policy is None else deployment.policy.resolve_dag(xcom.stored.run.dag_id)


def _line(kind: str, text: str) -> Line:
    return {"kind": kind, "text": text}


def _any(globs: Sequence[str], text: str) -> bool:
    return any(matches(glob, text) for glob in globs)
