"""Deployments that several modules look at are run once per worker."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from secure_xcom.demo.local_airflow import LocalAirflow
from tests.e2e.deployment import Deployment
from tests.e2e.live import Lived, live

SEED = "the seed of this hunt"


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty metadata database, made once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    # Each worker of pytest-xdist has a folder of its own below one that they share.
    shared = folder.parent if folder.name.startswith("popen-") else folder
    database = shared / "migrated.db"
    with (shared / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            with LocalAirflow(shared / "migrated") as airflow:
                airflow.migrate()
                shutil.copy(airflow.database, database)
    return database


@pytest.fixture(scope="session")
def deployments() -> Iterator[Path]:
    """A folder for deployments, removed at the end: together they leave some hundred megabytes."""
    with tempfile.TemporaryDirectory(prefix="secure-xcom-e2e-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def lived(deployments: Path, migrated: Path) -> Callable[[str], Lived]:
    """Runs the DAGs with a backend, when it is first asked for."""

    @cache
    def run(backend: str) -> Lived:
        if (deployments / backend).exists():
            pytest.fail(f"the run with {backend} failed in a test before", pytrace=False)
        with Deployment(backend, deployments / backend, SEED, database=migrated) as deployment:
            return live(deployment)

    return run
