"""``secure-xcom completion``: the script with which a shell completes commands and options."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import options, output

_NAME = "secure-xcom"
_VARIABLE = "_SECURE_XCOM_COMPLETE"


class Shell(str, Enum):
    """A shell that can complete."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(
    shell: Annotated[Shell | None, typer.Argument(help="The shell. Default: that of SHELL.")] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Install the script where the shell loads it at startup.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Print or install the completion script of a shell.

    Without --install, the script is printed and nothing is changed. --install adds a line to ~/.bashrc or
    ~/.zshrc; fish needs none.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # not in its list of names
    from typer.completion import install as write  # type: ignore[attr-defined]  # the same

    name = (shell or _current()).value
    if install:
        _, path = write(shell=name, prog_name=_NAME, complete_var=_VARIABLE)
        if as_json:
            output.show_json({"shell": name, "file": str(path)})
        else:
            print(f"completion for {name} is in {path}; it takes effect in a new shell")
        return
    script = get_completion_script(prog_name=_NAME, complete_var=_VARIABLE, shell=name)
    if as_json:
        output.show_json({"shell": name, "script": script})
    else:
        print(script)


def _current() -> Shell:
    from secure_xcom.core.operator_errors import CommandError

    name = Path(os.environ.get("SHELL", "")).name
    if name not in set(Shell):
        raise CommandError(
            f"there is no completion for the shell {name!r:.40}" if name else "the shell is not known",
            where="SHELL",
            remedy=f"name one of {', '.join(Shell)}",
        )
    return Shell(name)
