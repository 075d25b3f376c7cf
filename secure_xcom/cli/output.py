"""Print findings, errors and JSON, in color on a terminal and plain elsewhere."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.findings import Finding
from secure_xcom.ops.error_findings import worst
from secure_xcom.ops.terminal import STYLES, clean, console, show_finding

__all__ = [
    "STATES",
    "STYLES",
    "clean",
    "console",
    "exit_code",
    "findings_json",
    "logs_to_stderr",
    "nothing_there",
    "show_error",
    "show_finding",
    "show_json",
    "stdin_text",
    "table_console",
]

if TYPE_CHECKING:
    from rich.console import Console

FINE = 0
FOUND_SOMETHING = 1
COULD_NOT_RUN = 2

STATES = {
    "there": "exists",
    "make": "create",
    "change": "update",
    "remove": "delete",
    "rotate": "rotate",
    "none": "none",
}
"""The printed words for the states of a plan's steps; JSON output has the states themselves."""

_TABLE_COLUMNS = 160


def table_console() -> Console:
    """Return a console for tables, wide enough where no terminal tells its width, such as in a CI job."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return console(width=None if known else _TABLE_COLUMNS)


def logs_to_stderr() -> None:
    """Redirect loggers from standard output to standard error, so that programs read only the command's output.

    Airflow's root logger gets a handler on standard output when Airflow's settings are loaded.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)


def nothing_there(sinks: Iterable[str]) -> None:
    """Warn on standard error that sinks are empty: a search without results may be due to a wrong URI."""
    for uri in sinks:
        print(f"nothing has been written to {clean(uri)} yet: check that this is the sink's URI", file=sys.stderr)


def show_json(record: Any) -> None:
    """Print one JSON document in ASCII, so that no id can confuse its reader."""
    print(json.dumps(record, indent=2, ensure_ascii=True), flush=True)


def show_error(error: SecureXComError, *, as_json: bool) -> None:
    """Print why a command could not run."""
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
    # The text may have several lines, such as the end of a component's output.
    what = "\n".join(clean(line) for line in error.what.split("\n"))
    out = console(stderr=True)
    out.print(f"error: {what}", style="bold red", soft_wrap=True)
    if error.where:
        out.print(f"where: {clean(error.where)}", soft_wrap=True)
    out.print(f"what to do: {clean(error.remedy)}", soft_wrap=True)
    out.print(f"more: secure-xcom explain {error.error_id()}", soft_wrap=True)


def findings_json(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return findings as JSON objects."""
    return [finding.record("subject", "status", "text", "remedy") for finding in findings]


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 where every finding is a note, 1 otherwise."""
    return FINE if worst(findings) == "ok" else FOUND_SOMETHING


def stdin_text(limit: int) -> str:
    """Return standard input, up to a limit of characters."""
    return sys.stdin.read(limit)
