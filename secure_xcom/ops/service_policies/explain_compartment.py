"""Explain why a DAG belongs to a compartment: the glob that matches it, its line, and the globs that it hides."""

from __future__ import annotations

from dataclasses import dataclass

from secure_xcom.core.access_policy import yaml_reader
from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.globs import matches
from secure_xcom.core.access_policy.loading import place
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path


@dataclass(frozen=True, slots=True)
class Reason:
    """The compartment that a DAG belongs to, or None, and the reason.

    :ivar line: the line of the file, from 1; :ivar later: compartments and globs that also match, but come later.
    """

    compartment: Compartment | None
    text: str
    line: int
    later: tuple[tuple[str, str], ...]


def why(policy: AccessPolicy, raw: bytes, dag_id: str, *, where: str) -> Reason:
    """Return why a DAG belongs to its compartment.

    :param raw: the bytes that the policy was read from.
    :raises PolicyInvalid: they are not an access policy.
    """
    _, marks = yaml_reader.read_with_marks(raw, where=where)
    taking = [
        (compartment, glob, ("compartments", index, "dags", number))
        for index, compartment in enumerate(policy.compartments)
        for number, glob in enumerate(compartment.dags)
        if matches(glob, dag_id)
    ]
    compartment = policy.resolve_dag(dag_id)
    path: Path
    if taking:
        first, glob, path = taking[0]
        text = f"{glob!r} of {first.name!r} is the first glob that matches it"
    elif compartment is not None:
        path = ("defaults", "compartment")
        text = f"no glob matches it, and {compartment.name!r} is the default"
    else:
        path = ()
        text = "no glob matches it, and there is no default"
    line, _ = place(marks, path)
    later = tuple((other.name, glob) for other, glob, _ in taking[1:] if other is not compartment)
    return Reason(compartment, f"{text} (line {line})" if path else text, line, later)
