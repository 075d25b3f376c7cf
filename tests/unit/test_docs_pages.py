"""Every page leads where it says, and names commands and options that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from secure_xcom.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("policies/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# What a link leads to: a heading's words in lower case, joined by hyphens, without what is no letter.
_NO_ANCHOR = re.compile(r"[^\w\- ]")


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {
        _NO_ANCHOR.sub("", re.sub(r"`|\]\(.*?\)", "", text).strip().lower()).replace(" ", "-") for text in headings
    }


def unknown_in(line: str) -> list[str]:
    """What of a command line, its first word `secure-xcom`, is neither a command nor an option of it."""
    command: Any = typer.main.get_command(app)
    words = re.split(r"[`#|]", line)[0].split()[1:]
    while words and hasattr(command, "commands"):
        name = words.pop(0).strip(".,;:()")
        if name.startswith("-"):
            break
        if name not in command.commands:
            return [name]
        command = command.commands[name]
    known = {"--help", *(option for each in command.params for option in (*each.opts, *each.secondary_opts))}
    return [word for word in re.findall(r"(?<![\w-])--[a-z][a-z-]+", " ".join(words)) if word not in known]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_of_every_page_leads_somewhere(page: Path) -> None:
    """Relative links name files that are there, and headings that these have."""
    broken = []
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_of_every_page_is_there(page: Path) -> None:
    """Where a page writes a `secure-xcom` command out, the command exists, and so do its options."""
    text = re.sub(r"<!-- begin: help.*?<!-- end: help -->", "", page.read_text(), flags=re.DOTALL)
    lines = re.findall(r"(?:^|`|\$ )(secure-xcom [a-z][^\n]*)", text.replace("\\\n", " "), re.MULTILINE)
    assert {line: unknown for line in lines if (unknown := unknown_in(line))} == {}


def test_an_unknown_command_or_option_would_be_noticed() -> None:
    """A command that is not there, and an option that another command has, are found."""
    assert unknown_in("secure-xcom reveal COORD --reason TEXT") == ["reveal"]
    assert unknown_in("secure-xcom gc --apply") == ["--apply"]
    assert unknown_in("secure-xcom gc --delete") == []


def test_every_page_is_linked_from_the_readme() -> None:
    """Who begins at the README finds each page of docs."""
    text = (ROOT / "README.md").read_text()
    assert [page.name for page in ROOT.glob("docs/*.md") if f"(docs/{page.name}" not in text] == []
    listed = (ROOT / "docs/adr/README.md").read_text()
    assert [page.name for page in ROOT.glob("docs/adr/0*.md") if f"({page.name})" not in listed] == []
