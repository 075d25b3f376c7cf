"""What an access policy file holds: compartments. `secure_xcom.core.access_policy.identities` has the other
half."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from secure_xcom.core.access_policy.alarms import Alarm
from secure_xcom.core.access_policy.field_types import (
    BundleName,
    DnsName,
    Duration,
    Executor,
    IdGlob,
    KeyGlob,
    Name,
    PlaceName,
    Pool,
    Queue,
    Strict,
    Uri,
    a_list,
    seconds,
)
from secure_xcom.core.access_policy.globs import matches
from secure_xcom.core.access_policy.identities import Identity

Bytes = Annotated[int, Field(ge=1, le=1 << 40)]


class Reader(Strict):
    """Tasks of other compartments that may pull. All that is given must hold; what is left out is anything."""

    compartment: Name | None = None
    """The consumer's DAG belongs to this compartment."""
    dags: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """The consumer's DAG is one of these."""
    tasks: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """The consumer's task is one of these."""
    of_dags: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """Only what these DAGs of this compartment pushed."""
    of_tasks: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """Only what these tasks of this compartment pushed."""


class Route(Strict):
    """Another store, and if need be another key, for some XComs of a compartment. The first that takes it wins."""

    keys: Annotated[tuple[KeyGlob, ...], a_list(min_length=1)] | None = None
    """XComs with these keys."""
    sensitive: Literal[True] | None = None
    """XComs whose key is a sensitive name, or whose value holds something under one."""
    store_uri: Uri
    """Where their payloads go."""
    key_uris: Annotated[tuple[Uri, ...], a_list(min_length=1, max_length=8)] | None = None
    """What wraps their data keys, if not the compartment's own keys."""

    def takes(self, key: str, *, sensitive: bool) -> bool:
        """Whether an XCom goes this way."""
        by_key = self.keys is not None and any(matches(glob, key) for glob in self.keys)
        return by_key or (self.sensitive is True and sensitive)


class KeyRetention(Strict):
    """How long the XComs with some keys are good for, where that is not the compartment's retention."""

    keys: Annotated[tuple[KeyGlob, ...], a_list(min_length=1)]
    """XComs with these keys."""
    retention: Duration
    """Minutes, hours, days or weeks after the push: ``30d``."""


class LegalHold(Strict):
    """XComs that nothing of this product deletes or shreds while the hold stands. All that is given must hold.

    A hold keeps bytes. It opens nothing: an expired XCom under a hold is refused to tasks all the same.
    """

    name: Name
    """By which the hold is named in reports."""
    dags: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """DAG ids, or globs."""
    runs: Annotated[tuple[KeyGlob, ...], a_list(min_length=1)] = ("*",)
    """Run ids, or globs."""
    reason: Annotated[str, Field(max_length=500, pattern=r"^[\w .,:;/@+=~#%()?!-]+$")] | None = None
    """For people: the case, who asked for it."""


_PLACES = ("queue", "pool", "executor", "service_account", "run_as_user")


class RunOn(Strict):
    """Where the tasks of a compartment run: what carries the identity that its keys are opened with."""

    queue: Queue | None = None
    """Of Celery, or of another executor that has queues."""
    pool: Pool | None = None
    """It counts slots, and says nothing of which worker runs a task."""
    executor: Executor | None = None
    """An executor of ``[core] executor``, where there are several."""
    service_account: DnsName | None = None
    """Of Kubernetes; it is written into the pod override of each task."""
    run_as_user: PlaceName | None = None
    """The operating-system user that the worker changes to (sudo)."""
    refuse_elsewhere: bool = True
    """Refuse a DAG that names another place. False: its tasks are sent here all the same."""

    @property
    def carries_identity(self) -> bool:
        """Whether it names more than a pool."""
        return any(field != "pool" for field, _ in self.places)

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """What is said of where, as fields and values."""
        said = ((field, getattr(self, field)) for field in _PLACES)
        return tuple((field, value) for field, value in said if value is not None)


class Compartment(Strict):
    """A named trust boundary: which DAGs belong to it, its keys, its store, who else may pull."""

    name: Name
    """Lower case letters, digits and ``-``. It is a part of paths and contexts: a new name is a new compartment.
"""
    dags: Annotated[tuple[IdGlob, ...], a_list()] = ()
    """DAG ids that belong to it. Only the compartment of ``defaults`` may have none."""
    bundles: Annotated[tuple[BundleName, ...], a_list(min_length=1)] | None = None
    """The DAG bundles that those DAGs must come from; from elsewhere they are refused."""
    teams: Annotated[tuple[BundleName, ...], a_list(min_length=1)] | None = None
    """The Airflow teams that those bundles must belong to (Airflow 3.3 and later, with ``[core] multi_team``)."""
    key_uris: Annotated[tuple[Uri, ...], a_list(min_length=1, max_length=8)]
    """The wrapping keys, any of which opens. One for each compartment, or nothing keeps two apart."""
    store_uri: Uri
    """Where sealed payloads go."""
    former_store_uris: Annotated[tuple[Uri, ...], a_list(max_length=8)] = ()
    """Stores that are written to no longer, and that references still name."""
    readers: Annotated[tuple[Reader, ...], a_list()] = ()
    """Tasks of other compartments that may pull. Its own always may."""
    routes: Annotated[tuple[Route, ...], a_list(max_length=32)] = ()
    """Other stores and keys for some XComs."""
    exclusive: Annotated[tuple[KeyGlob, ...], a_list()] = ()
    """XCom keys that one task instance only may read."""
    exclusive_rerun: bool = True
    """Whether later attempts of that task instance may pull again: retries, and re-runs after it was cleared."""
    retention: Duration | None = None
    """Minutes, hours, days or weeks after the push: ``30d``. Then an XCom is refused."""
    retention_of: Annotated[tuple[KeyRetention, ...], a_list(max_length=32)] = ()
    """Other retentions for some keys; the first that names a key wins."""
    max_bytes: Bytes | None = None
    """The largest encoded value that may be pushed, in bytes, if that is less than ``[secure_xcom] max_bytes``."""
    mask_values: Literal["named", "all"] | None = None
    """Instead of ``[secure_xcom] mask_values``."""
    hide_return_values: bool | None = None
    """Instead of ``[secure_xcom] hide_return_values``."""
    tasks_run_on: RunOn | None = None
    """Where its tasks run; the cluster policy sends them there."""

    @property
    def retention_seconds(self) -> int | None:
        """How long an XCom is good for after its push, where no ``retention_of`` names its key."""
        return None if self.retention is None else seconds(self.retention)

    def lasts(self, key: str) -> int | None:
        """How many seconds an XCom with this key is good for after its push; None for ever."""
        for other in self.retention_of:
            if any(matches(glob, key) for glob in other.keys):
                return seconds(other.retention)
        return self.retention_seconds

    @property
    def longest_retention_seconds(self) -> int | None:
        """How long any XCom of it may be good for; None where some are for ever."""
        if self.retention is None:
            # Unless a glob takes every key, there are keys that no retention names.
            every = [entry for entry in self.retention_of if "*" in entry.keys]
            if not every:
                return None
            named = self.retention_of[: self.retention_of.index(every[0]) + 1]
            return max(seconds(entry.retention) for entry in named)
        return max(seconds(self.retention), *(seconds(entry.retention) for entry in self.retention_of), 0)

    def is_exclusive(self, key: str) -> bool:
        """Whether XComs with this key may be read by one task instance only."""
        return any(matches(glob, key) for glob in self.exclusive)

    @property
    def written_store_uris(self) -> tuple[str, ...]:
        """Every store that a push may write to: its own, then its routes'."""
        return tuple(dict.fromkeys((self.store_uri, *(route.store_uri for route in self.routes))))

    @property
    def all_key_uris(self) -> tuple[str, ...]:
        """Every key that may be asked to open: its own, then its routes'."""
        routed = (uri for route in self.routes for uri in route.key_uris or ())
        return tuple(dict.fromkeys((*self.key_uris, *routed)))

    @property
    def all_store_uris(self) -> tuple[str, ...]:
        """Every store that a reference of it may name: its own, its routes', its former ones."""
        return tuple(dict.fromkeys((*self.written_store_uris, *self.former_store_uris)))


class Defaults(Strict):
    """What holds where a compartment does not say."""

    compartment: Name | None = None
    """The compartment of DAGs that no compartment's ``dags`` takes. Without one they are refused."""
    retention: Duration | None = None
    """For compartments that do not say."""
    max_bytes: Bytes | None = None
    """For compartments that do not say."""
    mask_values: Literal["named", "all"] | None = None
    """For compartments that do not say."""
    hide_return_values: bool | None = None
    """For compartments that do not say."""


class OpenPlaces(Strict):
    """Places that every DAG may name, because nothing that they open is kept from anybody."""

    queue: Annotated[tuple[PlaceName, ...], a_list()] = ()
    """Queues, whose workers have no identity that matters."""
    executor: Annotated[tuple[PlaceName, ...], a_list()] = ()
    """Executors: alias, class name or module path, as in ``[core] executor``."""
    service_account: Annotated[tuple[DnsName, ...], a_list()] = ()
    """Service accounts of Kubernetes."""
    run_as_user: Annotated[tuple[PlaceName, ...], a_list()] = ()
    """Operating-system users."""

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Every open place, as fields and values."""
        return tuple((field, value) for field in type(self).model_fields for value in getattr(self, field))


class PolicyFile(Strict):
    """An access policy file."""

    version: Literal[1]
    """Of this format."""
    defaults: Defaults = Defaults()
    """What holds where a compartment does not say."""
    compartments: Annotated[tuple[Compartment, ...], a_list(min_length=1, max_length=100_000)]
    """In order: the first with a glob for a DAG's id takes it."""
    identities: Annotated[tuple[Identity, ...], a_list(max_length=100_000)] = ()
    """Which principals workers and people have; policies are compiled for these."""
    open_places: OpenPlaces = OpenPlaces()
    """Places that every DAG may name. Once the file gives anybody a place, every other one is closed."""
    alarms: Annotated[tuple[Alarm, ...], a_list(max_length=1000)] = ()
    """What is watched for in the access log, and who is told."""
    legal_holds: Annotated[tuple[LegalHold, ...], a_list()] = ()
    """What nothing of this product deletes while the hold stands."""
