"""The jobs on the anchored log, for ``secure-xcom audit`` and the maintenance DAG: anchor and prune."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_xcom.core import clock
from secure_xcom.core.event_chain import QUIET_SECONDS
from secure_xcom.ops.audit_trail.locations import Locations
from secure_xcom.ops.jobs import audit_options
from secure_xcom.ops.jobs.job import Job, JobContext, Report, acting, option, shared

if TYPE_CHECKING:
    from secure_xcom.ops.audit_trail.anchor import Anchored
    from secure_xcom.ops.audit_trail.prune import Pruned

# --- anchor -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AnchorOptions:
    """Options of anchor."""

    sink: list[str] | None = shared(audit_options.SINK, None)
    log: str | None = shared(audit_options.LOG, None)
    key: str | None = shared(audit_options.KEY, None)
    name: str | None = shared(audit_options.NAME, None)
    verifier: list[str] | None = shared(audit_options.VERIFIER, None)
    quiet: int = shared(audit_options.QUIET, QUIET_SECONDS)
    checkpoint: Path | None = option(
        None, "Also write the newest checkpoint here, to be kept elsewhere.", metavar="FILE"
    )
    dry_run: bool = option(False, "Show what would be anchored and change nothing.", "--dry-run")


@dataclass(frozen=True)
class AnchorReport(Report):
    """What was anchored, or would be.

    :ivar checkpoint: the number of the newest checkpoint; :ivar root: its root hash in hex.
    """

    anchored: Anchored
    checkpoint: int
    root: str
    dry_run: bool

    @property
    def found(self) -> bool:
        """Return whether an event does not continue its chain or, in a dry run, there is something to anchor."""
        return bool(self.anchored.unsealable) or (self.dry_run and self.anchored.entries > 0)

    def record(self) -> dict[str, Any]:
        """See `Report.record`."""
        return {
            **self.anchored.record(), "checkpoint": self.checkpoint, "root": self.root, "dry_run": self.dry_run
        }  # fmt: skip

    def step_record(self) -> dict[str, Any]:
        """See `Report.step_record`."""
        return {**self.anchored.record(), "found": self.found}

    def lines(self) -> list[str]:
        """See `Report.lines`."""
        done = self.anchored
        if self.dry_run:
            first = f"{done.entries} events would be anchored; {done.size} are, in checkpoint {self.checkpoint}"
        else:
            resumed = ", the first of them begun by an earlier run" if done.resumed else ""
            first = (
                f"{done.entries} events anchored in {done.seals} steps{resumed}; {done.size} in all, checkpoint "
                f"{self.checkpoint}"
            )
        return [
            f"{first}; {done.waiting} too young",
            *(
                f"! {problem.subject}:{problem.line}, chain {problem.details['chain']}: {problem.text}; not "
                "anchored"
                for problem in done.unsealable
            ),
        ]


def _anchor(context: JobContext, options: AnchorOptions) -> AnchorReport:
    from secure_xcom.ops.audit_trail.anchor import anchor, plan

    locations = Locations(
        lambda: context.deployment,
        sinks=options.sink,
        log=options.log,
        key=options.key,
        name=options.name,
        verifiers=options.verifier,
    )
    anchored_log = locations.log()
    if options.dry_run:
        anchored = plan(anchored_log, locations.sources(), quiet_seconds=options.quiet)
    else:
        anchored = anchor(anchored_log, locations.sources(), locations.signer(), quiet_seconds=options.quiet)
    number, head = anchored_log.newest()
    if options.checkpoint is not None and number and not options.dry_run:
        _write(options.checkpoint, anchored_log.note(number))
    return AnchorReport(anchored, number, head.root.hex(), options.dry_run)


def _write(path: Path, content: bytes) -> None:
    from secure_xcom.core.operator_errors import CommandError

    try:
        path.write_bytes(content)
    except OSError as error:
        raise CommandError(
            f"the file cannot be written ({type(error).__name__})", where=str(path), remedy="choose another path"
        ) from None


def _no_anchored_log(context: JobContext, _options: AnchorOptions) -> dict[str, Any] | None:
    settings = context.deployment.settings
    return None if settings.sealed_log and settings.sealing_key else {"sealed_log": "none is set"}


ANCHOR = Job(
    "audit_anchor",
    "Anchor finished chains of the access log, and sign the anchored log.",
    "Copies events of chains that have ended or gone quiet into the anchored log, and signs the new checkpoint. "
    "Run it regularly, on each machine that has its own sinks. Each run adds the new events; an interrupted run "
    "is finished first. If two runs overlap, one stops with an error. An event that does not continue its chain "
    "is not copied, and `audit verify` explains why.",
    AnchorOptions,
    _anchor,
    keeps_state=False,
    command="anchor",
    former=("seal",),
    found="an event does not continue its chain; with --dry-run also: there are events to anchor",
    examples=(
        "secure-xcom audit anchor --dry-run",
        "secure-xcom audit anchor --checkpoint /elsewhere/checkpoint",
    ),
    idle=_no_anchored_log,
)


# --- prune ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """Options of prune."""

    keep_days: int = option(..., "Keep entries younger than this.", metavar="DAYS", minimum=1)
    apply: bool = acting("Delete entries")
    log: str | None = shared(audit_options.LOG, None)
    key: str | None = shared(audit_options.KEY, None)
    name: str | None = shared(audit_options.NAME, None)
    verifier: list[str] | None = shared(audit_options.VERIFIER, None)


@dataclass(frozen=True)
class PruneReport(Report):
    """What was deleted, or would be.

    :ivar before: the time of the oldest entry that stays, at the latest.
    """

    pruned: Pruned
    before: str
    applied: bool

    @property
    def found(self) -> bool:
        """Return whether there is something left to delete."""
        return not self.applied and self.pruned.objects > 0

    def record(self) -> dict[str, Any]:
        """See `Report.record`."""
        return {**asdict(self.pruned), "before": self.before, "dry_run": not self.applied}

    def lines(self) -> list[str]:
        """See `Report.lines`."""
        pruned, verb = self.pruned, "deleted" if self.applied else "would be deleted (--apply)"
        return [
            f"{pruned.entries} entries in {pruned.objects} objects {verb}; the first that stays is {pruned.below}"
        ]


def _prune(context: JobContext, options: PruneOptions) -> PruneReport:
    from secure_xcom.ops.audit_trail.prune import prune

    locations = Locations(
        lambda: context.deployment,
        log=options.log,
        key=options.key,
        name=options.name,
        verifiers=options.verifier,
    )
    before = clock.text_of(clock.now() - timedelta(days=options.keep_days))
    pruned = prune(locations.log(), before, locations.signer() if options.apply else None)
    return PruneReport(pruned, before, options.apply)


PRUNE = Job(
    "prune",
    "Delete old entries of the anchored log; the rest stays provable.",
    "Deletes whole bundles of 256 entries. Hashes and checkpoints stay, so the remaining entries can still be "
    "proved, and so can any event whose line was kept. A note signed by the log's key records what was deleted. "
    "Files and objects of sinks are not touched.",
    PruneOptions,
    _prune,
    keeps_state=False,
    found="there are entries to delete",
    examples=("secure-xcom audit prune --keep-days 400", "secure-xcom audit prune --keep-days 400 --apply"),
)
