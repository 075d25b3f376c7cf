"""What rewrap is asked to do, checked against the access policy, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.operator_errors import CommandError, UnsafeRefused
from secure_xcom.keys import KeyUri
from secure_xcom.ops.jobs.job import Report
from secure_xcom.ops.jobs.report_text import example_lines


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the wraps.

    :ivar compartment: only references of this compartment; None for all.
    :ivar older_than: only wraps of key versions older than this one; None for all but the newest.
    :ivar add: URI of a key that is added to every reference, so that it opens it as well.
    :ivar remove: URI of a key that is removed from every reference.
    """

    compartment: str | None = None
    older_than: int | None = None
    add: str | None = None
    remove: str | None = None

    def check(self, policy: AccessPolicy) -> None:
        """Check the plan against the access policy.

        :raises CommandError: pulls would never use the key that is to be added.
        :raises UnsafeRefused: the key that is to be removed still wraps new XComs.
        """
        chosen = [policy.compartment(self.compartment)] if self.compartment else policy.compartments
        for compartment in chosen:
            listed = [KeyUri.parse(uri) for uri in compartment.all_key_uris]
            where = f"compartment {compartment.name}"
            if self.add and KeyUri.parse(self.add).name not in [key.name for key in listed]:
                raise CommandError(
                    "the key to add is not in the compartment's key_uris, so no pull would use it",
                    where=where,
                    remedy="add it to key_uris first, and name the compartment with --compartment",
                )
            if self.remove and any(
                key.name == KeyUri.parse(self.remove).name and key.wrap != "never" for key in listed
            ):
                raise UnsafeRefused(
                    "the key to remove still wraps new XComs",
                    where=where,
                    remedy="append ?wrap=never to it in key_uris, wait until every worker has read the policy, "
                    "and run this again",
                )


@dataclass
class RewrapReport(Report):
    """What a run found and did.

    :ivar due: references that need a change; :ivar changed: overwritten by a task meanwhile.
    :ivar refused: of the failed, those whose wraps none of their keys made, so that nobody can open them.
    :ivar oldest: key URI -> the oldest key version of any wrap, after this run.
    """

    applying: bool
    rows: int = 0
    references: int = 0
    due: int = 0
    rewrapped: int = 0
    changed: int = 0
    failed: int = 0
    refused: int = 0
    unreadable: int = 0
    oldest: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Return whether anything is left to do."""
        return bool(self.failed or self.changed or self.due > self.rewrapped)

    def lines(self) -> list[str]:
        """See `Report.lines`."""
        lines = [f"{self.rows} rows, {self.references} of them references, {self.due} that need a change"]
        if self.unreadable:
            lines.append(f"{self.unreadable} references were left alone: `secure-xcom doctor` says why")
        if not self.applying:
            return [*lines, "nothing was changed: run it with --apply"] if self.due else lines
        lines.append(
            f"rewrapped {self.rewrapped}, {self.changed} were overwritten meanwhile, {self.failed} failed"
        )
        lines += example_lines(self.failures, self.failed, title="failed:")
        for uri, version in sorted(self.oldest.items()):
            lines.append(f"{uri}: the oldest wrap was made by version {version}")
            # References that are unreadable or refused open for nobody, so they lose nothing.
            incomplete = self.failed > self.refused or self.changed
            if incomplete or version == 1 or not uri.startswith("vault://"):
                continue
            mount, _, name = uri.split("/", 3)[3].rpartition("/keys/")
            lines.append(
                "  both minimum versions may be raised (`trim` needs the second), if this run began an hour after "
                "the key's last rotation, and neither archive tables nor backups are needed: "
                f"vault write {mount}/keys/{name}/config min_decryption_version={version} "
                f"min_encryption_version={version}"
            )
        return lines
