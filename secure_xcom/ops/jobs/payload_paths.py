"""Parse the names of payloads in a store; nothing else is ever deleted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from urllib.parse import unquote

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import MAP_INDEX_MAX, Coordinate, path_segment
from secure_xcom.core.errors import CoordinateInvalid

# A UUIDv7 (RFC 9562, section 5.7).
_UNIQUE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
# The shape of `secure_xcom.core.coordinate.object_path`.
_PAYLOAD = re.compile(
    r"(?P<compartment>[^/]+)/(?P<dag>[^/]+)/(?P<run>[^/]+)/(?P<task>[^/]+)/(?P<index>-1|0|[1-9][0-9]{0,9})/"
    rf"(?P<unique>{_UNIQUE.pattern})"
)
# The file that a killed put of `secure_xcom.stores.files` leaves, which is listed after a day.
_STAGED = re.compile(
    r"(?P<compartment>[^/]+)/(?P<dag>[^/]+)/(?P<run>[^/]+)/(?P<task>[^/]+)/(?:-1|0|[1-9][0-9]{0,9})/"
    r"\.part~[0-9a-f]{16}"
)

# An id that was too long for a segment: see `secure_xcom.core.coordinate.path_segment`.
_CUT = re.compile(r"[A-Za-z0-9_.%-]{148,150}~[0-9a-f]{48}")


@dataclass(frozen=True, slots=True)
class PayloadPath:
    """The parts of a payload's path.

    :ivar made: when its push began, by the clock of the worker that pushed.
    """

    text: str
    dag: str
    run: str
    task: str
    map_index: int
    made: datetime

    @classmethod
    def parse(cls, path: str, compartment: str) -> PayloadPath | None:
        """Return the path of a payload of this compartment, or None for anything else."""
        form = _PAYLOAD.fullmatch(path)
        if form is None or not _is_of(form, compartment):
            return None
        return cls(path, form["dag"], form["run"], form["task"], int(form["index"]), made_at(form["unique"]))

    @property
    def task_instance(self) -> tuple[str, str, str, int] | None:
        """DAG id, run id, task id and map index; None where an id is too long to be told from its segment.

        None as well where no row can have this index: who puts objects can name them as they like.
        """
        ids = [_whole(segment) for segment in (self.dag, self.run, self.task)]
        if None in ids or self.map_index > MAP_INDEX_MAX:
            return None
        return str(ids[0]), str(ids[1]), str(ids[2]), self.map_index

    def held(self, policy: AccessPolicy) -> bool:
        """Return whether it may belong to a run under legal hold; an unknown id counts as held."""
        if not policy.legal_holds:
            return False
        dag, run = _whole(self.dag), _whole(self.run)
        return dag is None or run is None or policy.held(dag, run) is not None


def is_staged(path: str, compartment: str) -> bool:
    """Return whether a path is left over from a killed put."""
    form = _STAGED.fullmatch(path)
    return form is not None and _is_of(form, compartment)


def made_in(name: str) -> datetime | None:
    """Return when a payload was made whose path ends with this name in its task instance's folder, or None."""
    return made_at(name) if _UNIQUE.fullmatch(name) else None


def made_at(unique: str) -> datetime:
    """Return the time in a UUIDv7: its first 48 bits are milliseconds since 1970."""
    milliseconds = int(unique[:8] + unique[9:13], 16)
    try:
        return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        # A name from the year 10,000 or later is never old enough to be deleted.
        return datetime.max.replace(tzinfo=timezone.utc)


def _is_of(form: re.Match[str], compartment: str) -> bool:
    ids = form["dag"], form["run"], form["task"]
    return form["compartment"] == path_segment(compartment) and all(map(_is_ours, ids))


# A million payloads have few DAGs and tasks, and runs that follow each other.
@lru_cache(maxsize=4096)
def _is_ours(segment: str) -> bool:
    """Return whether Airflow can have the id of a segment: whoever puts objects can choose any name."""
    if "~" in segment:
        return _CUT.fullmatch(segment) is not None
    decoded = unquote(segment)
    try:
        return path_segment(Coordinate(decoded, decoded, decoded, -1, "k").dag_id) == segment
    except (CoordinateInvalid, UnicodeEncodeError):
        return False


def _whole(segment: str) -> str | None:
    """Return the id of a segment that was not cut: see `secure_xcom.core.coordinate.path_segment`."""
    return None if "~" in segment else unquote(segment)
