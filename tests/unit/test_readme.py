"""The README says what the code does."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

from tests import readme

ROOT = Path(__file__).parents[2]
# Releases of the command's library lay out its help differently; the README shows that of the pinned one.
PINNED = re.search(r"^typer==([0-9.]+)", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE)


@pytest.mark.skipif(
    PINNED is None or metadata.version("typer").split(".")[:2] != PINNED[1].split(".")[:2],
    reason="another release of typer than the pinned one lays out help differently",
)
def test_the_readme_shows_the_real_help_and_all_settings() -> None:
    """Help texts and settings are those of the code; `python -m tests.readme` writes them."""
    text = readme.README.read_text()
    assert readme.written(text) == text


def test_every_command_is_in_the_readme() -> None:
    """No command is left out, whichever release lays out its help."""
    text = readme.README.read_text()
    assert [path for path in readme.commands() if f"$ secure-xcom {' '.join((*path, '--help'))}" not in text] == []


def test_the_readme_names_make_targets_that_are_there() -> None:
    """Each `make` target of the README is one of the Makefile."""
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]+)", readme.README.read_text(), re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_a_changed_help_would_be_noticed() -> None:
    """The comparison is one of whole texts: a README without a command is another one."""
    text = readme.README.read_text().replace("Print JSON.", "Print XML.")
    assert readme.written(text) != text
