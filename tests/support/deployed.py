"""What the files of `deploy/` are made of, read for the tests that hold them against the code."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
import yaml

from secure_xcom.cli import app
from secure_xcom.core.config import OPTIONS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose"
HELM = DEPLOY / "helm"
DIGEST = re.compile(r"^[a-z0-9./-]+(:[\w.-]+)?@sha256:[0-9a-f]{64}$")
_SETTING = re.compile(r"AIRFLOW__SECURE_XCOM__(\w+)")


def images_env() -> dict[str, str]:
    """Name -> image, of the compose deployment."""
    lines = (COMPOSE / "images.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def compose() -> dict[str, Any]:
    """The compose file, with its merges and anchors resolved."""
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return found


def values(variant: str | None = None) -> dict[str, Any]:
    """The chart's values; a variant's are laid over them at the top, which is all that ours need."""
    found: dict[str, Any] = yaml.safe_load((HELM / "values.yaml").read_text())
    if variant:
        found.update(yaml.safe_load((HELM / f"values-{variant}.yaml").read_text()))
    return found


def manifests() -> Iterator[dict[str, Any]]:
    """Each object of the Kubernetes manifests."""
    for path in sorted((HELM / "manifests").glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def named_settings(text: str) -> set[str]:
    """The options of ours that a text sets in the environment."""
    return {name.lower() for name in _SETTING.findall(text)}


def unknown_settings(text: str) -> set[str]:
    """Those of them that the code does not have."""
    return named_settings(text) - set(OPTIONS)


def commands(text: str) -> Iterator[list[str]]:
    """Each call of `secure-xcom` in a text: of scripts, of examples, and as a list of words in Python."""
    joined = text.replace("\\\n", " ")
    for match in re.finditer(r"(?:^|[\s`$(&|])secure-xcom ((?:[a-z][\w.-]*|--?[a-z][\w-]*)[^`\n|&;)]*)", joined):
        yield shlex.split(match[1].rstrip(" .,:'"), comments=True)
    for match in re.finditer(r'\["secure-xcom", ([^\]]*)\]', joined):
        yield re.findall(r'"([^"]+)"', match[1])


def refused(words: list[str]) -> str | None:
    """Why the command line has no such command or option; None if it has."""
    # typer brings a click of its own, or uses the one that is installed.
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands"):
        name = rest.pop(0)
        if name.startswith("-"):
            break
        if name not in command.commands:
            return f"no command {name!r} in {words}"
        command = command.commands[name]
    known = {"--help", "-h", "--version"} | {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    wrong = [word for word in rest if word.startswith("--") and word.split("=")[0] not in known]
    return f"no option {wrong[0]!r} in {words}" if wrong else None


def made_secrets(folder: Path) -> Path:
    """Run deploy/compose/make-secrets in a folder; where it put what it made."""
    shutil.copy(COMPOSE / "make-secrets", folder)
    subprocess.run([folder / "make-secrets"], check=True, capture_output=True)
    return folder / "secrets"


def compose_setup() -> Any:
    """deploy/compose/setup.py as a module. It is a script of the deployment, and no part of the package."""
    spec = importlib.util.spec_from_file_location("compose_setup", COMPOSE / "setup.py")
    if spec is None or spec.loader is None:
        raise AssertionError("setup.py is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
