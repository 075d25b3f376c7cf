"""Declare commands: one contract for all of them, and the help that shows it.

A command *reads*, *sets up*, *changes* or *repairs*. What reads changes nothing. What sets up acts, and with
``--dry-run`` shows what it would do. What deletes or rewrites rows, payloads or log entries reports, and acts with
``--apply``. What repairs reports, and acts with ``--fix``.
Exit codes: 0 nothing to do or all done, 1 what the declaration says, 2 could not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import typer
from typer.core import TyperGroup

Kind = Literal["reads", "sets up", "changes", "repairs"]
"""Whether a command changes anything, and what it does without options."""

EXIT_CODES = "Exit codes: 0 nothing to do or all done, 1 something found, 2 could not run."
# Long enough for every summary, so that none is cut.
_WHOLE = 1000


@dataclass(frozen=True)
class Contract:
    """What a user can rely on.

    :ivar found: what exit code 1 means; empty where the command never ends with it.
    :ivar examples: command lines, shown by ``--help``.
    """

    kind: Kind
    found: str
    examples: tuple[str, ...]


def add(
    app: typer.Typer,
    name: str,
    function: Callable[..., Any],
    summary: str,
    *,
    kind: Kind,
    examples: Sequence[str],
    found: str = "",
    group: str | None = None,
    former: Sequence[str] = (),
) -> None:
    """Add a command.

    :param summary: the line of the command list, an imperative sentence.
    :param found: what exit code 1 means.
    :param group: the heading in the command list.
    :param former: names that it had before; they keep working and are not shown.
    """
    contract = Contract(kind, found, tuple(examples))
    vars(function)["contract"] = contract
    epilog = _epilog(contract)
    app.command(name, short_help=summary, epilog=epilog, rich_help_panel=group)(function)
    for old in former:
        app.command(old, short_help=summary, epilog=epilog, hidden=True)(function)


def contract_of(command: Any) -> Contract:
    """Return the contract of a command of the finished command tree."""
    contract: Contract = command.callback.contract
    return contract


def _epilog(contract: Contract) -> str:
    exit_code = f", 1 {contract.found}" if contract.found else ""
    examples = "\n".join(f"  {example}" for example in contract.examples)
    # The formatter leaves paragraphs that begin with this mark as they are.
    return f"Exit codes: 0 nothing to do or all done{exit_code}, 2 could not run.\n\n\b\nExamples:\n{examples}"


def is_of_typer(error: Exception) -> bool:
    """Return whether an error is typer's own, which ends the command or prints its usage."""
    return hasattr(error, "exit_code")


class Group(TyperGroup):
    """Lists its commands under headings, each with its whole summary."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands into a help text."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for name, command in self._shown(ctx):
            rows = headings.setdefault(getattr(command, "rich_help_panel", None) or "Commands", [])
            rows.append((name, command.get_short_help_str(_WHOLE)))
        for heading, rows in headings.items():
            with formatter.section(heading):
                formatter.write_dl(rows)

    def _shown(self, ctx: Any) -> Iterator[tuple[str, Any]]:
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                yield name, command


def group(help_text: str) -> typer.Typer:
    """Return an empty group of commands."""
    app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, help=help_text)

    @app.callback(help=help_text)
    def callback() -> None:
        """Group the commands."""

    return app
