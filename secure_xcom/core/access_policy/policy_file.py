"""The access policy file as a whole: compartments, identities, open places, alarms and legal holds.

Only a process that reads a file loads this. What a task decides with is in
`secure_xcom.core.access_policy.compartment`. The sections that decide nothing for a task are declared in files of
their own, which only a file that has them loads (docs/adr/0145).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, create_model

from secure_xcom.core.access_policy.compartment import Bytes, Compartment
from secure_xcom.core.access_policy.field_types import (
    DnsName,
    Duration,
    IdGlob,
    KeyGlob,
    Name,
    PlaceName,
    Strict,
    a_list,
)
from secure_xcom.core.load_adapter import load

IMPLEMENTATIONS = {
    "identities": "secure_xcom.core.access_policy.identities:Identities",
    "reveal": "secure_xcom.core.access_policy.reveal_section:RevealService",
    "alarms": "secure_xcom.core.access_policy.alarms:Alarms",
}
"""The model of each section that decides nothing for a task: its field, and what no model expresses."""


class LegalHold(Strict):
    """XComs that this product neither deletes nor shreds while the hold stands. Every given field must match.

    A hold keeps bytes and opens nothing: an expired XCom under a hold is still refused to tasks.
    """

    name: Name
    """The name of the hold in reports."""
    dags: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """DAG ids or globs."""
    runs: Annotated[tuple[KeyGlob, ...], a_list(min_length=1)] = ("*",)
    """Run ids or globs."""
    reason: Annotated[str, Field(max_length=500, pattern=r"^[\w .,:;/@+=~#%()?!-]+$")] | None = None
    """A note for people: the case, or who requested it."""


class Defaults(Strict):
    """Defaults for compartments that do not set a field."""

    compartment: Name | None = None
    """The compartment of DAGs that match no compartment's ``dags``. Without it, they are refused."""
    retention: Duration | None = None
    """The default of the compartment's field."""
    max_bytes: Bytes | None = None
    """The default of the compartment's field."""
    mask_values: Literal["named", "all", "none"] | None = None
    """The default of the compartment's field."""
    hide_return_values: bool | None = None
    """The default of the compartment's field."""


class OpenPlaces(Strict):
    """Places that every DAG may name, because their workers have no identity that needs protection."""

    queue: Annotated[tuple[PlaceName, ...], a_list()] = ()
    """Queues."""
    executor: Annotated[tuple[PlaceName, ...], a_list()] = ()
    """Executors: alias, class name or module path, as in ``[core] executor``."""
    service_account: Annotated[tuple[DnsName, ...], a_list()] = ()
    """Kubernetes service accounts."""
    run_as_user: Annotated[tuple[PlaceName, ...], a_list()] = ()
    """Operating-system users."""

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """All open places, as fields and values."""
        return tuple((field, value) for field in type(self).model_fields for value in getattr(self, field))


class PolicyFile(Strict):
    """An access policy file without the sections of `IMPLEMENTATIONS`; `model_of` adds those that a file has."""

    # Built when a file is read, which is mostly with a model that `model_of` derives.
    model_config = ConfigDict(defer_build=True)

    version: Literal[1]
    """The version of the format."""
    defaults: Defaults = Defaults()
    """Defaults for compartments that do not set a field."""
    compartments: Annotated[tuple[Compartment, ...], a_list(min_length=1, max_length=100_000)]
    """The compartments, in order: a DAG belongs to the first one with a glob that matches its id."""
    identities: tuple[Any, ...] = ()
    reveal: Any = None
    open_places: OpenPlaces = OpenPlaces()
    """Places that every DAG may name. Once the file assigns any place, all others are closed."""
    alarms: tuple[Any, ...] = ()
    legal_holds: Annotated[tuple[LegalHold, ...], a_list()] = ()
    """XComs that this product does not delete while the hold stands."""


@lru_cache(maxsize=8)
def model_of(sections: AbstractSet[str]) -> type[PolicyFile]:
    """Return the strict model of a file that has these sections of `IMPLEMENTATIONS`."""
    models = [load(IMPLEMENTATIONS, name) for name in sorted(sections)]
    return create_model("PolicyFile", __base__=(*models, PolicyFile), __doc__="An access policy file.")
