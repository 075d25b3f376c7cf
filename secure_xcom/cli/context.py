"""What the commands of maintenance have in common: the deployment, the database, a progress bar, a report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NoReturn, Protocol

import typer

from secure_xcom.cli import output
from secure_xcom.core.errors import CommandError

if TYPE_CHECKING:
    from secure_xcom.deployment import Deployment
    from secure_xcom.ops.jobs.progress import Progress
    from secure_xcom.ops.xcom_table import Database

Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A file in the form of airflow.cfg to read instead of Airflow's."),
]
State = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The state file, by default below AIRFLOW_HOME/secure_xcom/state."),
]


def duration(text: str, option: str) -> timedelta:
    """A duration such as ``24h``.

    :raises CommandError: it has another form.
    """
    from secure_xcom.core.access_policy.field_types import seconds

    try:
        return timedelta(seconds=seconds(text))
    except ValueError:
        raise CommandError(
            "not a duration", where=option, remedy="write a number and s, m, h, d or w, as in 24h"
        ) from None


class Report(Protocol):
    """What a job says of itself: a dataclass.

    :ivar found: whether anything is left to be done.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def found(self) -> bool: ...


def load(config: Path | None) -> Deployment:
    """Return the deployment that a command works on, with all loggers writing to standard error.

    :raises ConfigurationError: its settings cannot be used.
    """
    from secure_xcom import deployment

    loaded = deployment.load(config)
    output.logs_to_stderr()
    return loaded


def operator() -> str:
    """Who runs this, for the access log: the operating system's name for the user, who cannot choose it freely."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # A container's user may have no name.
        return f"uid {os.getuid()}"


def reason_of(text: str) -> str:
    """A reason for the access log, as it was given.

    :raises CommandError: there is none, or none that can be kept as text.
    """
    if not text.strip():
        raise CommandError("a reason is needed", where="--reason", remedy="say who decided this, and why")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CommandError(
            "the reason is not text that can be kept", where="--reason", remedy="write it in UTF-8"
        ) from None
    return text.strip()


def state_file(given: Path | None, job: str) -> Path:
    """The state file of a job."""
    from secure_xcom.ops.jobs.gc_inventory import default_folder

    return given or default_folder() / f"{job}.sqlite"


@contextmanager
def database() -> Iterator[Database]:
    """The metadata database of SECURE_XCOM_DB, or Airflow's own."""
    from secure_xcom.ops.xcom_table import Database, database_url

    opened = Database(database_url())
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def at_work(config: Path | None, *, as_json: bool) -> Iterator[tuple[Deployment, Database, Progress]]:
    """The deployment, its metadata database and a progress bar. The access log's chain ends where nothing failed.

    :raises ConfigurationError: the settings cannot be used.
    """
    deployment = load(config)
    # Opened before anything is done, so that a log that cannot be written stops the job first.
    access_log = deployment.access_log
    with database() as opened, progress(as_json=as_json) as told:
        yield deployment, opened, told
    access_log.close()


@contextmanager
def progress(*, as_json: bool) -> Iterator[Progress]:
    """A bar on the terminal; nothing where nobody looks or JSON was asked for."""
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
    """A report: as JSON, or as lines."""
    if as_json:
        output.show_json(json.loads(json.dumps(record, default=str)))
        return
    out = output.console()
    for line in lines:
        out.print(output.clean(line), soft_wrap=True)


def end(report: Report, lines: Sequence[str], *, as_json: bool) -> NoReturn:
    """Show a job's report and end the command: 1 where anything is left, 0 where nothing is."""
    show(asdict(report), lines, as_json=as_json)
    raise typer.Exit(output.FOUND_SOMETHING if report.found else output.FINE)


def bytes_text(size: int) -> str:
    """A size for people."""
    step: float = size
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if step < 1024:
            return f"{step:.0f} {unit}" if unit == "bytes" else f"{step:.1f} {unit}"
        step /= 1024
    return f"{step:.1f} TiB"


def examples(title: str, names: Sequence[str], count: int) -> list[str]:
    """A few names below a title, and how many more there are."""
    if not names:
        return []
    more = [f"  ... and {count - len(names)} more"] if count > len(names) else []
    return [title, *(f"  {name}" for name in names), *more]
