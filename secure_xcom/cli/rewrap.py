"""``secure-xcom rewrap``: wraps to the newest version of their key, or to another key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import context, options

if TYPE_CHECKING:
    from secure_xcom.ops.jobs.rewrap_plan import RewrapReport


def rewrap(
    apply: Annotated[bool, typer.Option("--apply", help="Change rows. Without it nothing is changed.")] = False,
    compartment: Annotated[
        str | None, typer.Option(metavar="NAME", help="References of this compartment only.")
    ] = None,
    older_than_version: Annotated[
        int | None, typer.Option(min=2, metavar="NUMBER", help="Wraps of older versions of their key only.")
    ] = None,
    add_key: Annotated[
        str | None, typer.Option(metavar="KEY_URI", help="Let this key open every reference as well.")
    ] = None,
    remove_key: Annotated[
        str | None, typer.Option(metavar="KEY_URI", help="Take this key's wraps out of every reference.")
    ] = None,
    state: context.State = None,
    config: context.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Bring the wraps of references to the newest version of their key, or to other keys.

    No payload moves. Within one key service no data key is seen; from one service to another it passes through
    this process. Safe beside running tasks. Exit code 1 where anything is left to be done.
    """
    from secure_xcom.ops.jobs.rewrap import rewrap as run
    from secure_xcom.ops.jobs.rewrap_plan import Plan

    with context.at_work(config, as_json=as_json) as (deployed, database, progress):
        report = run(
            deployed.policy,
            database,
            deployed.access_log,
            context.state_file(state, "rewrap"),
            Plan(compartment, older_than_version, add_key, remove_key),
            apply=apply,
            operator=context.operator(),
            progress=progress,
        )
    context.end(report, list(lines(report)), as_json=as_json)


def lines(report: RewrapReport) -> Iterator[str]:
    """The report for people."""
    yield f"{report.rows} rows, {report.references} of them references, {report.due} with something to be done"
    if report.unreadable:
        yield f"{report.unreadable} references were left alone: `secure-xcom doctor` says why"
    if not report.applying:
        if report.due:
            yield "nothing was changed: run it with --apply"
        return
    yield f"rewrapped {report.rewrapped}, {report.changed} were written anew meanwhile, {report.failed} failed"
    yield from context.examples("failed:", report.failures, report.failed)
    for uri, version in sorted(report.oldest.items()):
        yield f"{uri}: the oldest wrap is of version {version}"
        # What is unreadable or refused opens for nobody now, and so loses nothing.
        left = report.failed > report.refused or report.changed
        if left or version == 1 or not uri.startswith("vault://"):
            continue
        mount, _, name = uri.split("/", 3)[3].rpartition("/keys/")
        yield (
            "  min_decryption_version may be raised, unless archive tables or backups are still needed: "
            f"vault write {mount}/keys/{name}/config min_decryption_version={version}"
        )
