"""Where an XCom lives, what its wrap is bound to, and where its payload lies."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from secure_xcom.core.canonical_json import canonical_json
from secure_xcom.core.errors import CoordinateInvalid, CoordinateMismatch

if TYPE_CHECKING:
    from secure_xcom.core.attempt import Attempt

# Airflow's own column widths: models/base.py ID_LEN and models/xcom.py key.
ID_MAX_CHARACTERS = 250
KEY_MAX_CHARACTERS = 512
MAP_INDEX_MAX = 2**31 - 1
"""Airflow's column is an INTEGER (models/xcom.py), which PostgreSQL and MySQL keep in four bytes: a database must
not be asked for a larger one."""

# Ten digits, as docs/reference/format.md has it.
_INDEX_MAX = 9_999_999_999

# File systems and SeaweedFS take 255 bytes in one path segment, S3 takes 1,024 in a key. Three id segments of
# at most 200 bytes leave over 300 bytes for the store's prefix, so no path depends on how long the others are
# and a policy can be scoped by the DAG's segment alone.
SEGMENT_MAX_BYTES = 200
_HASHED_HEAD_BYTES = 150
# Most ids: nothing in them is encoded or cut.
_PLAIN_SEGMENT = re.compile(rf"(?!\.+\Z)[A-Za-z0-9_.\-]{{1,{SEGMENT_MAX_BYTES}}}")

# A store URI's connection.
_CONNECTION = re.compile(r"(?<=://)[^/@]*@")

# NUL and lone surrogates cannot be stored by PostgreSQL or encoded as UTF-8.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Coordinate:
    """Where an XCom lives, by name: the primary key of its row up to Airflow 3.3.

    :ivar attempt: which of the producers of this coordinate, where Airflow says so. It is no part of the
        coordinate's equality, of paths and of the encryption context, which older releases made without it.
    :raises CoordinateInvalid: an id is empty, over-long, or cannot be stored as UTF-8 text.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    key: str
    attempt: Attempt | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("dag_id", "run_id", "task_id", "key"):
            value: object = getattr(self, name)
            limit = KEY_MAX_CHARACTERS if name == "key" else ID_MAX_CHARACTERS
            if not isinstance(value, str) or not value:
                what = f"{name} must be a non-empty string"
            elif len(value) > limit:
                what = f"{name} has {len(value)} characters, Airflow stores at most {limit}"
            elif _UNSTORABLE.search(value):
                what = f"{name} has a NUL or a lone surrogate, which cannot be stored"
            else:
                continue
            raise CoordinateInvalid(what, where=f"{name}={value!r:.80}")
        index: object = self.map_index
        if isinstance(index, bool) or not isinstance(index, int) or not -1 <= index <= _INDEX_MAX:
            # A number may have more digits than Python prints.
            where = f"map_index={index!r:.80}" if isinstance(index, str | float | bool) else type(index).__name__
            raise CoordinateInvalid("map_index must be a whole number from -1 of at most ten digits", where=where)

    @property
    def iteration(self) -> int | None:
        """Return the iteration of the loop that pushed; None outside of a loop, and where nobody says."""
        if self.attempt is None or self.attempt.iteration is not None:
            return None if self.attempt is None else self.attempt.iteration
        # The region of a task that is not mapped is its loop: Airflow's models/task_coordinates.py,
        # public_map_index_expression.
        return self.attempt.region_index if self.map_index < 0 else None

    @property
    def of_task(self) -> tuple[str, str, str]:
        """Return the DAG, the run and the task."""
        return self.dag_id, self.run_id, self.task_id

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        # repr keeps a newline or an escape sequence in an id from forging a line of the log.
        return f"{self.dag_id}/{self.run_id}/{self.task_id}{mapped}:{self.key}".encode("unicode_escape").decode()


def encryption_context(compartment: str, coordinate: Coordinate) -> dict[str, str]:
    """Return what a wrap is bound to and the key service's policy and log show: ids only, never values.

    The XCom's key is not part of it, because one data key serves all XComs of a task instance try.
    """
    return {
        "compartment": compartment,
        "dag_id": coordinate.dag_id,
        "task_id": coordinate.task_id,
        "run_id": coordinate.run_id,
        "map_index": str(coordinate.map_index),
    }


def context_bytes(context: Mapping[str, str]) -> bytes:
    """Return the encryption context as canonical JSON (RFC 8785), for services that bind bytes."""
    return canonical_json(context)


def path_segment(text: str) -> str:
    """Return one path segment for an id, the same on every store, injective.

    Percent-encoded (RFC 3986) but for ``A-Z a-z 0-9 _ - .``; an id of dots only is encoded whole, so that no
    store or tool takes it for a parent folder. Over 200 bytes it is cut and ends in ``~`` and a SHA-256: since
    ``~`` is always encoded elsewhere, a cut segment never equals a whole one.
    """
    if _PLAIN_SEGMENT.fullmatch(text):
        return text
    encoded = quote(text, safe="").replace("~", "%7E")
    if not encoded.strip("."):
        encoded = encoded.replace(".", "%2E")
    if len(encoded) <= SEGMENT_MAX_BYTES:
        return encoded
    digest = hashlib.sha256(text.encode()).hexdigest()[:48]
    # An escape cut in two would not decode, so the cut moves before it.
    head = re.sub(r"%[0-9A-F]?$", "", encoded[:_HASHED_HEAD_BYTES])
    return f"{head}~{digest}"


def object_path(compartment: str, coordinate: Coordinate, unique: str) -> str:
    """Return ``COMPARTMENT/DAG_ID/RUN_ID/TASK_ID/MAP_INDEX/UUID``: below the store's prefix.

    The compartment and the DAG come first because IAM policies are scoped by prefix.

    :param unique: a UUIDv7, new for each payload, so that no path is ever used twice.
    """
    folder = task_folder(*coordinate.of_task)
    return f"{path_segment(compartment)}/{folder}/{coordinate.map_index}/{unique}"


def task_folder(dag_id: str, run_id: str, task_id: str) -> str:
    """Return the part of `object_path` that all payloads of a task in a run share."""
    return "/".join(map(path_segment, (dag_id, run_id, task_id)))


def object_uri(store_uri: str, path: str) -> str:
    """Return the head's name of an object: the store URI without what may change, and the path.

    A deployment may rename the connection that leads to a bucket (``s3://CONN_ID@...``) and change a store's
    options; the objects stay where they are.
    """
    place = _CONNECTION.sub("", store_uri.partition("?")[0], count=1).rstrip("/")
    return f"{place}/{path}"


CLAIMS = "~claims"
"""The folder of all claims in a store: no compartment's segment begins with a tilde."""


@dataclass(frozen=True, slots=True)
class TaskTry:
    """One try of a task instance: who pushes or pulls, as Airflow's context tells it.

    Defense in depth: the process says so itself.

    :ivar bundle: the DAG bundle that the scheduler told this process to load the DAG from, and
    :ivar team: the team that the API server says it belongs to; None where Airflow says none.
    :ivar attempt: the UUID of the task instance, which every try changes, and
    :ivar iteration: the iteration of the loop that it is in; None where Airflow says none, as before 3.4.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    bundle: str | None = None
    team: str | None = None
    attempt: str | None = field(default=None, compare=False)
    iteration: int | None = field(default=None, compare=False)

    def same_task(self, other: TaskTry) -> bool:
        """Check that it is the same try of the same task, of whichever map index."""
        if None not in (self.iteration, other.iteration) and self.iteration != other.iteration:
            return False
        return (self.dag_id, self.run_id, self.task_id, self.try_number) == (
            other.dag_id,
            other.run_id,
            other.task_id,
            other.try_number,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asked Airflow's database for; None where the answer may differ (a prior run, any index).

    :ivar attempt: the UUID of the task instance that pushed, where it is the one that asks.
    :ivar iteration: the iteration of the loop that pushed, where the question reaches one only.
    :ivar every_iteration: whether the answer holds the XComs of all iterations of a loop, in their order.
    """

    dag_id: str
    task_id: str
    key: str
    run_id: str | None = None
    map_index: int | None = None
    map_index_from: int = -1
    attempt: str | None = None
    iteration: int | None = None
    every_iteration: bool = False

    def __str__(self) -> str:
        mapped = "" if self.map_index is None else f"[{self.map_index}]"
        text = f"{self.dag_id}/{self.run_id or '*'}/{self.task_id}{mapped}:{self.key}"
        return text.encode("unicode_escape").decode()

    def check(self, coordinate: Coordinate) -> None:
        """Check that a reference is the one that was asked for.

        :param coordinate: the reference's own.
        :raises CoordinateMismatch: names the first field that differs.
        :raises AttemptMismatch: see `Attempt.check`.
        """
        for name in ("dag_id", "run_id", "task_id", "map_index", "key"):
            wanted, given = getattr(self, name), getattr(coordinate, name)
            if wanted is not None and wanted != given:
                raise CoordinateMismatch(
                    f"the reference belongs to another {name}: it was moved, copied or replayed",
                    where=f"asked for {name}={wanted!r:.80}, found {coordinate}",
                )
        if coordinate.map_index < self.map_index_from:
            raise CoordinateMismatch(
                "the reference belongs to another map_index: it was moved, copied or replayed",
                where=f"asked for map_index>={self.map_index_from}, found {coordinate}",
            )
        if coordinate.attempt is not None:
            coordinate.attempt.check(self, coordinate)
