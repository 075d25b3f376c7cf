"""The parts of pages that the code knows better: ``python -m tests.readme`` writes them anew."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.config import OPTIONS
from tests import policies_page

README = Path(__file__).parents[1] / "README.md"
_PART = re.compile(r"(<!-- begin: (\w+) [^\n]*-->\n)(.*?)(<!-- end: \2 -->)", re.DOTALL)


def settings() -> str:
    """Every option with its default and its text, as a table."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for name, option in OPTIONS.items():
        default = "none" if not option.default else f"`{option.default}`"
        lines.append(f"| `{name}` | {default} | {option.text} |")
    return "\n".join(lines)


def commands() -> Iterator[tuple[str, ...]]:
    """The words that call each command, the top one first."""

    def below(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from below(command, (*path, name))
            else:
                yield (*path, name)

    yield ()
    yield from below(typer.main.get_command(app), ())


def help_texts() -> str:
    """``--help`` of every command, on a terminal of 80 columns without colour."""
    parts = []
    for path in commands():
        result = CliRunner().invoke(
            app,
            [*path, "--help"],
            prog_name="secure-xcom",
            env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"},
        )
        words = " ".join(("secure-xcom", *path, "--help"))
        parts.append(f"```\n$ {words}\n{result.stdout.strip()}\n```")
    return "\n\n".join(parts)


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "help": help_texts,
    "fields": policies_page.fields,
    "file_rules": policies_page.file_rules,
    "document_rules": policies_page.document_rules,
}
PAGES = (README, policies_page.PAGE)


def written(text: str) -> str:
    """A page's text with its parts written anew."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n\n{found[4]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text()))
