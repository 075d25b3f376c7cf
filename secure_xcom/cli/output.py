"""What commands print: findings, errors, JSON; in colour on a terminal, plain elsewhere."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from secure_xcom.core.errors import SecureXComError

if TYPE_CHECKING:
    from rich.console import Console

    from secure_xcom.core.findings import Finding

FINE = 0
FOUND_SOMETHING = 1
COULD_NOT_RUN = 2

_TABLE_COLUMNS = 160

STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}
_GLYPHS = {"ok": "✓", "warning": "!", "error": "✗"}
_ASCII_GLYPHS = {"ok": "+", "warning": "!", "error": "x"}


def console(*, stderr: bool = False, plain: bool = False, width: int | None = None) -> Console:
    """A console for our output; rich itself leaves colour out where NO_COLOR is set or no terminal listens."""
    from rich.console import Console

    return Console(
        stderr=stderr,
        no_color=True if plain else None,
        force_terminal=False if plain else None,
        highlight=False,
        markup=False,
        emoji=False,
        width=width,
    )


def table_console() -> Console:
    """A console for tables, which is not narrow where no terminal says how wide it is, such as in a job of CI."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return console(width=None if known else _TABLE_COLUMNS)


def logs_to_stderr() -> None:
    """Send what loggers write beside our own output, so that what programs read has no line of a log in it.

    Airflow gives its root logger a handler on standard output when its settings are loaded.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)


def nothing_there(sinks: Iterable[str]) -> None:
    """Tell people on standard error that a sink is empty: no event of it is no answer, if its URI is wrong."""
    for uri in sinks:
        print(f"nothing has been written to {clean(uri)} yet: see that this is the sink's URI", file=sys.stderr)


def clean(text: object) -> str:
    """Text of unknown origin for a terminal: what could move the cursor or hide something is shown escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text)
    )


def show_json(record: Any) -> None:
    """Print one JSON document, ASCII only, so that no id can play tricks on what reads it."""
    print(json.dumps(record, indent=2, ensure_ascii=True), flush=True)


def show_error(error: SecureXComError, *, as_json: bool) -> None:
    """Say why a command could not run."""
    if as_json:
        show_json(
            {
                "error": type(error).__name__,
                "what": error.what,
                "where": error.where,
                "remedy": error.remedy,
            }
        )
        return
    # What happened may have lines of its own, such as the end of a component's output.
    what = "\n".join(clean(line) for line in error.what.split("\n"))
    out = console(stderr=True)
    out.print(f"error: {what}", style="bold red", soft_wrap=True)
    if error.where:
        out.print(f"where: {clean(error.where)}", soft_wrap=True)
    out.print(f"what to do: {clean(error.remedy)}", soft_wrap=True)


def show_finding(out: Console, finding: Finding) -> None:
    """One line: a glyph, what was looked at, how it stands; below it what to do, if anything."""
    from rich.text import Text

    utf8 = (out.encoding or "").lower().replace("-", "").startswith("utf")
    glyph = (_GLYPHS if utf8 else _ASCII_GLYPHS)[finding.status]
    line = Text(f"{glyph} ", style=STYLES[finding.status])
    line.append(f"{clean(finding.subject)}: ", style="bold")
    line.append(clean(finding.text), style="default")
    out.print(line, soft_wrap=True)
    if finding.remedy:
        out.print(f"  what to do: {clean(finding.remedy)}", soft_wrap=True)


def findings_json(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Findings as JSON objects."""
    return [asdict(finding) for finding in findings]


def worst(findings: Iterable[Finding]) -> str:
    """``ok``, ``warning`` or ``error``."""
    order = ("ok", "warning", "error")
    return order[max((order.index(finding.status) for finding in findings), default=0)]


def exit_code(findings: Iterable[Finding]) -> int:
    """0 where everything is fine, 1 where anything was found."""
    return FINE if worst(findings) == "ok" else FOUND_SOMETHING


def stdin_text(limit: int) -> str:
    """Standard input, up to a limit of characters."""
    return sys.stdin.read(limit)
