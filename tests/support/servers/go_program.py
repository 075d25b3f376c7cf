"""Servers that come as Go modules: built into the cache, once for each version of their module."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

BUILD_SECONDS = 5400


def go_program(source: Path, folder: Path, *, package: str = ".", flags: str = "") -> Path:
    """Return the program of a module, built now if `folder` does not hold it yet.

    It is built at the lowest priority and one package at a time.

    :param source: the folder of go.mod and go.sum, which pin what is built.
    :param package: the package of the program.
    :param flags: more flags of the linker.
    :raises RuntimeError: there is no Go.
    """
    name = source.name
    files = sorted(path for path in source.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    identity = hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:12]
    folder.mkdir(exist_ok=True)
    program = folder / f"{name}-{identity}"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise RuntimeError(f"{name} is built from a Go module, and there is no `go` on PATH")
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Another process may have built it while this one waited.
        if not program.exists():
            print(f"building {name} into {folder}, once", flush=True)
            partial = program.with_suffix(".partial")
            flag_words = f"-s -w {flags}".strip()
            build_it = [go, "build", "-p", "1", "-trimpath", "-ldflags", flag_words, "-o", str(partial), package]
            subprocess.run(
                ["nice", "-n", "19", *build_it],
                cwd=source,
                env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"},
                check=True,
                timeout=BUILD_SECONDS,
            )
            partial.replace(program)
    return program
