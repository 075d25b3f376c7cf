"""The jobs that an operator runs once: migrate plaintext XComs to sealed ones, and all back to plaintext."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_xcom.ops.jobs.job import Job, JobContext, acting, option

if TYPE_CHECKING:
    from secure_xcom.ops.jobs.migrate_report import MigrateReport


@dataclass(frozen=True, kw_only=True)
class MigrateOptions:
    """Options of migrate."""

    apply: bool = acting("Migrate rows")


def _migrate(context: JobContext, options: MigrateOptions) -> MigrateReport:
    from secure_xcom.ops.jobs.migrate_rows import seal_existing
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
class MigrateBackOptions:
    """Options of migrate-back."""

    reason: str = option(..., "The reason, for the access log.", metavar="TEXT")
    apply: bool = acting("Migrate rows")


def _migrate_back(context: JobContext, options: MigrateBackOptions) -> MigrateReport:
    from secure_xcom.ops.jobs.break_glass import checked_reason
    from secure_xcom.ops.jobs.migrate_rows import unseal_all
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


MIGRATE = Job(
    "migrate",
    "Migrate existing plaintext XComs to sealed ones.",
    "Migrates plaintext rows, and the objects of Airflow's XComObjectStorageBackend, in place. Each sealed value "
    "is read back and opened before its row is changed, and the old object is deleted last. Needs the rights to "
    "push and to pull in each compartment.",
    MigrateOptions,
    _migrate,
    former=("seal-existing",),
    found="there are plaintext XComs",
    examples=("secure-xcom migrate", "secure-xcom migrate --apply"),
)
MIGRATE_BACK = Job(
    "migrate-back",
    "Migrate all sealed XComs back to plaintext.",
    "For removing secure_xcom. Needs an operator's identity that can open every compartment. The access log "
    "records each value with the operator and the reason. Expired, exclusive and shredded XComs stay sealed.",
    MigrateBackOptions,
    _migrate_back,
    former=("unseal-all",),
    found="there are sealed XComs",
    examples=('secure-xcom migrate-back --apply --reason "we go back to the stock backend"',),
)
