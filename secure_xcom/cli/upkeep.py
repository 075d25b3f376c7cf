"""What the commands of maintenance have in common: the deployment, the database, a progress bar, a report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_xcom.cli import output
from secure_xcom.errors import CommandError

if TYPE_CHECKING:
    from secure_xcom.maintenance.database import Database
    from secure_xcom.maintenance.progress import Progress

Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A file in the form of airflow.cfg to read instead of Airflow's."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
State = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The state file, by default below AIRFLOW_HOME/secure_xcom/state."),
]

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def duration(text: str, option: str) -> timedelta:
    """A duration such as ``24h``.

    :raises CommandError: it has another form.
    """
    form = _DURATION.fullmatch(text)
    if form is None:
        raise CommandError("not a duration", where=option, remedy="write a number and s, m, h, d or w, as in 24h")
    return timedelta(seconds=int(form[1]) * _UNITS[form[2]])


def state_file(given: Path | None, job: str) -> Path:
    """The state file of a job."""
    from secure_xcom.maintenance.inventory import default_folder

    return given or default_folder() / f"{job}.sqlite"


@contextmanager
def database() -> Iterator[Database]:
    """The metadata database of SECURE_XCOM_DB, or Airflow's own."""
    from secure_xcom.maintenance.database import Database, database_url

    opened = Database(database_url())
    try:
        yield opened
    finally:
        opened.close()


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


def on_signal(work: Callable[[], None]) -> None:
    """Do the work; Ctrl-C ends it with the word that it can go on."""
    try:
        work()
    except KeyboardInterrupt:
        output.console(stderr=True).print("stopped: run the same command again and it goes on from here")
        raise
