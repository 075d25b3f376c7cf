"""Every attack, in one DAG."""

from __future__ import annotations

import os
from datetime import datetime, timezone

from tests.e2e.cases.attacks import ATTACKS
from tests.e2e.cases.tampering import attacked_dag, pushing_dag

INLINE = os.environ.get("AIRFLOW__SECURE_XCOM__INLINE_MAX_BYTES", "0") != "0"
CHOSEN = {
    name: attack
    for name, attack in ATTACKS.items()
    if attack.in_process and (attack.inline if INLINE else attack.objects)
}
# The run that is attacked comes after the one from which references are copied.
FIRST, SECOND = (datetime(2024, 1, day, tzinfo=timezone.utc).isoformat() for day in (1, 2))

tampered = attacked_dag(
    "tampered",
    CHOSEN,
    earlier=lambda run_id: run_id.replace(SECOND, FIRST),
    is_earlier=lambda run_id: FIRST in run_id,
)
COPIED = {name: attack for name, attack in CHOSEN.items() if "another DAG" in name}
tampered_other, _, _ = pushing_dag("tampered_other", COPIED)
