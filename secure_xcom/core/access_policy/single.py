"""The policy of a deployment without an access policy file: one compartment, which every DAG may use.

It decides as `AccessPolicy.single` does and has the same digest, without the model of the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_xcom.core.access_policy.verdict import Verdict
from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.errors import CompartmentUnknown
from secure_xcom.core.reference import URI_MAX_CHARACTERS

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.alarms import Alarm
    from secure_xcom.core.access_policy.interface import Decisions

DEFAULT_COMPARTMENT = "default"
_KEYS_MAX = 8
# ASCII alone; the model of the file judges everything else (`secure_xcom.core.access_policy.field_types.Uri`).
_PLAIN_URI = re.compile(r"[a-z0-9-]+://[A-Za-z0-9_.,:;/@+=~#%&'()!?\[\]-]*")
_UNSET = {
    "former_store_uris": (), "readers": (), "routes": (), "exclusive": (), "exclusive_rerun": True,
    "retention": None, "retention_of": (), "max_bytes": None, "mask_values": None, "hide_return_values": None,
    "tasks_run_on": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class OnlyCompartment:
    """The compartment of all DAGs, without rules of its own."""

    key_uris: tuple[str, ...]
    store_uri: str
    name = DEFAULT_COMPARTMENT
    routes = ()
    exclusive_rerun = True
    max_bytes = None
    mask_values = None

    @property
    def all_key_uris(self) -> tuple[str, ...]:
        """All keys that may be asked to open, each once."""
        return tuple(dict.fromkeys(self.key_uris))

    @property
    def all_store_uris(self) -> tuple[str, ...]:
        """All stores that its references may name."""
        return (self.store_uri,)

    def lasts(self, key: str) -> None:  # noqa: ARG002  # as a compartment of a file, which has retentions by key
        """Return the lifetime of an XCom: unlimited."""
        return

    def is_exclusive(self, key: str) -> bool:  # noqa: ARG002  # as above
        """Check whether only one task instance may read XComs with this key: only where a DAG marks one."""
        return False


class SinglePolicy:
    """Every DAG belongs to one compartment, and every consumer may pull.

    A consumer that Airflow does not name (a callback after the task, a trigger) may pull as well.
    """

    alarms_at_once: tuple[Alarm, ...] = ()

    def __init__(self, compartment: OnlyCompartment) -> None:
        self._compartment = compartment
        self.compartments = (compartment,)
        fields = {
            "name": compartment.name, "dags": ("*",), "bundles": None, "teams": None,
            "key_uris": compartment.key_uris, "store_uri": compartment.store_uri, **_UNSET,
        }  # fmt: skip
        self.digest = hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode()).hexdigest()

    def decide(
        self,
        coordinate: Coordinate,
        compartment: str,
        consumer: TaskTry | None,  # noqa: ARG002  # as an access policy with a file, which asks who it is
    ) -> Verdict:
        """Decide whether this consumer may pull: anybody, from the only compartment."""
        if compartment == DEFAULT_COMPARTMENT:
            return Verdict(self._compartment, "single")
        return Verdict(self._compartment, "compartment", other_compartment(coordinate, compartment, "default"))

    def decide_write(
        self,
        coordinate: Coordinate,  # noqa: ARG002  # as an access policy with a file, which asks where and who
        producer: TaskTry | None,  # noqa: ARG002  # as above
        *,
        maintenance: bool = False,  # noqa: ARG002  # as above
    ) -> Verdict:
        """Decide whether this producer may push or purge: anybody."""
        return Verdict(self._compartment, "single")

    def held(self, dag_id: str, run_id: str) -> None:  # noqa: ARG002  # only a file has legal holds
        """Return the legal hold on a DAG's run: there is none."""
        return


def other_compartment(coordinate: Coordinate, named: str, compartment: str) -> CompartmentUnknown:
    """Return the refusal of a reference whose head names another compartment than its DAG belongs to."""
    return CompartmentUnknown(
        f"the reference names compartment {named!r:.70}, the XCom belongs to {compartment!r}",
        where=str(coordinate),
        remedy="clear the producing task if its DAG was moved to another compartment; otherwise find out who "
        "wrote this row",
    )


def single_policy(key_uris: Sequence[str], store_uri: str) -> Decisions:
    """Return the policy of these settings.

    :raises SettingInvalid: a URI is invalid, or there are no key URIs or too many.
    """
    uris = (*key_uris, store_uri)
    plain = all(len(uri) <= URI_MAX_CHARACTERS and _PLAIN_URI.fullmatch(uri) for uri in uris)
    if plain and 1 <= len(key_uris) <= _KEYS_MAX:
        return SinglePolicy(OnlyCompartment(tuple(key_uris), store_uri))
    from secure_xcom.core.access_policy.policy import AccessPolicy

    return AccessPolicy.single(key_uris, store_uri)
