"""Options and arguments that several commands have, each with one text for the help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="A file in the form of airflow.cfg to read instead of Airflow's configuration."
    ),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the access log.")]
PolicyFile = Annotated[Path, typer.Argument(metavar="FILE", help="The access policy.")]
DeletionRate = Annotated[
    float, typer.Option(min=0, metavar="NUMBER", help="Deletions a second at the most; 0 for no limit.")
]
DagsThatLimit = Annotated[
    list[str] | None,
    typer.Option(metavar="DAG_ID", help="A DAG that is there, for globs that limit a grant. May repeat."),
]
DagsAsCompiled = Annotated[
    list[str] | None,
    typer.Option(metavar="DAG_ID", help="A DAG that is there, as for `policy compile`. May repeat."),
]
