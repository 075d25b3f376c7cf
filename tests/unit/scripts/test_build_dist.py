"""`make dist`: wheel, sdist and bill of materials of a commit, the same bytes every time, with checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.config import RELEASE

ROOT = Path(__file__).parents[3]
WHEEL, SDIST = f"secure_xcom-{RELEASE}-py3-none-any.whl", f"secure_xcom-{RELEASE}.tar.gz"
SBOM = f"secure_xcom-{RELEASE}.cdx.json"
SUPPLY = ROOT / ".venv-supply"


def _git(checkout: Path, *arguments: str) -> None:
    who = ("-c", "user.name=Builder", "-c", "user.email=builder@example.com")
    subprocess.run(["git", *who, *arguments], cwd=checkout, check=True, capture_output=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository of the package alone, with one commit."""
    made = tmp_path_factory.mktemp("source") / "checkout"
    shutil.copytree(ROOT / "secure_xcom", made / "secure_xcom", ignore=shutil.ignore_patterns("__pycache__"))
    (made / "scripts").mkdir()
    (made / "requirements").mkdir()
    names = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "requirements/wheel.txt")
    for name in (*names, "scripts/build-dist", "scripts/write_sbom.py"):
        shutil.copy2(ROOT / name, made / name)
    _git(made, "init", "--quiet")
    _git(made, "add", "--all")
    _git(made, "commit", "--quiet", "--message", "all")
    (made / ".venv").symlink_to(sys.prefix)
    (made / ".venv-supply").symlink_to(SUPPLY)
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
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.timeout(900)
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
@pytest.mark.skipif(
    not SUPPLY.exists() and os.environ.get("CI") != "true", reason="needs scripts/setup-venv .venv-supply supply"
)
def test_one_commit_gives_the_same_bytes(checkout: Path, tmp_path: Path) -> None:
    """Built twice, by another umask, in another time zone and beside changes, all files are the same."""
    first = _build(checkout, tmp_path / "first", 0o022, "UTC")
    added = checkout / "secure_xcom" / "added.py"
    added.write_text("")
    try:
        second = _build(checkout, tmp_path / "second", 0o077, "Asia/Tokyo")
    finally:
        added.unlink()
    assert first == second
    assert set(first) == {WHEEL, SDIST, SBOM, "SHA256SUMS"}
    lines = [f"{hashlib.sha256(first[name]).hexdigest()}  {name}" for name in (WHEEL, SDIST, SBOM)]
    assert first["SHA256SUMS"].decode().splitlines() == lines
    with zipfile.ZipFile(tmp_path / "first" / WHEEL) as wheel:
        names = {name for name in wheel.namelist() if name.startswith("secure_xcom/")}
    tracked = subprocess.run(
        ["git", "ls-files", "secure_xcom"], cwd=checkout, capture_output=True, text=True, check=True
    )
    assert names == set(tracked.stdout.splitlines())
    _check_bill(json.loads(first[SBOM]), first[WHEEL])


def _check_bill(bill: dict[str, Any], wheel: bytes) -> None:
    """Check that it names this wheel, what others wrote in it, and the tested versions of what it requires."""
    subject = bill["metadata"]["component"]
    assert (bill["bomFormat"], subject["name"], subject["version"]) == ("CycloneDX", "secure-xcom", RELEASE)
    assert subject["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(wheel).hexdigest()}]
    assert {part["name"] for part in subject["components"]} == {"fzstd", "@uwdata/flechette"}
    pinned = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements/wheel.txt").read_text(), re.MULTILINE)
    assert sorted((part["name"], part["version"]) for part in bill["components"]) == sorted(pinned)
    graph = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    names = {part["bom-ref"]: part["name"] for part in [*bill["components"], *subject["components"]]}
    direct = {names[reference] for reference in graph[subject["bom-ref"]]}
    wanted = _dependencies(ROOT / "pyproject.toml")
    assert direct == wanted | {"fzstd", "@uwdata/flechette"}


def _dependencies(path: Path) -> set[str]:
    """Return the names of the dependencies in a pyproject.toml; Python 3.10 has no reader of TOML."""
    text = path.read_text().partition("\ndependencies = [")[2].partition("\n]")[0]
    return set(re.findall(r'^    "([\w-]+)', text, re.MULTILINE))
