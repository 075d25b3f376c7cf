"""Show what ``secure-xcom doctor`` found, in color."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_xcom.cli import output

if TYPE_CHECKING:
    from secure_xcom.ops.jobs.doctor import DoctorReport


def show(report: DoctorReport) -> None:
    """Print each finding with its remedy and a few places."""
    out = output.console()
    for finding, examples in report.shown():
        output.show_finding(out, finding)
        for line in examples:
            out.print(output.clean(line), soft_wrap=True)
    out.print(report.summary())
