"""Check the models of the protocols with Spin: each must hold, and the checker must refute each broken variant.

It prints one line for each check and ends with 1 if one came out otherwise than expected.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

MODELS = Path(__file__).resolve().parent.parent / "docs" / "evidence" / "models"
# Without this limit a state space that grew by mistake would fill the machine's memory.
_MEMORY_MIB = 4096
_DEPTH = 2_000_000


class Check(NamedTuple):
    """A model with some macros defined, and one of its properties; whether it is expected to hold."""

    model: str
    rule: str
    macros: tuple[str, ...] = ()
    holds: bool = True


CHECKS = (
    Check("claim", "one_reader"),
    Check("claim", "kept_for_the_claimant"),
    Check("claim", "one_reader", ("REMOVE_AT_ONCE",), holds=False),
    Check("claim", "one_reader", ("NO_CONDITION",), holds=False),
    Check("claim", "one_reader", ("OPEN_FIRST",), holds=False),
    Check("claim", "kept_for_the_claimant", ("ANY_CLAIM",), holds=False),
    Check("gc", "named_payloads_stay"),
    Check("gc", "named_payloads_stay", ("NO_WINDOW",), holds=False),
    Check("gc", "named_payloads_stay", ("ROWS_FIRST", "NO_SECOND_LOOK"), holds=False),
    Check("gc", "named_payloads_stay", ("SECOND_TABLE_FIRST", "NO_SECOND_LOOK"), holds=False),
    # Either of these two faults alone is caught by the other control.
    Check("gc", "named_payloads_stay", ("ROWS_FIRST",)),
    Check("gc", "named_payloads_stay", ("NO_SECOND_LOOK",)),
    Check("rewrap", "every_row_opens"),
    Check("rewrap", "every_row_opens", ("VERSIONS",)),
    Check("rewrap", "every_row_opens", ("NO_WAIT",), holds=False),
    Check("rewrap", "every_row_opens", ("NO_COMPARE",), holds=False),
    Check("rewrap", "every_row_opens", ("IGNORE_REPORT",), holds=False),
    Check("rewrap", "every_row_opens", ("REMOVE_BLINDLY",), holds=False),
    Check("rewrap", "every_row_opens", ("VERSIONS", "NO_WAIT"), holds=False),
    Check("rewrap", "every_row_opens", ("VERSIONS", "NO_COMPARE"), holds=False),
    Check("anchor", "once"),
    Check("anchor", "none_lost"),
    Check("anchor", "fixed"),
    Check("anchor", "can_be_finished"),
    Check("anchor", "none_lost", ("ONE_LISTING",), holds=False),
    Check("anchor", "can_be_finished", ("NO_PENDING",), holds=False),
    Check("anchor", "fixed", ("OVERWRITE",), holds=False),
    Check("anchor", "once", ("OVERWRITE",), holds=False),
    Check("anchor", "once", ("EVERY_EVENT",), holds=False),
)


class Result(NamedTuple):
    """What the checker found: whether the property holds, and how many states it has seen."""

    holds: bool
    states: int
    seconds: float


def build(check: Check, folder: Path) -> None:
    """Make the checker of a model, if the folder does not have it yet.

    :raises SystemExit: the model does not compile.
    """
    if (folder / "pan").exists():
        return
    folder.mkdir()
    macros = [f"-D{name}" for name in check.macros]
    _call(["spin", "-a", *macros, str(MODELS / f"{check.model}.pml")], folder, forbidden="Error")
    sizes = ["-DSAFETY", "-DCOLLAPSE", "-DVECTORSZ=2048", f"-DMEMLIM={_MEMORY_MIB}"]
    _call([os.environ.get("CC", "cc"), "-O2", *sizes, "-o", "pan", "pan.c"], folder)


def run(check: Check, folder: Path) -> Result:
    """Run the checker.

    :raises SystemExit: the search did not end.
    """
    began = time.monotonic()
    report = _call(["./pan", f"-m{_DEPTH}", "-N", check.rule], folder, forbidden="error: max search depth")
    # With one property, Spin ignores -N and says so.
    claim = re.search(r"never claim\s+\+ \((\w+)\)", report)
    errors = re.search(r"errors: (\d+)", report)
    states = re.search(r"(\d+)(?:e\+\d+)? states, stored", report)
    if claim is None or claim[1] != check.rule or errors is None or states is None:
        raise SystemExit(f"{check.model}.pml: the report of the checker has another form:\n{report}")
    if errors[1] == "0" and "Search not completed" in report:
        raise SystemExit(f"{check.model}.pml: the search did not end:\n{report}")
    return Result(errors[1] == "0", int(states[1]), time.monotonic() - began)


def _call(command: list[str], folder: Path, *, forbidden: str = "") -> str:
    done = subprocess.run(  # noqa: S603  # the tools that `main` looked for, and what they made
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if forbidden and forbidden in done.stdout:
        raise SystemExit(done.stdout)
    if done.returncode and command[0] != "./pan":
        raise SystemExit(done.stdout)
    return done.stdout


def main() -> None:
    """Run the checks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="claim, gc, rewrap, anchor; all without it")
    wanted = parser.parse_args().models
    for tool in ("spin", os.environ.get("CC", "cc")):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed: on Debian, apt-get install spin gcc")
    chosen = [check for check in CHECKS if not wanted or check.model in wanted]
    with tempfile.TemporaryDirectory(prefix="secure-xcom-models-") as folder:
        as_expected = [_checked(check, Path(folder, "-".join((check.model, *check.macros)))) for check in chosen]
    sys.exit(0 if chosen and all(as_expected) else 1)


def _checked(check: Check, folder: Path) -> bool:
    """Run one check and print its line; return whether it came out as expected."""
    build(check, folder)
    result = run(check, folder)
    expected = result.holds == check.holds
    name = " ".join((check.model, check.rule, *check.macros))
    verdict = "holds" if result.holds else "is refuted"
    mark = "" if expected else "   NOT AS EXPECTED"
    sys.stdout.write(f"{name:<60} {verdict:<10} {result.states:>9} states {result.seconds:6.1f} s{mark}\n")
    sys.stdout.flush()
    return expected


if __name__ == "__main__":
    main()
