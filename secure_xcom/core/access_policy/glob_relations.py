"""Which globs match texts in common, and which legal holds may so apply to a compartment.

For what is compiled, linted and shown; a task compares texts with globs and needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_xcom.core.access_policy.field_types import is_glob
from secure_xcom.core.access_policy.globs import matches

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.compartment import Compartment
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.access_policy.policy_file import LegalHold


def overlap(left: str, right: str) -> bool:
    """Check whether some text matches both globs."""
    if not is_glob(left):
        return matches(right, left)
    if not is_glob(right):
        return matches(left, right)
    # Walk over both at once: which positions of `right` can be reached after each character of `left`.
    reached = _over_stars(right, {0})
    for letter in left:
        if letter == "*":
            # This star can match any part of `right`.
            reached = set(range(min(reached), len(right) + 1))
            continue
        step = {index for index in reached if index < len(right) and right[index] == "*"}
        step |= {
            index + 1
            for index in reached
            if index < len(right) and right[index] != "*" and _meet(letter, right[index])
        }
        reached = _over_stars(right, step)
        if not reached:
            return False
    return len(right) in reached


def _over_stars(glob: str, positions: set[int]) -> set[int]:
    reached = set(positions)
    pending = list(positions)
    while pending:
        index = pending.pop()
        if index < len(glob) and glob[index] == "*" and index + 1 not in reached:
            reached.add(index + 1)
            pending.append(index + 1)
    return reached


def _meet(left: str, right: str) -> bool:
    return left == right or "?" in (left, right)


def covers(wide: str, narrow: str) -> bool:
    """Check whether the wide glob matches every text that the narrow one matches. False may be a miss."""
    if not is_glob(narrow):
        return matches(wide, narrow)
    # Private-use characters stand for the text of wildcards: only wildcards of the wide glob can match them.
    samples = (narrow.replace("*", filling).replace("?", "\ue000") for filling in ("", "\ue000", "\ue000\ue001"))
    return all(matches(wide, sample) for sample in samples)


def holds_in(policy: AccessPolicy, compartment: Compartment) -> tuple[LegalHold, ...]:
    """Return the legal holds that may apply to an XCom of a compartment."""
    return tuple(
        hold
        for hold in policy.legal_holds
        if compartment is policy.default
        or any(overlap(glob, own_glob) for glob in hold.dags for own_glob in compartment.dags)
    )
