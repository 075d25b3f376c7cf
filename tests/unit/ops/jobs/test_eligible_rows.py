"""What a row is to a job: here, whose attempt it names."""

from __future__ import annotations

import json

import pytest

from secure_xcom.connections.sql.positions import AttemptPosition
from secure_xcom.core.attempt import Attempt
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import AttemptMismatch
from secure_xcom.ops.jobs.eligible_rows import EligibleRow, recognize
from secure_xcom.ops.xcom_table import Database, StoredRow
from tests.support.world import World, coordinate

OWN, OTHER = (f"019be2a1-0000-7000-8000-00000000000{number}" for number in (1, 2))


@pytest.mark.parametrize(("pushed", "refused"), [(None, False), (OWN, False), (OTHER, True)])
def test_a_row_of_another_attempt_is_refused(pushed: str | None, refused: bool) -> None:
    """A job sees whose row it is, so it finds one that was exchanged among the attempts of a task."""
    world = World(Settings(attempt_fields="all"))
    attempt = None if pushed is None else Attempt(pushed)
    text = json.dumps(world.push("a", coordinate(attempt=attempt)))
    at = coordinate()
    row = StoredRow(
        AttemptPosition(OWN, at.key), at.dag_id, at.run_id, at.task_id, -1, text, len(text), attempt=OWN
    )
    assert world.policy is not None
    known = recognize(row, world.policy, Database("sqlite://"))
    assert isinstance(known, AttemptMismatch if refused else EligibleRow)
