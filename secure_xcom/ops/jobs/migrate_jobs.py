"""The jobs that an operator runs once: seal existing plaintext XComs, and convert all back to plaintext."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_xcom.ops.jobs.job import Job, JobContext, option

if TYPE_CHECKING:
    from secure_xcom.ops.jobs.migrate_report import MigrateReport


@dataclass(frozen=True, kw_only=True)
class SealExistingOptions:
    """Options of seal-existing."""

    apply: bool = option(False, "Seal rows, or only count them (the default).", "--apply/--dry-run")


def _seal_existing(context: JobContext, options: SealExistingOptions) -> MigrateReport:
    from secure_xcom.ops.jobs.migrate import seal_existing
    from secure_xcom.ops.jobs.opener import sealed_value_opener, structure_pipeline
    from secure_xcom.ops.jobs.stock_objects import old_objects

    with context.access_log(), context.database() as database:
        return seal_existing(
            context.deployment.policy,
            database,
            structure_pipeline(context.deployment),
            sealed_value_opener(context.deployment.settings),
            context.state("seal-existing"),
            old_objects(),
            apply=options.apply,
            operator=context.operator,
            progress=context.progress,
        )


@dataclass(frozen=True, kw_only=True)
class UnsealAllOptions:
    """Options of unseal-all."""

    reason: str = option(..., "The reason, for the access log.", metavar="TEXT")
    apply: bool = option(False, "Unseal rows, or only count them (the default).", "--apply/--dry-run")


def _unseal_all(context: JobContext, options: UnsealAllOptions) -> MigrateReport:
    from secure_xcom.ops.jobs.break_glass import checked_reason
    from secure_xcom.ops.jobs.migrate import unseal_all
    from secure_xcom.ops.jobs.opener import sealed_value_opener

    reason = checked_reason(options.reason)
    with context.access_log() as access_log, context.database() as database:
        return unseal_all(
            context.deployment.policy,
            database,
            access_log,
            sealed_value_opener(context.deployment.settings),
            context.state("unseal-all"),
            apply=options.apply,
            operator=context.operator,
            reason=reason,
            progress=context.progress,
        )


SEAL_EXISTING = Job(
    "seal-existing",
    "Seal existing plaintext XComs.",
    "Seals plaintext rows, and the objects of Airflow's XComObjectStorageBackend, in place. Each sealed value is "
    "read back and opened before its row is changed, and the old object is deleted last. Needs the rights to push "
    "and to pull in each compartment. Exit code 1 where anything is left.",
    SealExistingOptions,
    _seal_existing,
)
UNSEAL_ALL = Job(
    "unseal-all",
    "Convert all sealed XComs back to plaintext.",
    "For leaving the product. Needs an operator's identity that can open every compartment. The access log "
    "records each value with the operator and the reason. Expired, exclusive and shredded XComs stay sealed.",
    UnsealAllOptions,
    _unseal_all,
)
