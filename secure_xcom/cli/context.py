"""What commands have in common: the deployment, the context of a job, a progress bar, a report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_xcom.cli import output

if TYPE_CHECKING:
    from secure_xcom.deployment import Deployment
    from secure_xcom.ops.jobs.job import JobContext
    from secure_xcom.ops.jobs.progress import Progress

State = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The state file. Default: a file in AIRFLOW_HOME/secure_xcom/state."),
]


def load(config: Path | None) -> Deployment:
    """Return the deployment that a command works on, with all loggers writing to standard error.

    :raises ConfigurationError: its settings cannot be used.
    """
    from secure_xcom.deployment import config_file

    loaded = config_file.load(config)
    output.logs_to_stderr()
    return loaded


@contextmanager
def job_context(config: Path | None, *, state: Path | None = None, as_json: bool) -> Iterator[JobContext]:
    """Give a job what it works with, and a progress bar on the terminal.

    :param state: the state file; by default one in Airflow's home.
    :raises ConfigurationError: the settings cannot be used.
    """
    from secure_xcom.ops.jobs.gc_inventory import default_folder
    from secure_xcom.ops.jobs.job import JobContext
    from secure_xcom.ops.xcom_table import database_url

    deployment = load(config)
    with progress(as_json=as_json) as tell:
        yield JobContext(
            deployment, operator(), lambda job: state or default_folder() / f"{job}.sqlite", database_url, tell
        )


def operator() -> str:
    """Return who runs this, for the access log: the operating system's user name, which users cannot choose."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # A container's user may have no name.
        return f"uid {os.getuid()}"


@contextmanager
def progress(*, as_json: bool) -> Iterator[Progress]:
    """Show a progress bar on the terminal; none where the output is no terminal or JSON."""
    out = output.console(stderr=True)
    if as_json or not out.is_terminal:
        yield lambda _doing, _done, _of: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=out, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(doing: str, done: int, of: int | None) -> None:
            if doing not in tasks:
                tasks[doing] = bars.add_task(output.clean(doing), total=of)
            bars.update(tasks[doing], completed=done, total=of)

        yield tell


def show(record: Mapping[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Print a report as JSON or as lines."""
    if as_json:
        output.show_json(json.loads(json.dumps(record, default=str)))
        return
    out = output.console()
    for line in lines:
        out.print(output.clean(line), soft_wrap=True)


def show_upgrade(database: str, before: str | None, after: str | None, *, dry_run: bool, as_json: bool) -> int:
    """Print the versions of a table before and after its upgrade, and return the command's exit code."""
    verb = "would be migrated to" if dry_run else "migrated to"
    line = f"{database}: {'already at' if before == after else verb} {after}"
    show({"database": database, "before": before, "after": after, "dry_run": dry_run}, [line], as_json=as_json)
    return output.FOUND_SOMETHING if dry_run and before != after else output.FINE
