"""`make dist`: the wheel and the sdist of one commit, the same bytes every time, with checksums that fit."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from secure_xcom.core.config import RELEASE

ROOT = Path(__file__).parents[3]
WHEEL, SDIST = f"secure_xcom-{RELEASE}-py3-none-any.whl", f"secure_xcom-{RELEASE}.tar.gz"


def _git(checkout: Path, *arguments: str) -> None:
    who = ("-c", "user.name=Builder", "-c", "user.email=builder@example.com")
    subprocess.run(["git", *who, *arguments], cwd=checkout, check=True, capture_output=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository of the package alone, with one commit."""
    made = tmp_path_factory.mktemp("source") / "checkout"
    shutil.copytree(ROOT / "secure_xcom", made / "secure_xcom", ignore=shutil.ignore_patterns("__pycache__"))
    (made / "scripts").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "scripts/build-dist"):
        shutil.copy2(ROOT / name, made / name)
    _git(made, "init", "--quiet")
    _git(made, "add", "--all")
    _git(made, "commit", "--quiet", "--message", "all")
    (made / ".venv").symlink_to(sys.prefix)
    return made


def _build(checkout: Path, folder: Path, umask: int, zone: str) -> dict[str, bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(
        ["sh", "scripts/build-dist", str(folder)],
        cwd=checkout,
        env={**environment, "TZ": zone},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_one_commit_gives_the_same_bytes(checkout: Path, tmp_path: Path) -> None:
    """Built twice, by another umask, in another time zone and beside changes, wheel and sdist are the same."""
    first = _build(checkout, tmp_path / "first", 0o022, "UTC")
    added = checkout / "secure_xcom" / "added.py"
    added.write_text("")
    try:
        second = _build(checkout, tmp_path / "second", 0o077, "Asia/Tokyo")
    finally:
        added.unlink()
    assert first == second
    assert set(first) == {WHEEL, SDIST, "SHA256SUMS"}
    lines = [f"{hashlib.sha256(first[name]).hexdigest()}  {name}" for name in (WHEEL, SDIST)]
    assert first["SHA256SUMS"].decode().splitlines() == lines
    with zipfile.ZipFile(tmp_path / "first" / WHEEL) as wheel:
        names = {name for name in wheel.namelist() if name.startswith("secure_xcom/")}
    tracked = subprocess.run(
        ["git", "ls-files", "secure_xcom"], cwd=checkout, capture_output=True, text=True, check=True
    )
    assert names == set(tracked.stdout.splitlines())
