"""A progress bar on the terminal; none where the output is not a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from secure_xcom.cli import output


@contextmanager
def shown(*, wanted: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function to call with a name, the amount done and the total amount."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = output.console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not wanted or not console.is_terminal,
    )
    tasks: dict[str, TaskID] = {}

    def tell(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(output.clean(what)[-60:], total=total)
        bar.update(tasks[what], completed=done, total=total)

    with bar:
        yield tell
