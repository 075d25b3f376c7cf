"""Show what ``secure-xcom audit reconcile`` found, in color."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_xcom.cli import output

if TYPE_CHECKING:
    from secure_xcom.ops.jobs.audit_jobs import ReconcileReport


def show(report: ReconcileReport) -> None:
    """Print each gap, who used the key and where it stands, then what was compared."""
    out = output.console()
    for gap, details in report.shown():
        style = "yellow" if gap.status == "ok" else "bold red"
        out.print(f"{gap.rule}: {output.clean(gap.text)}", style=style, soft_wrap=True)
        out.print(f"  {output.clean(details)}", soft_wrap=True)
    for note in report.compared.notes:
        output.show_finding(out, note)
    for line in report.summary():
        out.print(output.clean(line), soft_wrap=True)
