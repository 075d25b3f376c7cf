"""Who may claim an exclusive XCom, and what is claimed."""

from __future__ import annotations

from dataclasses import dataclass, field

from secure_xcom.core.coordinate import CLAIMS, Coordinate, object_path, path_segment


@dataclass(frozen=True, slots=True)
class Claimant:
    """A task instance, of whichever try.

    :ivar clearing: Airflow's ``max_tries`` of the task instance; None where it is not known. Most clearings raise
        it and no retry does, but not all: docs/adr/0015.
    :ivar attempt: the UUID of the attempt, which every retry and every clearing changes, and no deferral; None
        where it is not known.
    :ivar iteration: the iteration of the loop that it is in: each is a task instance of its own. None outside of
        loops.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    clearing: int | None = field(default=None, compare=False)
    attempt: str | None = field(default=None, compare=False)
    iteration: int | None = None

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        looped = "" if self.iteration is None else f" iteration {self.iteration}"
        return f"{self.dag_id}/{self.run_id}/{self.task_id}{mapped}{looped}".encode("unicode_escape").decode()


@dataclass(frozen=True, slots=True)
class Target:
    """What is claimed: one push of an exclusive XCom. Another push of the same XCom is another target.

    :ivar store_uri: the store of its payload, and :ivar object: the payload's name in the head, which ends in a
        UUID of its own.
    """

    compartment: str
    coordinate: Coordinate
    store_uri: str
    object: str

    @property
    def unique(self) -> str:
        """Return the payload's UUID, 36 characters."""
        return self.object[-36:]

    @property
    def path(self) -> str:
        """Return the path under which a store keeps the claim."""
        return claim_path(self.compartment, self.coordinate, self.unique)


def claims_folder(compartment: str) -> str:
    """Return ``~claims/COMPARTMENT/``: where a store keeps the claims on a compartment's exclusive XComs.

    Beside the payloads' folders and not in them: a grant on payloads, to delete them say, is none on claims.
    """
    return f"{CLAIMS}/{path_segment(compartment)}/"


def claim_path(compartment: str, coordinate: Coordinate, unique: str) -> str:
    """Return where a store keeps the claim on a payload: as `object_path`, in the folder of claims.

    :param unique: the payload's own.
    """
    return claims_folder(compartment) + object_path(compartment, coordinate, unique).partition("/")[2]
