"""The options of ``secure-xcom audit`` that name sinks, the anchored log and its key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from secure_xcom.cli import context
from secure_xcom.cli.job_command import typer_option
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.ops.audit_trail.locations import Locations
from secure_xcom.ops.jobs import audit_options

SinkOption = Annotated[list[str] | None, typer_option(audit_options.SINK)]
LogOption = Annotated[str | None, typer_option(audit_options.LOG)]
KeyOption = Annotated[str | None, typer_option(audit_options.KEY)]
NameOption = Annotated[str | None, typer_option(audit_options.NAME)]
VerifierOption = Annotated[list[str] | None, typer_option(audit_options.VERIFIER)]
QuietOption = Annotated[int, typer_option(audit_options.QUIET)]


class Place(Locations):
    """The options of one command, and the settings behind them."""

    def __init__(
        self,
        config: Path | None,
        *,
        sinks: Sequence[str] | None = None,
        log: str | None = None,
        key: str | None = None,
        name: str | None = None,
        verifiers: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            lambda: context.load(config), sinks=sinks, log=log, key=key, name=name, verifiers=verifiers
        )


def read_file(path: Path) -> bytes:
    """Read a small file.

    :raises CommandError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(
            f"the file cannot be read ({type(error).__name__})",
            where=str(path),
            remedy="name an existing file",
        ) from None


def write_file(path: Path, content: bytes) -> None:
    """Write a small file.

    :raises CommandError: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CommandError(
            f"the file cannot be written ({type(error).__name__})", where=str(path), remedy="choose another path"
        ) from None
