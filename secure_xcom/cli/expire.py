"""``secure-xcom expire``: payloads and rows whose time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import context, options

if TYPE_CHECKING:
    from secure_xcom.ops.jobs.expire import ExpireReport


def expire(
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete payloads and rows. Without it nothing is changed.")
    ] = False,
    grace: Annotated[
        str, typer.Option(metavar="DURATION", help="How much longer than its time an XCom is left.")
    ] = "1h",
    rate: options.DeletionRate = 0,
    state: context.State = None,
    config: context.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Find XComs whose retention is over, and delete their payloads and rows.

    What is under a legal hold stays. Each deletion is in the access log. Exit code 1 where anything is left.
    """
    from secure_xcom.ops.jobs.expire import expire as run

    with context.at_work(config, as_json=as_json) as (deployed, database, progress):
        report = run(
            deployed.policy,
            database,
            deployed.access_log,
            context.state_file(state, "expire"),
            delete=delete,
            operator=context.operator(),
            grace=context.duration(grace, "--grace"),
            rate=rate,
            progress=progress,
        )
    context.end(report, lines(report), as_json=as_json)


def lines(report: ExpireReport) -> list[str]:
    """The report for people."""
    found = [
        f"{report.rows} rows, {report.references} of them references",
        f"{report.expired} expired ({context.bytes_text(report.expired_bytes)}), {report.held} more are held",
        *context.examples("", report.examples, report.expired)[1:],
    ]
    if report.unreadable:
        found.append(f"{report.unreadable} references were left alone: `secure-xcom doctor` says why")
    if report.deleting:
        found.append(
            f"deleted {report.deleted}, {report.changed} were written anew meanwhile, {report.failed} failed"
        )
        found += context.examples("could not be deleted:", report.failures, report.failed)
    elif report.expired:
        found.append("nothing was deleted: run it with --delete")
    return found
