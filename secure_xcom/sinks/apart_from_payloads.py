"""The access log lies apart from payloads: who may read, list or delete payloads may not do it with events."""

from __future__ import annotations

from collections.abc import Sequence

from secure_xcom.core.access_policy import AccessPolicy
from secure_xcom.core.access_policy.folders import sink_inside
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.sinks.sink_uri import shown


def check_apart(policy: AccessPolicy, sinks: Sequence[str]) -> None:
    """Check that no sink writes into a folder of a compartment's payloads or claims, nor has such a folder in it.

    :raises SettingInvalid: one does.
    """
    for uri in sinks:
        found = sink_inside(policy.compartments, uri)
        if found is not None:
            own, folder = found
            raise SettingInvalid(
                f"the access log's sink {shown(uri):.200} and the folder {folder:.200} of compartment "
                f"{own.name!r} lie in each other, so whoever has a right on the one has it on the other",
                where="[secure_xcom] audit_sinks",
                remedy="give the access log a bucket of its own, or a prefix or folder beside the store's",
            )
