"""A compartment: its DAGs, keys and stores, its readers and viewers, and the rules for its XComs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from secure_xcom.core.access_policy.field_types import (
    BundleName,
    DnsName,
    Duration,
    Executor,
    GroupName,
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
from secure_xcom.core.access_policy.globs import any_matches

Bytes = Annotated[int, Field(ge=1, le=1 << 40)]


class Reader(Strict):
    """Tasks of other compartments that may pull. Every given field must match; an omitted field matches all."""

    compartment: Name | None = None
    """The consumer's DAG belongs to this compartment."""
    dags: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """The consumer's DAG is one of these."""
    tasks: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """The consumer's task is one of these."""
    of_dags: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """Only XComs that these DAGs of this compartment pushed."""
    of_tasks: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """Only XComs that these tasks of this compartment pushed."""


class Viewer(Strict):
    """People who may have values revealed to them (docs/how-to/reveal-a-value.md). Each given field must match."""

    group: GroupName
    """A group of the identity provider, exactly as the provider writes it."""
    dags: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """Only XComs that these DAGs of this compartment pushed. Services see digests and have no globs, so a glob is
    compiled to the ids known then."""
    tasks: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] = ("*",)
    """Only XComs that these tasks of those DAGs pushed."""


class Route(Strict):
    """Another store, and optionally other keys, for some XComs of a compartment. The first matching route wins."""

    keys: Annotated[tuple[KeyGlob, ...], a_list(min_length=1)] | None = None
    """XComs with these keys."""
    sensitive: Literal[True] | None = None
    """XComs whose key is a sensitive name, or whose value has a sensitive name in it."""
    store_uri: Uri
    """The store of their payloads."""
    key_uris: Annotated[tuple[Uri, ...], a_list(min_length=1, max_length=8)] | None = None
    """The keys that wrap their data keys, instead of the compartment's own keys."""

    def takes(self, key: str, *, sensitive: bool) -> bool:
        """Check whether the route is for an XCom."""
        by_key = self.keys is not None and any_matches(self.keys, key)
        return by_key or (self.sensitive is True and sensitive)


class KeyRetention(Strict):
    """The retention of XComs with some keys, instead of the compartment's retention."""

    keys: Annotated[tuple[KeyGlob, ...], a_list(min_length=1)]
    """XComs with these keys."""
    retention: Duration
    """Minutes, hours, days or weeks after the push, such as ``30d``."""


_PLACES = ("queue", "pool", "executor", "service_account", "run_as_user")


class RunOn(Strict):
    """The places where the tasks of a compartment run. They carry the identity that opens its keys."""

    queue: Queue | None = None
    """A queue of Celery, or of another executor with queues."""
    pool: Pool | None = None
    """A pool. It counts slots and does not decide which worker runs a task."""
    executor: Executor | None = None
    """One of the executors in ``[core] executor``."""
    service_account: DnsName | None = None
    """A Kubernetes service account. It is written into the pod override of each task."""
    run_as_user: PlaceName | None = None
    """The operating-system user that the worker changes to (sudo)."""
    refuse_elsewhere: bool = True
    """Refuse a DAG that names another place. If false, its tasks are sent here anyway."""

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """All places, as fields and values."""
        named = ((field, getattr(self, field)) for field in _PLACES)
        return tuple((field, value) for field, value in named if value is not None)


class Compartment(Strict):
    """A named trust boundary: its DAGs, its keys, its store, and who else may pull."""

    name: Name
    """Lower case letters, digits and ``-``. It is part of paths and contexts: a new name is a new compartment."""
    dags: Annotated[tuple[IdGlob, ...], a_list()] = ()
    """The ids of its DAGs, or globs. Only the compartment of ``defaults`` may have none."""
    bundles: Annotated[tuple[BundleName, ...], a_list(min_length=1)] | None = None
    """The DAG bundles that those DAGs must come from. DAGs from other bundles are refused."""
    teams: Annotated[tuple[BundleName, ...], a_list(min_length=1)] | None = None
    """The Airflow teams that those bundles must belong to (Airflow 3.3 and later, with ``[core] multi_team``)."""
    key_uris: Annotated[tuple[Uri, ...], a_list(min_length=1, max_length=8)]
    """The wrapping keys, each of which opens. Give each compartment its own, or they are not separated."""
    store_uri: Uri
    """The store of sealed payloads."""
    former_store_uris: Annotated[tuple[Uri, ...], a_list(max_length=8)] = ()
    """Stores that are no longer written to, but that references still name."""
    readers: Annotated[tuple[Reader, ...], a_list()] = ()
    """Tasks of other compartments that may pull. Its own tasks always may."""
    viewers: Annotated[tuple[Viewer, ...], a_list(max_length=1000)] = ()
    """Groups of people who may see its values in ``secure-xcom reveal``. Needs ``reveal`` at the top."""
    routes: Annotated[tuple[Route, ...], a_list(max_length=32)] = ()
    """Other stores and keys for some XComs."""
    exclusive: Annotated[tuple[KeyGlob, ...], a_list()] = ()
    """XCom keys, or globs, that only one task instance may read."""
    exclusive_rerun: bool = True
    """Allow later attempts of that task instance to pull again: retries, and re-runs after it was cleared."""
    retention: Duration | None = None
    """Minutes, hours, days or weeks after the push, such as ``30d``. After that, an XCom is refused."""
    retention_of: Annotated[tuple[KeyRetention, ...], a_list(max_length=32)] = ()
    """Other retentions for some keys. The first entry that matches a key wins."""
    archived_retention: Duration | None = None
    """How long XComs of archived attempts (Airflow 3.4: tries before a retry or a clearing) are kept after the end
    of their DAG run, unless ``retention`` ends earlier. By default they are deleted once the run has ended, as
    exclusive ones always are."""
    max_bytes: Bytes | None = None
    """The largest encoded value that may be pushed, in bytes, if it is less than ``[secure_xcom] max_bytes``."""
    mask_values: Literal["named", "all", "none"] | None = None
    """Instead of ``[secure_xcom] mask_values``."""
    hide_return_values: bool | None = None
    """Instead of ``[secure_xcom] hide_return_values``."""
    tasks_run_on: RunOn | None = None
    """The places where its tasks run. The cluster policy sends them there."""

    @property
    def retention_seconds(self) -> int | None:
        """The lifetime of an XCom after its push, if no ``retention_of`` matches its key. None for unlimited."""
        return None if self.retention is None else seconds(self.retention)

    def lasts(self, key: str) -> int | None:
        """Return the lifetime of an XCom with this key after its push, in seconds. None for unlimited."""
        for entry in self.retention_of:
            if any_matches(entry.keys, key):
                return seconds(entry.retention)
        return self.retention_seconds

    def is_exclusive(self, key: str) -> bool:
        """Check whether only one task instance may read XComs with this key."""
        return any_matches(self.exclusive, key)

    @property
    def written_store_uris(self) -> tuple[str, ...]:
        """All stores that a push may write to: its own, then those of its routes."""
        return tuple(dict.fromkeys((self.store_uri, *(route.store_uri for route in self.routes))))

    @property
    def all_key_uris(self) -> tuple[str, ...]:
        """All keys that may be asked to open: its own, then those of its routes."""
        routed = (uri for route in self.routes for uri in route.key_uris or ())
        return tuple(dict.fromkeys((*self.key_uris, *routed)))

    @property
    def all_store_uris(self) -> tuple[str, ...]:
        """All stores that its references may name: its own, those of its routes, its former ones."""
        return tuple(dict.fromkeys((*self.written_store_uris, *self.former_store_uris)))
