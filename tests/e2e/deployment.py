"""A deployment of these tests: a throwaway Airflow with one of three backends, and what its tasks noted."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.keyring import create_keyring
from tests.e2e.hunt import Hunt, canary
from tests.e2e.xcom_rows import select_task_instances, select_xcoms

REPOSITORY = Path(__file__).parents[2]
DAGS = Path(__file__).parent / "dags"

OURS, STOCK, OBJECTS = "secure_xcom", "stock", "XComObjectStorageBackend"


def backend_settings(backend: str, folder: Path) -> dict[str, str]:
    """The settings that choose a backend and its places, all below the deployment's folder."""
    if backend == OURS:
        return {
            "core.xcom_backend": "secure_xcom.SecureXComBackend",
            "secure_xcom.key_uris": f"local://{folder}/keys/keyring.json",
            "secure_xcom.store_uri": f"file://{folder}/store",
            "secure_xcom.audit_sinks": f"file://{folder}/audit/access-log.jsonl",
            "secure_xcom.mask_values": "all",
            # The hunt follows a value that is written by REST, which the API server refuses by default.
            "secure_xcom.refuse_rest_writes": "False",
        }
    if backend == OBJECTS:
        return {
            "core.xcom_backend": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
            "common.io.xcom_objectstorage_path": f"file://{folder}/store",
            "common.io.xcom_objectstorage_threshold": "0",
        }
    return {}


@dataclass
class Notes:
    """What tasks noted: what they got, what they said, and whose canaries were used."""

    got: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    said: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    canaries: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, file: Path) -> Notes:
        """Read the lines that `tests.e2e.dags.kit` wrote."""
        notes = cls()
        for line in file.read_text().splitlines() if file.exists() else ():
            record = json.loads(line)
            if "got" in record:
                notes.got[record["got"]].append((record["type"], record["digest"]))
            elif "said" in record:
                notes.said[record["said"]].append(record["text"])
            elif "canary" in record:
                notes.canaries.add(record["canary"])
            else:
                notes.numbers.add(record["number"])
        return notes


class Deployment:
    """A throwaway Airflow below ``folder/airflow``; what must not be hunted lies beside it.

    :param database: a migrated database to begin with, because migrating takes seconds.
    """

    def __init__(
        self,
        backend: str,
        folder: Path,
        seed: str,
        *,
        dags: Path = DAGS,
        settings: Mapping[str, str] | None = None,
        database: Path | None = None,
    ) -> None:
        self.backend = backend
        self.seed = seed
        self.root = folder / "airflow"
        self._notes = folder / "notes.jsonl"
        self._database = database
        self.airflow = LocalAirflow(
            self.root,
            {
                **backend_settings(backend, self.root),
                # So that a task's classes come back; the same for all backends.
                "core.allowed_deserialization_classes": "airflow.* tests.e2e.*",
                # Airflow waits this long in vain now and then for a task's process that has ended already.
                "workers.min_heartbeat_interval": "1",
                "scheduler.scheduler_idle_sleep_time": "0.2",
                "core.parallelism": "3",
                # Without a Fernet key Airflow keeps the arguments of triggers as they are, and says so.
                "core.fernet_key": "",
                **(settings or {}),
            },
            dags,
            environment={
                "SECURE_XCOM_E2E_SEED": seed,
                "SECURE_XCOM_E2E_NOTES": str(self._notes),
                "SECURE_XCOM_E2E_ROOT": str(self.root),
                "PYTHONPATH": str(REPOSITORY),
                # What a task leaves in the folder for temporary files is hunted as well.
                "TMPDIR": str(self.root / "tmp"),
            },
            triggerer=True,
        )

    def __enter__(self) -> Deployment:  # noqa: PYI034  # Self needs Python 3.11
        for needed in ("tmp", "keys", "store", "audit"):
            (self.root / needed).mkdir(mode=0o700, parents=True)
        if self.backend == OURS:
            # The second one is broken by tests/e2e/dags/faults.py.
            for name in ("keyring", "faults"):
                create_keyring(str(self.root / "keys" / f"{name}.json"))
        self.airflow.__enter__()
        if self._database:
            shutil.copy(self._database, self.airflow.database)
        else:
            self.airflow.migrate()
        return self

    def __exit__(self, *error: object) -> None:
        self.airflow.stop()

    def secret(self, path: str) -> str:
        """The canary of a path that is taken from outside, noted like those of tasks."""
        with self._notes.open("a") as notes:
            notes.write(json.dumps({"canary": path}) + "\n")
        return canary(self.seed, path)

    def notes(self) -> Notes:
        """What the tasks noted until now."""
        return Notes.read(self._notes)

    def rows(self) -> list[tuple[Any, ...]]:
        """The coordinates of all XComs."""
        return self.airflow.sql(select_xcoms("dag_id, run_id, task_id, map_index, key", "ORDER BY 1, 2, 3, 4, 5"))

    def states(self) -> list[tuple[Any, ...]]:
        """The state of every task instance of every run, and how many tries it took."""
        columns = "dag_id, run_id, task_id, map_index, state, try_number"
        return self.airflow.sql(select_task_instances(columns, "ORDER BY 1, 2, 3, 4"))

    def runs(self) -> list[tuple[Any, ...]]:
        """The state of every run."""
        return self.airflow.sql("SELECT dag_id, run_id, state FROM dag_run ORDER BY 1, 2")

    def hunt(self) -> Hunt:
        """Search every byte below the deployment's folder for every canary that was used."""
        notes = self.notes()
        hunt = Hunt(self.seed, notes.canaries, notes.numbers)
        hunt.search_database(self.airflow.database)
        for place, files in self._files():
            hunt.search_files(self.root, files, place)
        return hunt

    def _files(self) -> Iterator[tuple[str, list[Path]]]:
        places: dict[str, list[Path]] = defaultdict(list)
        for file in sorted(self.root.rglob("*")):
            if file.is_file():
                places[self._place(file)].append(file)
        yield from places.items()

    def _place(self, file: Path) -> str:
        first = file.relative_to(self.root).parts[0]
        if first.startswith(self.airflow.database.name):
            return "database file"
        if first == "logs":
            below = file.relative_to(self.root).parts[1]
            return "task log" if below.startswith("dag_id=") else f"log {below}"
        if first == "output":
            return f"output of the {file.stem}"
        return f"folder {first}"
