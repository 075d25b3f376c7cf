"""End the processes of a throwaway Airflow, with all their descendants, by process id."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def end_processes(pids: Iterable[int], *, patience: float) -> None:
    """End processes and their descendants.

    :param patience: seconds to end by themselves after SIGTERM, before SIGKILL.
    """
    import psutil

    roots: list[psutil.Process] = []
    family: list[psutil.Process] = []
    for pid in pids:
        try:
            root = psutil.Process(pid)
            family += [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        roots.append(root)
    for root in roots:
        try:
            root.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(family, timeout=patience)
    for survivor in alive:
        try:
            # psutil compares the start time first, so a process id that was given anew is spared.
            survivor.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)


def end_strays(folder: Path) -> None:
    """End what was started at the moment of a signal, or forked while its parent ended.

    :param folder: the ``AIRFLOW_HOME`` of the processes.
    """
    import psutil

    for _ in range(5):
        strays = []
        for process in psutil.process_iter():
            try:
                home = process.environ().get("AIRFLOW_HOME")
                if home == str(folder) and process.pid != os.getpid():
                    process.kill()
                    strays.append(process)
            except (psutil.AccessDenied, psutil.NoSuchProcess):
                continue
        if not strays:
            return
        psutil.wait_procs(strays, timeout=5)
