"""The package as it is installed: what Airflow is told of it, what it requires, its set-up on a bare machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path
from shutil import copytree, which

import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from secure_xcom.core.config import OPTIONS, RELEASE
from secure_xcom.provider_info import get_provider_info

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
AIRFLOW = canonicalize_name("apache-airflow")
COMMANDS_KNOWN = Version(metadata.version(AIRFLOW)) >= Version("3.2")


def _run(*command: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment with an Airflow home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment = {**kept, "AIRFLOW_HOME": str(home), "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}
    executable = str(BIN / command[0])
    return subprocess.run(
        [executable, *command[1:]], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


# --- what Airflow is told -----------------------------------------------------------------------------------


def test_provider_info_is_of_airflows_form() -> None:
    """The provider info holds against the schema of the installed Airflow."""
    schema = json.loads((resources.files("airflow") / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_airflow_lists_the_provider(tmp_path: Path) -> None:
    """`airflow providers list` shows the package with its release, and no component complains about it."""
    done = _run("airflow", "providers", "list", "--output", "json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row["package_name"]: row for row in json.loads(done.stdout[done.stdout.index("[") :])}
    assert rows["secure-xcom"]["version"] == RELEASE
    assert "secure_xcom" not in done.stderr


def test_airflow_lists_every_option(tmp_path: Path) -> None:
    """`airflow config list --section secure_xcom` shows each option with its text and its default."""
    done = _run("airflow", "config", "list", "--section", "secure_xcom", "--include-descriptions", home=tmp_path)
    assert done.returncode == 0, done.stderr
    text = re.sub(r"\s*\n# ?", " ", done.stdout)
    assert "[secure_xcom]" in done.stdout
    for name, option in OPTIONS.items():
        assert re.search(rf"^(# )?{name} =", done.stdout, re.MULTILINE), name
        assert " ".join(option.text.split()) in " ".join(text.split()), name


def test_airflow_gives_the_options_their_defaults(tmp_path: Path) -> None:
    """Airflow's configuration answers with the defaults of OPTIONS where a deployment sets nothing."""
    code = (
        "import json\n"
        "from airflow.configuration import conf\n"
        "from airflow.providers_manager import ProvidersManager\n"
        "ProvidersManager().initialize_providers_configuration()\n"
        f"print(json.dumps({{name: conf.get('secure_xcom', name, fallback=None) for name in {list(OPTIONS)!r}}}))"
    )
    done = _run("python", "-c", code, home=tmp_path)
    assert done.returncode == 0, done.stderr
    answered = json.loads(done.stdout.splitlines()[-1])
    assert {name: text or None for name, text in answered.items()} == {
        name: option.default or None for name, option in OPTIONS.items()
    }


@pytest.mark.skipif(not COMMANDS_KNOWN, reason="Airflow knows a provider's commands from 3.2 on")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        (("check", "--help"), 0),
        # Nothing is set up in a new home, which check finds; options first are the command's own as well.
        (("check", "--json"), 1),
        (("no-such-command",), 2),
        (("--no-such-option", "check"), 2),
    ],
)
def test_airflow_hands_the_command_its_arguments(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    """`airflow secure-xcom ...` gives the words and the exit code of `secure-xcom ...`, options first too."""
    through = _run("airflow", "secure-xcom", *arguments, home=tmp_path / "home")
    direct = _run("secure-xcom", *arguments, home=tmp_path / "home")
    assert direct.returncode == code, direct.stderr
    assert through.returncode == code, through.stderr
    assert direct.stdout or direct.stderr
    # The one difference: each usage line names the command that was typed.
    assert _words(through.stdout) == _words(direct.stdout)


def _words(text: str) -> list[str]:
    """The words of an output, however its lines were wrapped and its boxes drawn."""
    return re.sub(r"[^\w/=.:'\"-]+", " ", text.replace("airflow secure-xcom", "secure-xcom")).split()


def test_entry_points_load() -> None:
    """Every entry point of the distribution names something that can be imported."""
    found = {(point.group, point.name): point for point in metadata.distribution("secure-xcom").entry_points}
    assert set(found) == {
        ("console_scripts", "secure-xcom"),
        ("apache_airflow_provider", "provider_info"),
        ("airflow.plugins", "secure_xcom"),
        ("airflow.policy", "secure_xcom"),
    }
    assert all(point.load() for point in found.values())


# --- requirements -------------------------------------------------------------------------------------------

PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+?)(?: ; (.+?))? \\$")


def _pins(name: str) -> dict[NormalizedName, Version]:
    """The versions that a requirements file installs on this Python."""
    pins = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if match := PINNED.match(line):
            requirement = Requirement(f"{match[1]}=={match[2]}" + (f"; {match[3]}" if match[3] else ""))
            if requirement.marker is None or requirement.marker.evaluate():
                pins[canonicalize_name(requirement.name)] = Version(match[2])
    return pins


@pytest.mark.parametrize(
    "name", ["dev", "core", "airflow31", "airflow34", "uv", "fuzz", "mutation", "supply", "wheel"]
)
def test_requirements_are_hashed_and_name_no_address(name: str) -> None:
    """Every line is a comment, one exact version or a SHA-256: no registry, no option, no path."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    odd = [
        line
        for line in lines
        if not (
            line.startswith("#") or PINNED.match(line) or re.fullmatch(r"    --hash=sha256:\w{64}( \\)?", line)
        )
    ]
    assert odd == []
    assert [line for line in lines if "://" in line or re.search(r"# .*/", line)] == []


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("dev", ["vault", "aws", "gcp", "azure", "dataframe", "reveal", "dev"]),
        ("airflow31", ["vault", "aws", "dataframe", "dev"]),
        ("core", ["reveal"]),
        ("wheel", []),
        ("fuzz", ["dataframe"]),
    ],
)
def test_requirements_hold_what_the_package_asks_for(name: str, extras: list[str]) -> None:
    """A dependency that was added to pyproject.toml is in the compiled files, in a version that it allows."""
    pins = _pins(name)
    for text in metadata.requires("secure-xcom") or []:
        requirement = Requirement(text)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        if wanted:
            pin = pins.get(canonicalize_name(requirement.name))
            assert pin is not None, f"{text}: run `make requirements`"
            assert requirement.specifier.contains(pin, prereleases=True), f"{text}, pinned is {pin}"


def test_the_demo_runs_on_what_is_tested() -> None:
    """The demo's environment holds the same versions as that of the tests, and fewer packages."""
    core, dev = _pins("core"), _pins("dev")
    assert core.items() <= dev.items()
    assert len(core) < len(dev)


def test_the_oldest_and_the_newest_airflow_are_pinned() -> None:
    """The two environments stand at the two ends of what is supported."""
    assert _pins("airflow31")[AIRFLOW] == Version("3.1.0")
    assert _pins("dev")[AIRFLOW] >= Version("3.3.2")


# --- a bare machine -----------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder as PATH with the few tools that every system has, and no Python."""
    path = tmp_path / "bin"
    path.mkdir()
    for tool in ("sh", "bash", "env", "dirname", "cat", "cksum", "grep", "rm", "mktemp", "tee", "tail"):
        found = which(tool)
        assert found is not None
        (path / tool).symlink_to(found)
    checkout = tmp_path / "checkout"
    for folder in ("scripts", "requirements", ".ci"):
        copytree(ROOT / folder, checkout / folder)
    (checkout / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    return tmp_path


def _tool(bare: Path, name: str, script: str) -> None:
    tool = bare / "bin" / name
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def _in_bare(bare: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(bare / "bin" / command[0]), *command[1:]],
        cwd=bare / "checkout",
        env={"PATH": str(bare / "bin"), "HOME": str(bare), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_setup_says_that_there_is_no_python(bare: Path) -> None:
    """Without a suitable Python the set-up ends with one line that says which to install, and makes nothing."""
    _tool(bare, "python3", "exit 1  # what an old Python answers to the version question")
    done = _in_bare(bare, "sh", "scripts/setup-venv", ".venv", "dev")
    assert done.returncode != 0
    assert "no Python 3.10 to 3.14 on PATH" in done.stderr
    assert not (bare / "checkout" / ".venv").exists()


def test_setup_says_that_ensurepip_is_missing(bare: Path) -> None:
    """Where Debian's Python lacks its venv package, the set-up names it."""
    _tool(bare, "python3", 'case "$2" in *ensurepip*) exit 1;; esac')
    done = _in_bare(bare, "sh", "scripts/setup-venv", ".venv", "dev")
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr


def test_setup_passes_over_an_old_python3(bare: Path) -> None:
    """With an old python3 and a good python3.12 on PATH, the good one makes the environment."""
    _tool(bare, "python3", "exit 1")
    _tool(
        bare, "python3.12", 'case "$1" in -m) echo "made by python3.12: $*"; exit 7;; -V) echo Python 3.12;; esac'
    )
    done = _in_bare(bare, "sh", "scripts/setup-venv", ".venv", "dev")
    assert done.returncode == 7
    assert "made by python3.12: -m venv .venv" in done.stdout


def test_setup_refuses_an_unsuitable_choice(bare: Path) -> None:
    """PYTHON= that is no suitable Python is an error, not a hint."""
    _tool(bare, "python3", "exit 0")
    done = _in_bare(bare, "sh", "scripts/setup-venv", ".venv", "dev", PYTHON="/no/such/python")
    assert done.returncode != 0
    assert "PYTHON=/no/such/python is not a Python 3.10 to 3.14" in done.stderr


@pytest.mark.parametrize(
    ("made", "code"),
    [
        ("echo '==== 12 passed, 3 skipped in 4.5s ===='", 0),
        ("echo '3 passed in 0.1s'", 0),
        ("echo '==== 3 skipped in 0.1s ===='", 1),
        ("echo '0 passed, 2 skipped in 0.1s'", 1),
        ("echo 'nothing'", 1),
        ("echo '==== 1 failed, 3 passed in 1s ===='; exit 2", 2),
    ],
)
def test_ci_passes_only_when_tests_passed(bare: Path, made: str, code: int) -> None:
    """CI ends with make's own code, fails where nothing but skips ran, and its last line is the tests' summary."""
    _tool(bare, "make", made)
    done = _in_bare(bare, "bash", ".ci/run")
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] in made
