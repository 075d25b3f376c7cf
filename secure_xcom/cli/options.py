"""Options and arguments that several commands share, each with one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="A file in the format of airflow.cfg to read instead of Airflow's configuration."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done and change nothing.")]
Attempt = Annotated[
    UUID | None,
    typer.Option(
        metavar="UUID",
        help="The task instance's UUID, if several iterations of a loop have this coordinate or its attempt "
        "is archived (Airflow 3.4 and later).",
    ),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="The reason, for the access log.")]
PolicyFile = Annotated[Path, typer.Argument(metavar="FILE", help="The access policy.")]
DagsThatLimit = Annotated[
    list[str] | None,
    typer.Option(metavar="DAG_ID", help="A DAG that exists, for globs that limit a grant. Can be repeated."),
]
DagsAsCompiled = Annotated[
    list[str] | None,
    typer.Option(metavar="DAG_ID", help="A DAG that exists, as for `policy compile`. Can be repeated."),
]
