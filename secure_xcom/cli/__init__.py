"""The command ``secure-xcom``, also available as ``airflow secure-xcom``.

`secure_xcom.cli.commands` registers the commands; each has a short file or is a job of `secure_xcom.ops.jobs`.
Airflow imports this package whenever its own command starts, so everything else is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import typer

    app: typer.Typer

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None, *, name: str = "secure-xcom") -> NoReturn:
    """Run the command and end the process with its exit code: 0 no problems, 1 problems found, 2 could not run.

    :param arguments: by default those of this process.
    :param name: the name that the command was called by, for its help.
    """
    import sys

    from secure_xcom.cli.commands import app

    sys.exit(app(args=None if arguments is None else list(arguments), prog_name=name))


def __getattr__(name: str) -> Any:
    if name == "app":
        from secure_xcom.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
