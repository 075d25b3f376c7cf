"""``secure-xcom seal-existing`` and ``secure-xcom unseal-all``: what is there, sealed in place, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_xcom.cli import context, options

if TYPE_CHECKING:
    from secure_xcom.core.pipeline.push_and_pull import Pipeline
    from secure_xcom.deployment import Deployment
    from secure_xcom.ops.jobs.migrate_report import MigrateReport
    from secure_xcom.ops.jobs.opener import Opener

_NOT_TOUCHED = (
    "not touched: task logs, rendered template fields, Airflow's table log, archive tables and backups, which "
    "keep what they had; see `secure-xcom doctor`"
)


def seal_existing(
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Seal rows, or only count them (the default).")
    ] = False,
    state: context.State = None,
    config: context.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Seal plaintext rows, and the objects of Airflow's XComObjectStorageBackend, in place.

    What is sealed is read back and opened before the row is changed, and an old object is deleted last. Needs
    rights to push and to pull in each compartment. Exit code 1 where anything is left.
    """
    from secure_xcom.ops.jobs.migrate import seal_existing as run
    from secure_xcom.ops.jobs.stock_objects import old_objects

    with context.at_work(config, as_json=as_json) as (deployed, database, progress):
        pipeline, opener = _tools(deployed)
        report = run(
            deployed.policy,
            database,
            pipeline,
            opener,
            context.state_file(state, "seal-existing"),
            old_objects(),
            apply=apply,
            operator=context.operator(),
            progress=progress,
        )
    context.end(report, lines(report, "sealed"), as_json=as_json)


def unseal_all(
    reason: options.Reason,
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Unseal rows, or only count them (the default).")
    ] = False,
    state: context.State = None,
    config: context.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Put every sealed value back into its row in plaintext, for leaving the product.

    Needs an operator's identity, which may open every compartment. Each value is in the access log, with the
    operator and the reason. Expired, exclusive and shredded XComs stay sealed.
    """
    from secure_xcom.ops.jobs.migrate import unseal_all as run

    reason = context.reason_of(reason)
    with context.at_work(config, as_json=as_json) as (deployed, database, progress):
        _, opener = _tools(deployed)
        report = run(
            deployed.policy,
            database,
            deployed.access_log,
            opener,
            context.state_file(state, "unseal-all"),
            apply=apply,
            operator=context.operator(),
            reason=reason,
            progress=progress,
        )
    context.end(report, lines(report, "unsealed"), as_json=as_json)


def _tools(deployed: Deployment) -> tuple[Pipeline, Opener]:
    from secure_xcom.core.codecs import Codecs
    from secure_xcom.keys import key_service
    from secure_xcom.ops.jobs.opener import Opener
    from secure_xcom.stores import store

    # Rows hold what Airflow has serialised already: it is sealed as it is, and no class is ever loaded here.
    codecs = Codecs(lambda value: value, lambda structure: structure)
    pipeline = deployed.pipeline(codecs, register=lambda _: None)
    opener = Opener(_serialised, services=key_service, stores=store, max_bytes=deployed.settings.max_bytes)
    return pipeline, opener


def _serialised(value: Any) -> Any:
    from airflow.sdk.bases.xcom import BaseXCom

    from secure_xcom.core.errors import ValueNotSerialisable

    try:
        return BaseXCom.serialize_value(value)
    except Exception as error:  # noqa: BLE001  # a class's own serialize may raise anything, and quote the value
        raise ValueNotSerialisable(
            f"Airflow's own backend cannot keep a value of type {type(value).__qualname__} "
            f"({type(error).__name__})"
        ) from None


def lines(report: MigrateReport, verb: str) -> list[str]:
    """The report for people."""
    found = [f"{report.rows} rows, {report.due} to be {verb} ({report.objects} of them in objects)"]
    if report.skipped:
        found.append(f"{report.skipped} references stay, since no pull would open them")
        found += context.examples("", report.skips, report.skipped)[1:]
    if report.applying:
        found.append(
            f"{verb} {report.converted}, {report.changed} were written anew meanwhile, {report.failed} failed"
        )
        found += context.examples("failed:", report.failures, report.failed)
    elif report.due:
        found.append("nothing was changed: run it with --apply")
    if verb == "sealed":
        found.append(_NOT_TOUCHED)
    return found
