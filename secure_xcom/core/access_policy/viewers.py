"""The decision about a person: the compartment's viewers admit one of the groups, or not."""

from __future__ import annotations

from collections.abc import Collection

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.globs import any_matches
from secure_xcom.core.access_policy.verdict import Verdict
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import AccessRefused


def judge_viewer(compartment: Compartment, coordinate: Coordinate, groups: Collection[str]) -> Verdict:
    """Decide whether a compartment's viewers admit a person in these groups. Groups are compared exactly."""
    nearest: tuple[int, str] | None = None
    for number, viewer in enumerate(compartment.viewers):
        if viewer.group not in groups:
            continue
        if not any_matches(viewer.dags, coordinate.dag_id):
            lacking = "dags"
        elif not any_matches(viewer.tasks, coordinate.task_id):
            lacking = "tasks"
        else:
            return Verdict(compartment, f"viewers[{number}]")
        nearest = nearest or (number, lacking)
    rule = "viewers"
    what = f"none of the person's groups is a viewer of compartment {compartment.name!r}"
    if nearest is not None:
        number, field = nearest
        rule = f"viewers[{number}].{field}"
        what = f"a group of the person is a viewer of {compartment.name!r}, but {rule} does not have this XCom"
    remedy = (
        "ask the owner of the compartment for a group of its viewers, or have someone in one look; the access "
        "policy lists them"
    )
    return Verdict(compartment, rule, AccessRefused(what, where=str(coordinate), remedy=remedy))
