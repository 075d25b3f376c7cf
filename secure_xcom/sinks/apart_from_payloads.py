"""Keep the access log apart from payloads, so that a right on payloads is never a right on events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from secure_xcom.core.access_policy.folders import sink_inside
from secure_xcom.sinks.sink_uri import shown

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.interface import Decisions


def check_apart(policy: Decisions, sinks: Sequence[str]) -> None:
    """Check that no sink lies in a folder of a compartment's payloads or claims, or contains such a folder.

    :raises SettingInvalid: one does.
    """
    for uri in sinks:
        overlap = sink_inside(policy.compartments, uri)
        if overlap is not None:
            compartment, folder = overlap
            from secure_xcom.sinks.sink_faults import among_payloads

            raise among_payloads(shown(uri), folder, compartment.name)
