"""One side of a comparison: a process like a task's, with one XCom backend, which does as it is told.

It is told by lines of JSON on its standard input and answers each with a line of JSON. Nothing of secure_xcom is
imported on the other side.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obstore.store import ClientConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

STARTED = time.perf_counter()
COORDINATE = {"dag_id": "bench", "run_id": "manual__2026-01-01", "task_id": "produce"}


def value_of(kind: str, size: int) -> Any:
    """A value of about so many bytes."""
    from benchmarks import values

    if kind in values.KINDS:
        return values.value_of(kind, size)
    if kind == "frame":
        import numpy as np
        import pandas as pd

        rows, rng = size // 100, np.random.default_rng(0)
        columns: dict[str, Any] = {f"x{number}": rng.normal(size=rows) for number in range(8)}
        columns["id"] = rng.integers(0, 1 << 40, rows)
        columns["name"] = rng.integers(0, 10**6, rows).astype(str)
        return pd.DataFrame(columns)
    if kind == "bytes":
        return os.urandom(size)
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789 "
    if kind == "text":
        return "".join(draw.choices(letters, k=min(size, 1 << 20))) * max(1, size >> 20)
    return {
        "rows": [
            {"id": number, "name": "".join(draw.choices(letters, k=60)), "amount": draw.random()}
            for number in range(max(1, size // 110))
        ]
    }


class Row:
    """What a backend is given of a row in Airflow's database."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Raw:
    """The store's own client: bytes put and got as they are."""

    _client: Any = None

    @classmethod
    def client(cls) -> Any:
        """obstore's client of the bucket."""
        if cls._client is None:
            from obstore.store import S3Store

            place = json.loads(os.environ["BENCH_BUCKET"])
            options: ClientConfig = {"allow_http": True}
            if "authority" in place:
                options = {"root_certificate": Path(place["authority"]).read_bytes()}
            cls._client = S3Store(
                place["bucket"],
                endpoint=place["endpoint"],
                region=place["region"],
                access_key_id=place["login"],
                secret_access_key=place["password"],
                client_options=options,
            )
        return cls._client

    @classmethod
    def serialize_value(cls, value: bytes, **_: Any) -> str:
        """A put, in as many parts at once as ours."""
        path = f"raw/{os.urandom(8).hex()}"
        cls.client().put(path, value, chunk_size=8 << 20, max_concurrency=4)
        return path

    @classmethod
    def deserialize_value(cls, row: Row) -> bytes:
        """A get, in pieces as ours, joined."""
        return b"".join(map(bytes, cls.client().get(row.value).stream(min_chunk_size=4 << 20)))


class Supervisor:
    """Answers a task's question for all rows of a mapped task, as Airflow's supervisor does."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def send(self, **_: Any) -> Any:
        """The rows; nothing else is asked for here."""
        from airflow.sdk.execution_time.comms import XComSequenceSliceResult

        return XComSequenceSliceResult(root=self.rows)


def _backend(name: str) -> Any:
    """Import a backend."""
    if name == "ours":
        from secure_xcom import SecureXComBackend

        return SecureXComBackend
    if name == "obstore":
        return Raw
    if name == "object storage":
        from airflow.providers.common.io.xcom.backend import XComObjectStorageBackend

        return XComObjectStorageBackend
    from airflow.sdk.bases.xcom import BaseXCom

    return BaseXCom


class Side:
    """The backend, the value and the rows so far."""

    def __init__(self, backend: str) -> None:
        self.before = peak_mib()
        # A task process has it already.
        import airflow.sdk  # noqa: F401

        begun = time.perf_counter()
        self.backend = _backend(backend)
        self.imported = time.perf_counter() - begun
        self.value: Any = None
        self.rows: list[Any] = []

    def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do one command and say what it took."""
        answer = getattr(self, command.pop("do"))(**command)
        return answer if isinstance(answer, dict) else {"seconds": answer}

    def make(self, kind: str, size: int) -> dict[str, Any]:
        """The value that is pushed from now on."""
        self.value = None
        self.value = value_of(kind, size)
        return {"mib": peak_mib()}

    def push(self, count: int = 1, mapped: bool = False) -> dict[str, Any]:
        """Seconds of pushes, one after the other, and of processor time."""
        self.rows = []
        began = time.process_time()
        begun = time.perf_counter()
        sealed = [
            self.backend.serialize_value(
                # One key of many map indexes, or many keys of one task.
                self.value,
                key="k0" if mapped else f"k{number}",
                map_index=number if mapped else -1,
                **COORDINATE,
            )
            for number in range(count)
        ]
        took = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - began}
        # As the row comes back from the database.
        self.rows = [json.loads(json.dumps(row)) for row in sealed]
        return took

    def drop(self) -> dict[str, Any]:
        """Keep the row only, as the consumer's process has it."""
        self.value = None
        return {"row": self.rows[0]}

    def take(self, row: Any) -> dict[str, Any]:
        """Another process's row."""
        self.rows = [row]
        return {"mib": peak_mib()}

    def pull(self, keep: bool = False) -> dict[str, Any]:
        """Seconds of pulls, one after the other, and of processor time.

        :param keep: the last one is the value from now on.
        """
        began = time.process_time()
        begun = time.perf_counter()
        for row in self.rows:
            value = self.backend.deserialize_value(Row(row))
            if keep:
                self.value = value
            del value
        return {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - began}

    def digest(self) -> dict[str, Any]:
        """The SHA-256 of a value of bytes."""
        return {"sha256": hashlib.sha256(self.value).hexdigest()}

    def pull_all(self) -> float:
        """Seconds of a pull of all map indexes."""
        from airflow.sdk.execution_time import task_runner

        task_runner.SUPERVISOR_COMMS = Supervisor(self.rows)  # type: ignore[assignment]  # in its place
        begun = time.perf_counter()
        found = self.backend.get_all(key="k0", include_prior_dates=False, **COORDINATE)
        took = time.perf_counter() - begun
        if len(found) != len(self.rows):
            raise SystemExit("values are missing")
        return took

    def peak(self) -> dict[str, Any]:
        """The most memory so far, in MiB, and what this process had before it imported anything."""
        return {"mib": peak_mib(), "before": self.before}

    def ready(self) -> dict[str, Any]:
        """What the import of the backend took beyond that of Airflow."""
        return {"seconds": self.imported}


def peak_mib() -> float:
    """VmHWM, in MiB."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Do what each line says."""
    side = Side(sys.argv[1])
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        print(json.dumps(side.do(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
