"""The decision about a person: the compartment's viewers admit one of the groups, or not.

The reveal service alone decides about people; no task loads this.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from secure_xcom.core.access_policy.globs import any_matches
from secure_xcom.core.access_policy.verdict import Verdict
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.policy_errors import AccessRefused

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.policy import AccessPolicy


def judge_viewer(policy: AccessPolicy, coordinate: Coordinate, groups: Collection[str]) -> Verdict:
    """Decide whether a person in these groups may see an XCom, by the viewers of its compartment alone.

    :param groups: the person's groups, as the identity provider names them in a verified token. They are compared
        exactly.
    :raises CompartmentUnknown: the XCom's DAG belongs to no compartment.
    """
    compartment = policy.resolve(coordinate)
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
        "ask the compartment's owner to add you to a group of its viewers, or ask a member of one to look; "
        "the access policy lists the groups"
    )
    return Verdict(compartment, rule, AccessRefused(what, where=str(coordinate), remedy=remedy))
