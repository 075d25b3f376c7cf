"""Every maintenance job with its options and its run function, for the commands and for the maintenance DAG.

A run function imports what it works with when it runs: Airflow parses the maintenance DAG often, and a command
starts only its own job. No job of the DAG opens an XCom: the identity that runs them needs no right to unwrap a
data key or to read a payload (role ``maintenance`` of the access policy).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from secure_xcom.ops.jobs import anchor_jobs, audit_jobs, count_job, params
from secure_xcom.ops.jobs.durations import duration
from secure_xcom.ops.jobs.job import Job, JobContext, acting, option

if TYPE_CHECKING:
    from secure_xcom.ops.jobs.doctor import DoctorReport
    from secure_xcom.ops.jobs.expire import ExpireReport
    from secure_xcom.ops.jobs.gc_report import GcReport
    from secure_xcom.ops.jobs.rewrap_plan import RewrapReport
    from secure_xcom.ops.jobs.shred import ShredReport
    from secure_xcom.stores import Store

_RATE_HELP = "Maximum number of deletions per second; 0 for no limit."


@dataclass(frozen=True, kw_only=True)
class ShredOptions:
    """Options of shred."""

    apply: bool = acting("Destroy keys, payloads and claims", former=("--delete",), param=params.DELETE)


def _shred(context: JobContext, options: ShredOptions) -> ShredReport:
    from secure_xcom.ops.jobs.shred import shred_all

    with context.access_log() as access_log, context.database() as database:
        return shred_all(
            context.deployment.policy,
            database,
            access_log,
            delete=options.apply,
            operator=context.operator,
            ledger=context.deployment.ledger,
            progress=context.progress,
        )


@dataclass(frozen=True, kw_only=True)
class ExpireOptions:
    """Options of expire."""

    apply: bool = acting("Delete expired XComs", former=("--delete",), param=params.DELETE)
    grace: str = option("1h", "How long to keep an XCom after it expires.", metavar="DURATION")
    rate: float = option(0, _RATE_HELP, metavar="NUMBER", minimum=0, param=params.RATE)


def _expire(context: JobContext, options: ExpireOptions) -> ExpireReport:
    from secure_xcom.ops.jobs.expire import expire

    with context.access_log() as access_log, context.database() as database:
        return expire(
            context.deployment.policy,
            database,
            access_log,
            context.state("expire"),
            delete=options.apply,
            operator=context.operator,
            grace=duration(options.grace, "--grace"),
            rate=options.rate,
            progress=context.progress,
        )


@dataclass(frozen=True, kw_only=True)
class RewrapOptions:
    """Options of rewrap."""

    apply: bool = acting("Change rows", param=params.REWRAP)
    compartment: str | None = option(
        None, "Only references of this compartment.", metavar="NAME", param=params.COMPARTMENT
    )
    older_than_version: int | None = option(
        None, "Only data keys that an older version of their wrapping key wrapped.", metavar="NUMBER", minimum=2,
        param=params.OLDER_THAN_VERSION,
    )  # fmt: skip
    add_key: str | None = option(
        None, "Add this key to every reference, so that it can open them as well.", metavar="KEY_URI"
    )
    remove_key: str | None = option(None, "Remove this key's wraps from every reference.", metavar="KEY_URI")


def _rewrap(context: JobContext, options: RewrapOptions) -> RewrapReport:
    from secure_xcom.ops.jobs.rewrap import rewrap
    from secure_xcom.ops.jobs.rewrap_plan import Plan

    plan = Plan(
        options.compartment or None, options.older_than_version or None, options.add_key, options.remove_key
    )
    with context.access_log() as access_log, context.database() as database:
        return rewrap(
            context.deployment.policy,
            database,
            access_log,
            context.state("rewrap"),
            plan,
            apply=options.apply,
            operator=context.operator,
            progress=context.progress,
        )


@dataclass(frozen=True, kw_only=True)
class GcOptions:
    """Options of gc."""

    apply: bool = acting("Delete orphaned payloads", former=("--delete",), param=params.DELETE)
    older_than: str = option(
        "24h", "Keep payloads younger than this; at least 2h.", metavar="DURATION", param=params.OLDER_THAN
    )
    rate: float = option(0, _RATE_HELP, metavar="NUMBER", minimum=0, param=params.RATE)
    max_share: float = option(
        0.5,
        "In each compartment and store, refuse to delete more than this share of the payloads that are old "
        "enough.",
        minimum=0,
        maximum=1,
        param=params.MAX_SHARE,
    )
    all_versions: bool = option(
        False, "In S3, examine and delete every version, not only the newest.", "--all-versions"
    )


def _gc(context: JobContext, options: GcOptions) -> GcReport:
    from secure_xcom.core.operator_errors import UnsafeRefused
    from secure_xcom.ops.jobs.gc import WINDOW_LEAST, collect
    from secure_xcom.stores import store

    window = duration(options.older_than, "--older-than")
    if window < WINDOW_LEAST:
        raise UnsafeRefused(
            "the window is under two hours: a push may take that long, or a clock may be wrong",
            where="--older-than",
            remedy="write --older-than 2h or more",
        )
    with context.database() as database:
        return collect(
            context.deployment.policy,
            database,
            context.state("gc"),
            delete=options.apply,
            window=window,
            rate=options.rate,
            max_share=options.max_share,
            stores=_every_version if options.all_versions else store,
            progress=context.progress,
        )


def _every_version(uri: str) -> Store:
    from secure_xcom.stores import store
    from secure_xcom.stores.s3_versions import EveryVersion

    return EveryVersion(uri) if uri.startswith("s3://") else store(uri)


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Options of doctor."""

    fix: bool = option(False, "Fix what is safe to fix (file modes), or only report.", "--fix/--dry-run")
    payloads: bool = option(
        True, "Compare rows with payloads, as gc does.", "--payloads/--no-payloads", param=params.PAYLOADS
    )
    role: Literal["worker", "maintenance"] = option(
        "maintenance", "The role of the identity that runs doctor. Rights beyond the role are reported."
    )
    examples: int = option(20, "Number of examples to show for each kind of problem.", metavar="NUMBER", minimum=1)


def _doctor(context: JobContext, options: DoctorOptions) -> DoctorReport:
    from secure_xcom.ops.jobs.doctor import examine

    return examine(
        context,
        payloads=options.payloads,
        role=options.role,
        limit=options.examples,
        fix=options.fix,
    )


SHRED = Job(
    "shred",
    "Shred exclusive XComs whose reader has succeeded.",
    "Destroys what the tasks themselves have no permission to destroy. XComs under a legal hold stay.",
    ShredOptions,
    _shred,
    keeps_state=False,
    found="there is something to shred",
    examples=("secure-xcom claims shred", "secure-xcom claims shred --apply"),
)
EXPIRE = Job(
    "expire",
    "Delete expired XComs.",
    "Finds XComs whose retention period has ended, and with --apply deletes their payloads and rows. XComs "
    "under a legal hold stay. The access log records each deletion.",
    ExpireOptions,
    _expire,
    found="there are expired XComs",
    examples=("secure-xcom expire", "secure-xcom expire --apply --grace 2h"),
)
REWRAP = Job(
    "rewrap",
    "Rewrap data keys with the newest key version, or with another key.",
    "No payload is moved. Within one key service, no data key is exposed; from one service to another, it "
    "passes through this process. Safe while tasks run.",
    RewrapOptions,
    _rewrap,
    found="there is something to rewrap",
    examples=(
        "secure-xcom rewrap",
        "secure-xcom rewrap --apply --compartment pay --older-than-version 3",
        "secure-xcom rewrap --apply --compartment pay --add-key vault://vault_xcom/transit/keys/pay-2",
    ),
)
GC = Job(
    "gc",
    "Delete orphaned payloads, and report missing ones.",
    "Finds payloads that no row names, and rows whose payload is missing. The database is that of "
    "SECURE_XCOM_DB, by default Airflow's own; the stores are those of the access policy. An interrupted run "
    "resumes where it stopped.",
    GcOptions,
    _gc,
    found="there are orphaned or missing payloads",
    examples=(
        "secure-xcom gc",
        "secure-xcom gc --apply --older-than 48h --rate 200",
        "secure-xcom gc --apply --all-versions",
    ),
)
DOCTOR = Job(
    "doctor",
    "Diagnose problems and suggest fixes.",
    "Finds plaintext rows, references that cannot be opened, stale keys, DAGs without a compartment, and "
    "settings and rights that leak values. No XCom is opened, and without --fix nothing is changed.",
    DoctorOptions,
    _doctor,
    found="there are problems",
    examples=("secure-xcom doctor", "secure-xcom doctor --no-payloads --json", "secure-xcom doctor --fix"),
)
STEPS: dict[str, Job[Any]] = {
    job.name: job
    for job in (
        SHRED,
        EXPIRE,
        REWRAP,
        GC,
        anchor_jobs.ANCHOR,
        audit_jobs.ALARMS,
        audit_jobs.RECONCILE,
        DOCTOR,
        count_job.COUNT,
    )
}
"""The jobs of the maintenance DAG, in the order in which it runs them."""
FORMER_STEPS = {"audit_seal": "audit_anchor"}
"""Names of steps that DAG files may still have, and today's."""
