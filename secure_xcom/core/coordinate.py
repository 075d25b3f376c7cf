"""Where an XCom lives, what its wrap is bound to, and where its payload lies."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID

import msgspec

from secure_xcom.core.errors import CoordinateInvalid, CoordinateMismatch

# Airflow's own column widths: models/base.py ID_LEN and models/xcom.py key.
ID_MAX_CHARACTERS = 250
KEY_MAX_CHARACTERS = 512
MAP_INDEX_MAX = 2**31 - 1
"""Airflow's column is an INTEGER (models/xcom.py), which PostgreSQL and MySQL keep in four bytes: a database must
not be asked for a larger one."""

# Ten digits, as docs/spec.md has it.
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

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NO_REGION = str(UUID(int=0))


@dataclass(frozen=True, slots=True)
class Attempt:
    """Tell apart producers of one coordinate: tries of a task, and iterations of a loop. From Airflow 3.4 on.

    None where Airflow does not say: before 3.4, and where a task writes another task's XCom.

    :ivar task_instance_id: the UUID of the task instance, which a retry, a clearing and an iteration change.
    :ivar region_id: the UUID of the region that the task instance is in: a loop, or a mapped task's instances;
        None outside of regions.
    :ivar region_index: its place in that region: the iteration, or the map index.
    :raises CoordinateInvalid: an id is not a UUID in its canonical form, or a region comes without a place in it.
    """

    task_instance_id: str | None = None
    region_id: str | None = None
    region_index: int | None = None

    def __post_init__(self) -> None:
        for name in ("task_instance_id", "region_id"):
            value: object = getattr(self, name)
            if value is not None and not (isinstance(value, str) and _UUID.fullmatch(value)):
                raise CoordinateInvalid(
                    f"{name} must be a UUID in lower case with dashes", where=f"{name}={value!r:.80}"
                )
        index: object = self.region_index
        if index is not None and (
            isinstance(index, bool) or not isinstance(index, int) or not 0 <= index <= MAP_INDEX_MAX
        ):
            where = (
                f"region_index={index!r:.80}" if isinstance(index, str | float | bool) else type(index).__name__
            )
            raise CoordinateInvalid("region_index must be a whole number from 0 of four bytes", where=where)
        if (self.region_id is None) != (index is None):
            raise CoordinateInvalid("region_id and region_index are known together or not at all", where=str(self))

    @classmethod
    def of(
        cls, task_instance_id: UUID | str | None, region_id: UUID | str | None, region_index: int | None
    ) -> Attempt | None:
        """Return the attempt that Airflow's objects describe; None where they say nothing.

        :raises CoordinateInvalid: an id is not a UUID.
        """
        ids = [None if text is None else str(text) for text in (task_instance_id, region_id)]
        # Airflow's region of all zeros is the DAG run itself: outside of any loop and mapping.
        if ids[1] is None or ids[1] == _NO_REGION:
            ids[1], region_index = None, None
        return None if ids == [None, None] else cls(ids[0], ids[1], region_index)

    def __str__(self) -> str:
        place = "" if self.region_id is None else f", {self.region_index} of region {self.region_id}"
        return f"attempt {self.task_instance_id or 'unknown'}{place}"


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
                raise CoordinateInvalid(f"{name} must be a non-empty string", where=f"{name}={value!r:.80}")
            if len(value) > limit:
                raise CoordinateInvalid(
                    f"{name} has {len(value)} characters, Airflow stores {limit}", where=f"{name}={value!r:.80}"
                )
            if _UNSTORABLE.search(value):
                raise CoordinateInvalid(
                    f"{name} has a NUL or a lone surrogate, which cannot be stored", where=f"{name}={value!r:.80}"
                )
        index: object = self.map_index
        if isinstance(index, bool) or not isinstance(index, int) or not -1 <= index <= _INDEX_MAX:
            # A number may have more digits than Python prints.
            where = f"map_index={index!r:.80}" if isinstance(index, str | float | bool) else type(index).__name__
            raise CoordinateInvalid("map_index must be a whole number from -1 of at most ten digits", where=where)

    @property
    def of_task(self) -> tuple[str, str, str]:
        """The DAG, the run and the task."""
        return self.dag_id, self.run_id, self.task_id

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        # repr keeps a newline or an escape sequence in an id from forging a line of the log.
        return f"{self.dag_id}/{self.run_id}/{self.task_id}{mapped}:{self.key}".encode("unicode_escape").decode()


def encryption_context(compartment: str, coordinate: Coordinate) -> dict[str, str]:
    """What a wrap is bound to and what the key service's policy and log show: ids only, never values.

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
    """The encryption context as canonical JSON (RFC 8785), for services that bind bytes."""
    return canonical_json(context)


_FAST = msgspec.json.Encoder(order="sorted")
_ANY_STR = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(record: Mapping[str, Any]) -> bytes:
    """A record as canonical JSON (RFC 8785).

    Ours hold text, whole numbers, booleans, lists and objects. For these msgspec writes what the RFC asks for,
    sixty times faster than the library `rfc8785`; tests hold them together. A newline is always escaped, so no id
    can break or forge a line.

    :raises UnicodeEncodeError: a text holds a lone surrogate.
    """
    try:
        data = _FAST.encode(record)
    except TypeError:
        # An id of a subclass of str, as enumerations are, is written as the text that it is.
        data = _ANY_STR.encode(record).encode()
    if not data.isascii() and max(data.decode()) >= "\ue000":
        # Beyond here the order of code points is not that of UTF-16's units, by which the RFC sorts names.
        data = _AS_IT_STANDS.encode(_by_utf_16(record)).encode()
    return data


_AS_IT_STANDS = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _by_utf_16(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _by_utf_16(value[name]) for name in sorted(value, key=lambda name: name.encode("utf-16-be"))}
    return [_by_utf_16(item) for item in value] if isinstance(value, list) else value


def path_segment(text: str) -> str:
    """One path segment for an id, the same on every store, injective.

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
    """``COMPARTMENT/DAG_ID/RUN_ID/TASK_ID/MAP_INDEX/UUID``: below the store's prefix.

    The compartment and the DAG come first because IAM policies are scoped by prefix.

    :param unique: a UUIDv7, new for each payload, so that no path is ever used twice.
    """
    return "/".join(
        (
            path_segment(compartment),
            path_segment(coordinate.dag_id),
            path_segment(coordinate.run_id),
            path_segment(coordinate.task_id),
            str(coordinate.map_index),
            unique,
        )
    )


def object_uri(store_uri: str, path: str) -> str:
    """The head's name of an object: the store URI without what may change, and the path.

    A deployment may rename the connection that leads to a bucket (``s3://CONN_ID@...``) and change a store's
    options; the objects stay where they are.
    """
    place = _CONNECTION.sub("", store_uri.partition("?")[0], count=1).rstrip("/")
    return f"{place}/{path}"


CLAIMS = "~claims"
"""The folder of all claims in a store: no compartment's segment begins with a tilde."""


def claims_folder(compartment: str) -> str:
    """``~claims/COMPARTMENT/``: where a store keeps the claims on a compartment's exclusive XComs.

    Beside the payloads' folders and not in them: a grant on payloads, to delete them say, is none on claims.
    """
    return f"{CLAIMS}/{path_segment(compartment)}/"


def claim_path(compartment: str, coordinate: Coordinate, unique: str) -> str:
    """Where a store keeps the claim on a payload: as `object_path`, in the folder of claims.

    :param unique: the payload's own.
    """
    return claims_folder(compartment) + object_path(compartment, coordinate, unique).partition("/")[2]


@dataclass(frozen=True, slots=True)
class TaskTry:
    """One try of a task instance: who pushes or pulls, as Airflow's context tells it.

    Defence in depth: the process says so itself.

    :ivar bundle: the DAG bundle that the scheduler told this process to load the DAG from, and
    :ivar team: the team that the API server says it belongs to; None where Airflow says none.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    bundle: str | None = None
    team: str | None = None

    def same_task(self, other: TaskTry) -> bool:
        """Whether it is the same try of the same task, of whichever map index."""
        return (self.dag_id, self.run_id, self.task_id, self.try_number) == (
            other.dag_id,
            other.run_id,
            other.task_id,
            other.try_number,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asked Airflow's database for; None where the answer may differ (a prior run, any index)."""

    dag_id: str
    task_id: str
    key: str
    run_id: str | None = None
    map_index: int | None = None
    map_index_from: int = -1

    def __str__(self) -> str:
        mapped = "" if self.map_index is None else f"[{self.map_index}]"
        text = f"{self.dag_id}/{self.run_id or '*'}/{self.task_id}{mapped}:{self.key}"
        return text.encode("unicode_escape").decode()

    def check(self, found: Coordinate) -> None:
        """Hold the reference that came back against the question.

        :raises CoordinateMismatch: names the first field that differs.
        """
        for name in ("dag_id", "run_id", "task_id", "map_index", "key"):
            wanted, given = getattr(self, name), getattr(found, name)
            if wanted is not None and wanted != given:
                raise CoordinateMismatch(
                    f"the reference belongs to another {name}: it was moved, copied or replayed",
                    where=f"asked for {name}={wanted!r:.80}, found {found}",
                )
        if found.map_index < self.map_index_from:
            raise CoordinateMismatch(
                "the reference belongs to another map_index: it was moved, copied or replayed",
                where=f"asked for map_index>={self.map_index_from}, found {found}",
            )
