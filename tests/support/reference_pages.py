"""The parts of pages that the code knows better: ``python -m tests.support.reference_pages`` writes them anew."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.cli.declare import contract_of
from secure_xcom.core.config import OPTIONS
from secure_xcom.core.event_fields import FIELDS
from secure_xcom.core.uri_faults import FORMS
from secure_xcom.ops.checks.tested_releases import TESTED
from secure_xcom.ops.explain_error import PAGE as ERRORS_PAGE
from secure_xcom.ops.explain_error import explanations
from secure_xcom.sinks.database import DDL
from tests.support import pages_by_kind, policies_page

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "docs" / "reference" / "settings.md"
AUDIT = ROOT / "docs" / "reference" / "access-log.md"
ERRORS = ROOT / ERRORS_PAGE
TESTING = ROOT / "docs" / "evidence" / "pythons-and-airflows.md"
COMMANDS = ROOT / "docs" / "reference" / "commands.md"
URIS = ROOT / "docs" / "reference" / "uris.md"
_PART = re.compile(r"(<!-- begin: (\w+) [^\n]*-->\n)(.*?)(<!-- end: \2 -->)", re.DOTALL)


def settings() -> str:
    """Every option with its default and its text, as a table."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for name, option in OPTIONS.items():
        default = "none" if not option.default else f"`{option.default}`"
        lines.append(f"| `{name}` | {default} | {option.text} |")
    return "\n".join(lines)


def event() -> str:
    """Every field of an event with its type, whether each event has it, and its meaning, as a table."""
    lines = ["| field | type | always | since | meaning |", "|---|---|---|---|---|"]
    for name, field in FIELDS.items():
        always = "yes" if field.always else ""
        lines.append(f"| `{name}` | {field.schema['type']} | {always} | {field.since} | {field.text} |")
    return "\n".join(lines)


def event_table() -> str:
    """The statement that creates the database sink's table."""
    return f"```sql\n{DDL.rstrip()};\n```"


def error_sections() -> str:
    """Every error in the order of its tree, a heading for each, with what `secure-xcom explain` says."""
    sections = []
    for one in explanations():
        more = [f"[{page}]({os.path.relpath(ROOT / page, ERRORS.parent)})" for page in one.pages[1:]]
        lines = [
            f"### {one.id}\n\n{one.what}\n",
            f"- What to do: {one.remedy}.",
            f"- Seen by {one.met_by}.",
        ]
        lines += [f"- Also caught as {', '.join(f'`{kind}`' for kind in one.kinds)}."] if one.kinds else []
        lines += [f"- More: {', '.join(more)}."] if more else []
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


def commands() -> Iterator[tuple[str, ...]]:
    """The words that call each command, the top one first."""

    def below(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for name, command in group.commands.items():
            if command.hidden:
                continue
            if hasattr(command, "commands"):
                yield from below(command, (*path, name))
            else:
                yield (*path, name)

    yield ()
    yield from below(_top(), ())


def help_texts() -> str:
    """``--help`` of every command, on a terminal of 80 columns without color."""
    parts = []
    for path in commands():
        result = CliRunner().invoke(
            app,
            [*path, "--help"],
            prog_name="secure-xcom",
            env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"},
        )
        words = " ".join(("secure-xcom", *path))
        parts.append(f"## {words}\n\n```\n$ {words} --help\n{result.stdout.strip()}\n```")
    return "\n\n".join(parts)


def overview() -> str:
    """The commands of the top, a line each, with a link to their help."""
    lines = ["| command | what it does |", "|---|---|"]
    for name, command in _top().commands.items():
        if command.hidden:
            continue
        below = [sub for sub, each in getattr(command, "commands", {}).items() if not each.hidden]
        first = f"secure-xcom-{name}" + (f"-{below[0]}" if below else "")
        words = f"`secure-xcom {name}`" + (f" {', '.join(below)}" if below else "")
        lines.append(f"| [{words}](#{first}) | {command.get_short_help_str(limit=200)} |")
    return "\n".join(lines)


def contract() -> str:
    """What each command does without options, what exit code 1 means, and its former names, as a table."""
    acts = {
        "reads": "reads",
        "sets up": "acts; `--dry-run` shows",
        "changes": "reports; `--apply` acts",
        "repairs": "reports; `--fix` repairs",
    }
    lines = ["| command | without options | exit code 1 | former name |", "|---|---|---|---|"]
    for path in commands():
        if not path:
            continue
        group = _top()
        for name in path[:-1]:
            group = group.commands[name]
        command = group.commands[path[-1]]
        rules = contract_of(command)
        former = [
            f"`{name}`" for name, other in group.commands.items() if other.hidden and contract_of(other) is rules
        ]
        lines.append(
            f"| `{' '.join(path)}` | {acts[rules.kind]} | {rules.found or 'never'} | {', '.join(former)} |"
        )
    return "\n".join(lines)


def uris() -> str:
    """Return the form of each URI with an example, a table for each kind."""
    tables = []
    for kind, forms in FORMS.items():
        lines = [f"## {kind.capitalize()}", "", "| form | example |", "|---|---|"]
        for text in forms.values():
            form, _, example = text.partition(", such as ")
            form, also, others = form.partition(" (")
            lines.append(f"| `{form}`{also}{others} | `{example}` |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def releases() -> str:
    """Return the releases of Airflow that the tests run on, as a table."""
    lines = ["| Airflow | revision of its database | Python from | `requirements/` |", "|---|---|---|---|"]
    lines += [
        f"| {tested.airflow} | `{tested.revision}` | {tested.python} | `{tested.requirements}.txt` |"
        for tested in TESTED
    ]
    return "\n".join(lines)


def _top() -> Any:
    return typer.main.get_command(app)


PARTS: dict[str, Callable[[], str]] = {
    "contents": pages_by_kind.contents,
    "settings": settings,
    "event": event,
    "event_table": event_table,
    "help": help_texts,
    "contract": contract,
    "releases": releases,
    "uris": uris,
    "overview": overview,
    "errors": error_sections,
    "fields": policies_page.fields,
    "file_rules": policies_page.file_rules,
    "document_rules": policies_page.document_rules,
}
# The start page comes last: it has the lengths of the others.
PAGES = (
    SETTINGS,
    AUDIT,
    COMMANDS,
    URIS,
    ERRORS,
    TESTING,
    policies_page.PAGE,
    policies_page.LINT_PAGE,
    pages_by_kind.START,
)


def written(text: str) -> str:
    """A page's text with its parts written anew."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n\n{found[4]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text()))
