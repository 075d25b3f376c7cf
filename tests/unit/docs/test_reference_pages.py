"""The README, docs/reference/commands.md and docs/reference/settings.md say what the code does."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

from tests.support import reference_pages

ROOT = Path(__file__).parents[3]
# Releases of the command's library lay out its help differently; commands.md shows that of the pinned one.
PINNED = re.search(r"^typer==([0-9.]+)", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [page for page in reference_pages.PAGES if page != reference_pages.COMMANDS],
    ids=lambda page: str(page.name),
)
def test_pages_show_what_the_code_knows_better(page: Path) -> None:
    """Every generated part is that of the code: `python -m tests.support.reference_pages` writes them."""
    text = page.read_text()
    assert reference_pages.written(text) == text


@pytest.mark.skipif(
    PINNED is None or metadata.version("typer").split(".")[:2] != PINNED[1].split(".")[:2],
    reason="another release of typer than the pinned one lays out help differently",
)
def test_the_help_is_the_real_one() -> None:
    """Help texts are those of the commands; `python -m tests.support.reference_pages` writes them."""
    text = reference_pages.COMMANDS.read_text()
    assert reference_pages.written(text) == text


def test_every_part_is_on_a_page() -> None:
    """No part that the code knows better has fallen off its page."""
    shown = re.findall(r"<!-- begin: (\w+) ", "".join(page.read_text() for page in reference_pages.PAGES))
    assert sorted(shown) == sorted(reference_pages.PARTS)


def test_every_command_is_documented() -> None:
    """No command is left out, whichever release lays out its help."""
    text = reference_pages.COMMANDS.read_text()
    assert [
        path for path in reference_pages.commands() if f"$ {' '.join(('secure-xcom', *path))} --help" not in text
    ] == []


def test_a_changed_help_would_be_noticed() -> None:
    """The comparison is one of whole texts: a page without a command is another one."""
    text = reference_pages.COMMANDS.read_text().replace("Print JSON.", "Print XML.")
    assert reference_pages.written(text) != text
