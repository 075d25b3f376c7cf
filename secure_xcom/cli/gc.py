"""``secure-xcom gc``: payloads without a row, and rows without a payload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import context, options

if TYPE_CHECKING:
    from secure_xcom.ops.jobs.gc_report import GcReport


def gc(
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete payloads that no row names. Without it nothing is changed.")
    ] = False,
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="Leave younger payloads alone; 2h at the least.")
    ] = "24h",
    rate: options.DeletionRate = 0,
    max_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="In each compartment and store, refuse to delete more than this share of the payloads that are "
            "old enough.",
        ),
    ] = 0.5,
    all_versions: Annotated[
        bool, typer.Option("--all-versions", help="In S3, look at and delete every version, not the newest alone.")
    ] = False,
    state: context.State = None,
    config: context.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Find payloads that no row names, and rows whose payload is gone.

    Airflow's database is that of SECURE_XCOM_DB, else Airflow's own; the stores are those of the access policy. A
    run that was stopped goes on where it was. Exit code 1 where anything was found and is still there.
    """
    from secure_xcom.core.errors import UnsafeRefused
    from secure_xcom.ops.jobs.gc import WINDOW_LEAST, collect
    from secure_xcom.stores import Store, store

    window = context.duration(older_than, "--older-than")
    if window < WINDOW_LEAST:
        raise UnsafeRefused(
            "the window is under two hours: a push may be under way for that long, or a clock be wrong",
            where="--older-than",
            remedy="write --older-than 2h or more",
        )

    def opened(uri: str) -> Store:
        if all_versions and uri.startswith("s3://"):
            from secure_xcom.stores.s3_versions import EveryVersion

            return EveryVersion(uri)
        return store(uri)

    policy = context.load(config).policy
    with context.database() as database, context.progress(as_json=as_json) as progress:
        report = collect(
            policy,
            database,
            context.state_file(state, "gc"),
            delete=delete,
            window=window,
            rate=rate,
            max_share=max_share,
            stores=opened,
            progress=progress,
        )
    context.end(report, lines(report), as_json=as_json)


def lines(report: GcReport) -> list[str]:
    """The report for people."""
    size = context.bytes_text
    found = [
        f"{report.payloads} payloads old enough, {report.young} younger, {report.foreign} names that are not ours",
        f"{report.rows} rows, {report.references} of them references",
        f"{report.orphans} payloads without a row ({size(report.orphan_bytes)})",
        *context.examples("", report.orphan_examples, report.orphans)[1:],
        f"{report.missing} rows without a payload",
        *context.examples("", report.missing_examples, report.missing)[1:],
    ]
    if report.missing:
        found.append("what to do: clear their tasks, or restore the payloads; gc deletes no row")
    if report.unreadable:
        found.append(
            f"{report.unreadable} references cannot be read (see `secure-xcom doctor`): what they may mean stays"
        )
    if report.deleting:
        found.append(
            f"deleted {report.deleted} ({size(report.deleted_bytes)}), kept {report.held} (held, or beside a row "
            f"that cannot be read), {report.alive} found alive, {report.failed} could not be deleted"
        )
        found += context.examples("could not be deleted:", report.failures, report.failed)
    elif report.orphans:
        found.append("nothing was deleted: run it with --delete")
    found += context.examples("could not be listed:", report.unlisted, len(report.unlisted))
    found += context.examples("too large a share, so nothing was deleted:", report.refused, len(report.refused))
    if report.refused:
        found.append("what to do: see who left so many payloads there; then allow it with --max-share 1")
    for entry in report.stores:
        if entry.get("versioning") in ("enabled", "suspended"):
            found.append(
                f"{entry['store']}: versioning is {entry['versioning']}, object lock: {entry['object_lock']}; "
                "deleted payloads stay as old versions until a lifecycle rule or --all-versions removes them"
            )
    return found
