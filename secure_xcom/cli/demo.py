"""``secure-xcom demo``: demonstrate the data path on a temporary Airflow with a local keyring and a file store."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from secure_xcom.cli import options, output


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder, and print how to inspect it.")] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print without colors and boxes, as when the output is not a terminal.")
    ] = False,
    as_json: options.AsJson = False,
    ui: Annotated[
        bool,
        typer.Option(
            "--ui", help="Start an Airflow with sealed XComs to explore in its UI, and run until Ctrl-C."
        ),
    ] = False,
) -> None:
    """Run a demonstration on a temporary Airflow: the data path of a value, theft and tampering.

    Takes about a minute. Everything runs in one temporary folder, listens on 127.0.0.1 only, and is stopped and
    removed at the end.
    """
    from secure_xcom.demo import checks, show
    from secure_xcom.demo.story import Story

    _check_installation()
    started = time.monotonic()
    # The real path, since the temporary folder may be behind a link.
    folder = Path(tempfile.mkdtemp(prefix="secure-xcom-demo-")).resolve()
    with _ending_on_signals():
        if ui:
            _show_ui(folder, keep=keep, plain=plain, as_json=as_json)
            return
        try:
            evidence = Story(folder, _Progress(plain or as_json).step).tell()
            checked = checks.check(evidence)
            seconds = time.monotonic() - started
            if as_json:
                output.show_json(show.as_json(evidence, checked, seconds, folder if keep else None))
            else:
                show.show(evidence, checked, seconds, plain=plain)
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            elif not as_json:
                show.how_to_look(folder, plain=plain)
    raise typer.Exit(output.FINE if all(check.held for check in checked) else output.FOUND_SOMETHING)


def _show_ui(folder: Path, *, keep: bool, plain: bool, as_json: bool) -> None:
    from secure_xcom.demo import ui

    try:
        with ui.shown(folder, _Progress(plain or as_json).step) as shown:
            if as_json:
                output.show_json(ui.places(shown))
            else:
                ui.show(output.console(plain=plain), shown)
            ui.wait_for_interrupt()
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if keep and not as_json:
        output.console(plain=plain).print(f"kept:       {folder}", soft_wrap=True)


def _check_installation() -> None:
    from importlib import metadata

    from secure_xcom.core.operator_errors import CommandError

    if not any(entry_point.name == "secure_xcom" for entry_point in metadata.entry_points(group="airflow.policy")):
        raise CommandError(
            "secure-xcom is not installed in this Python environment, so Airflow would not find its hooks",
            where=sys.prefix,
            remedy="run `make demo`, or `pip install` the package into an environment of its own",
        )


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demo in order, as Ctrl-C does."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        # A second signal must not interrupt the clean-up.
        for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(other, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Progress:
    """Prints to standard error what is being done and how long it took."""

    def __init__(self, plain: bool) -> None:
        self._out = output.console(stderr=True, plain=plain)
        self._started = time.monotonic()

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        if self._out.is_terminal and not os.environ.get("NO_COLOR"):
            with self._out.status(f"{what} ..."):
                yield
            self._say(what)
        else:
            # Said before it begins: a step takes up to half a minute, and a log has no spinner.
            self._say(f"{what} ...")
            yield

    def _say(self, what: str) -> None:
        self._out.print(f"{time.monotonic() - self._started:5.1f} s  {what}", style="dim")
