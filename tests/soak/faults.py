"""The faults of the soak: each is begun and ended, so that it lasts as long as the schedule says."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import psutil

from tests.e2e.celery_worker import kill_family
from tests.e2e.distributed import COMPONENTS, TEAMS, Distributed
from tests.support.servers.faulty_proxy import Fault as ProxyFault

# Clocks of a deployment may differ by this much (`audit reconcile --skew`).
CLOCK_SECONDS = 45
LOG_DISK_BYTES = 64 << 20


class Server(Protocol):
    """What can be stopped in the middle of its work, and started again with all that it has taken."""

    def stop(self) -> None:
        """Stop it."""

    def start(self) -> None:
        """Start it again at the same address."""


Fault = Callable[[Distributed, random.Random], AbstractContextManager[None]]


@contextmanager
def _worker_killed(team: str, site: Distributed, _: random.Random) -> Iterator[None]:
    site.workers[team].kill()
    try:
        yield
    finally:
        site.workers[team].start()
        site.workers[team].wait_ready()


@contextmanager
def _task_killed(team: str, site: Distributed, rng: random.Random) -> Iterator[None]:
    """Kill one process below a worker: a task, its supervisor, or one of Celery's pool."""
    process = site.workers[team].process
    below = psutil.Process(process.pid).children(recursive=True) if process else []
    if below:
        kill_family(rng.choice(below).pid)
    yield


@contextmanager
def _component_killed(name: str, site: Distributed, _: random.Random) -> Iterator[None]:
    """Kill it; the soak starts again what has ended."""
    kill_family(site.process(name).pid)
    yield


@contextmanager
def _vault_sealed(site: Distributed, _: random.Random) -> Iterator[None]:
    site.behind().vault.seal()
    try:
        yield
    finally:
        site.behind().vault.unseal()


@contextmanager
def _vault_killed(site: Distributed, _: random.Random) -> Iterator[None]:
    vault = site.behind().vault
    vault.kill()
    try:
        yield
    finally:
        vault.start()
        vault.unseal()


@contextmanager
def _vault_steps_down(site: Distributed, _: random.Random) -> Iterator[None]:
    """Make the active node a standby, which it is until it has been elected again."""
    site.behind().vault.do("PUT", "sys/step-down")
    yield
    site.behind().vault.unseal()


@contextmanager
def _vault_hangs(site: Distributed, _: random.Random) -> Iterator[None]:
    """Stop the process: connections are taken, and no request is answered."""
    process = site.behind().vault.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextmanager
def _tokens_revoked(site: Distributed, _: random.Random) -> Iterator[None]:
    vault = site.behind().vault
    for accessor in vault.do("LIST", "auth/token/accessors")["data"]["keys"]:
        looked_up = vault.api("POST", "auth/token/lookup-accessor", {"accessor": accessor})
        # One that has expired meanwhile is not found.
        if looked_up.ok and "root" not in looked_up.json()["data"]["policies"]:
            vault.api("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    yield


@contextmanager
def _stopped(server_of: Callable[[Distributed], Server], site: Distributed, _: random.Random) -> Iterator[None]:
    server = server_of(site)
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def _requests_fail(fault: ProxyFault, site: Distributed, _: random.Random) -> Iterator[None]:
    """Have each of the workers' requests to the bucket meet this, until it ends."""
    with site.behind().proxy.every(fault):
        yield


@contextmanager
def _log_disk_full(team: str, site: Distributed, _: random.Random) -> Iterator[None]:
    folder = site.workers[team].access_log.parent
    ballast = folder / "ballast"
    room = os.statvfs(folder)
    try:
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize)
        yield
    finally:
        ballast.unlink()


@contextmanager
def _clock_jumps(team: str, site: Distributed, rng: random.Random) -> Iterator[None]:
    file = clock_file(site.beside, team)
    set_clock(file, rng.choice((-CLOCK_SECONDS, CLOCK_SECONDS)))
    try:
        yield
    finally:
        set_clock(file, 0)


def clock_file(folder: Path, team: str) -> Path:
    """Where libfaketime reads how far a worker's clock is off."""
    return folder / f"clock-{team}"


def set_clock(file: Path, seconds: int) -> None:
    """Move a worker's clock, in one step."""
    new = file.with_suffix(".new")
    new.write_text(f"{seconds:+d}s\n")
    new.replace(file)


def _of_teams(name: str, fault: Callable[..., AbstractContextManager[None]]) -> dict[str, Fault]:
    return {f"{name} of {team}": partial(fault, team) for team in TEAMS}


ALWAYS: Mapping[str, Fault] = {
    **_of_teams("kill -9 the worker", _worker_killed),
    **_of_teams("kill -9 a process below the worker", _task_killed),
    **{f"kill -9 the {name}": partial(_component_killed, name) for name in COMPONENTS},
    "seal Vault": _vault_sealed,
    "kill -9 Vault": _vault_killed,
    "Vault steps down": _vault_steps_down,
    "Vault does not answer": _vault_hangs,
    "revoke the workers' Vault tokens": _tokens_revoked,
    "the bucket is down": partial(_stopped, lambda site: site.behind().s3),
    "the bucket is slow": partial(_requests_fail, ProxyFault("wait", seconds=3)),
    "the bucket answers 500": partial(_requests_fail, ProxyFault("answer", status=500)),
    "answers of the bucket are lost": partial(_requests_fail, ProxyFault("lose")),
    "answers of the bucket are cut": partial(_requests_fail, ProxyFault("cut", after=20)),
    "the network to the bucket is cut": partial(_requests_fail, ProxyFault("drop")),
    "restart PostgreSQL": partial(_stopped, lambda site: site.postgres),
}
WITH_LOG_DISK = _of_teams("fill the disk of the access log", _log_disk_full)
"""Where each worker's access log lies on a small file system of its own."""
WITH_CLOCK = _of_teams("move the clock", _clock_jumps)
"""Where libfaketime is loaded into the workers."""
