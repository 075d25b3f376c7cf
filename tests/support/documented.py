"""The shell commands that pages show, one by one, and what the real parsers say of them."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import typer

from secure_xcom.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("policies/*.md")])
# A block without a language is one of commands; what is neither says what it is.
SHELL = ("", "sh", "console")
OTHERS = ("ini", "json", "python", "sql", "text", "toml", "yaml")
# A block may be indented, as in an item of a list.
_FENCED = re.compile(r"^ *```([^\n`]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# Not shlex's own comments: they begin within a word, too.
_COMMENT = re.compile(r"(?:^|\s)# .*")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Shown:
    """One command of a block: where it stands, and its words, without a prompt and a comment."""

    page: str
    line: int
    text: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.text.splitlines()[0]}"

    @property
    def program(self) -> str:
        """What is called, behind the variables that are set for it; empty where nothing is."""
        return next((word for word in self.words if not re.match(r"\w+=", word)), "")

    @property
    def arguments(self) -> list[str]:
        """The words behind the program."""
        return list(self.words[self.words.index(self.program) + 1 :]) if self.program else []


def name_of(page: Path) -> str:
    """A page's name in the repository."""
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCED.sub("", page.read_text())


def languages(page: Path) -> Iterator[tuple[int, str]]:
    """Line and language of each fenced block."""
    text = page.read_text()
    for found in _FENCED.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, found[1]


def blocks(page: Path, language: str) -> list[str]:
    """The text of each fenced block of a language."""
    return [dedent(found[2]) for found in _FENCED.finditer(page.read_text()) if found[1] == language]


def shown(page: Path) -> Iterator[Shown]:
    """Each command of a page's shell blocks."""
    text = page.read_text()
    for found in _FENCED.finditer(text):
        if found[1] in SHELL:
            yield from _commands(name_of(page), text.count("\n", 0, found.start()) + 2, dedent(found[2]))


def _commands(page: str, first: int, block: str) -> Iterator[Shown]:
    lines = block.splitlines()
    # Behind a prompt stand commands, and what has none is their output.
    prompted = any(line.startswith("$ ") for line in lines)
    place = 0
    while place < len(lines):
        start, text = place, lines[place]
        place += 1
        if prompted and not text.startswith("$ "):
            continue
        text = text.removeprefix("$ ")
        while (words := _words(text)) is None:
            text += f"\n{lines[place]}"
            place += 1
        if heredoc := re.search(r"<<'?(\w+)'?", text):
            place = lines.index(heredoc[1], place) + 1
            words = words[: words.index(heredoc[0].replace("'", ""))]
        if words:
            yield Shown(page, first + start, text, tuple(words))


def _words(text: str) -> list[str] | None:
    """The words of a command; None while it is not at its end."""
    if text.endswith("\\"):
        return None
    try:
        return shlex.split(_COMMENT.sub("", text.replace("\\\n", " ")))
    except ValueError:
        return None


def named(page: Path, program: str) -> Iterator[list[str]]:
    """The arguments of each call of a program that a page's sentences name."""
    for code in _CODE.findall(prose(page)):
        words = code.split()
        if words[:1] == [program]:
            yield words[1:]


@cache
def _top() -> Any:
    return typer.main.get_command(app)


def refusal(arguments: list[str], *, whole: bool = True) -> str | None:
    """Why `secure-xcom` does not take these arguments; None where it does.

    :param whole: False where a sentence names a command and leaves required arguments out.
    """
    command = _top()
    context, rest = None, list(arguments)
    try:
        while True:
            # `--help` prints.
            with contextlib.redirect_stdout(io.StringIO()):
                context = command.make_context("secure-xcom", rest, parent=context)
            if not hasattr(command, "commands"):
                return None
            rest = [*getattr(context, "_protected_args", ()), *context.args]
            if not rest:
                return "a command is missing" if whole else None
            _, command, rest = command.resolve_command(context, rest)
    except Exception as error:  # noqa: BLE001  # typer's click is the installed one or its own
        kind = type(error).__name__
        if kind == "Exit" or (kind in ("MissingParameter", "NoArgsIsHelpError") and not whole):
            return None
        return f"{kind}: {getattr(error, 'message', error)}"
