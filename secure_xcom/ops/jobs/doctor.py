"""Diagnose a deployment: its rows and payloads, this machine's files and settings, and this identity's rights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from secure_xcom.core.findings import Finding
from secure_xcom.ops.checks.doctor_dags import examine_dags
from secure_xcom.ops.checks.doctor_host import examine_files, examine_logins, examine_settings, repair
from secure_xcom.ops.checks.doctor_rights import Role, examine_rights
from secure_xcom.ops.checks.doctor_teams import examine_teams
from secure_xcom.ops.checks.doctor_triggerers import examine_triggerers
from secure_xcom.ops.checks.tested_releases import untested
from secure_xcom.ops.jobs.doctor_rows import Archived, examine_payloads, examine_rows
from secure_xcom.ops.jobs.job import JobContext, Report
from secure_xcom.ops.jobs.report_text import EXAMPLES, bytes_text, example_lines

_NONE = Archived()


@dataclass(frozen=True)
class DoctorReport(Report):
    """What doctor found.

    :ivar rows: how many XCom rows were examined; :ivar findings: the problems, errors first.
    :ivar archived: what is stored of archived attempts (Airflow 3.4).
    """

    rows: int
    findings: tuple[Finding, ...]
    archived: Archived = _NONE

    @property
    def found(self) -> bool:
        """Return whether any problem is left."""
        return not all(map(is_fixed, self.findings))

    def record(self) -> dict[str, Any]:
        """See `Report.record`."""
        return {**self._counts(), "found": [_record(finding) for finding in self.findings]}

    def _counts(self) -> dict[str, int]:
        return {"rows": self.rows, "archived": self.archived.xcoms, "archived_bytes": self.archived.bytes}

    def step_record(self) -> dict[str, Any]:
        """See `Report.step_record`."""
        kinds = [
            {"kind": finding.rule, **finding.record("status", "text", "remedy", "count")}
            for finding in self.findings
        ]
        # The second name is that of earlier builds, which scripts may read.
        return {**self._counts(), "kinds": len(kinds), "findings": kinds, "ailments": kinds, "found": self.found}

    def lines(self) -> list[str]:
        """See `Report.lines`. The command shows findings in color instead."""
        return [f"{finding.subject}: {finding.text}" for finding, _ in self.shown()]

    def shown(self) -> Iterator[tuple[Finding, list[str]]]:
        """Yield each finding as people see it, with a few places where it was found."""
        for finding in self.findings:
            times = f" ({finding.count})" if finding.count > 1 else ""
            fix = "; repaired" if is_fixed(finding) else "; --fix repairs it" if _is_fixable(finding) else ""
            remedy = "" if is_fixed(finding) else finding.remedy
            yield (
                Finding(finding.rule, finding.status, f"{finding.text}{times}{fix}", remedy),
                example_lines(finding.examples, finding.count),
            )

    def summary(self) -> str:
        """Return the last line for people."""
        rows = f"{self.rows} rows"
        if self.archived.xcoms:
            rows += f" ({self.archived.xcoms} of archived attempts, {bytes_text(self.archived.bytes)})"
        return (
            f"{rows} examined, {len(self.findings)} kinds of problems"
            if self.findings
            else f"{rows}: nothing found"
        )


def examine(
    context: JobContext,
    *,
    payloads: bool = True,
    role: Role = "maintenance",
    limit: int = EXAMPLES,
    fix: bool = False,
) -> DoctorReport:
    """Examine everything. Nothing is opened, and without ``fix`` nothing is changed.

    :param payloads: whether to compare rows with payloads.
    :param role: the role of the identity that runs this; rights beyond it are reported.
    :param limit: how many examples a finding names.
    :param fix: whether to repair what is safe to repair.
    :raises MaintenanceError: the database cannot be used.
    """
    deployment, policy = context.deployment, context.deployment.policy
    with context.database() as database:
        examined = examine_rows(policy, database, limit=limit, progress=context.progress)
        findings = examined.findings
        findings += examine_triggerers(findings, database)
        findings += untested(database.revision())
        findings += examine_dags(policy, database, limit=limit)
        findings += examine_logins(policy, deployment.settings, deployment.sinks, database)
        if payloads:
            state = context.state("doctor")
            findings += examine_payloads(policy, database, state, limit=limit, progress=context.progress)
    findings += examine_files(policy, deployment.sinks)
    findings += examine_settings(deployment.settings, backend=deployment.backend)
    findings += examine_teams(policy, multi_team=deployment.multi_team)
    findings += examine_rights(policy, role)
    # Several compartments may share what a finding is about.
    unique = list({(finding.rule, finding.text): finding for finding in findings}.values())
    if fix:
        unique = [replace(each, details={**each.details, "fixed": repair(each)}) for each in unique]
    ordered = tuple(sorted(unique, key=lambda finding: finding.status != "error"))
    return DoctorReport(examined.rows, ordered, examined.archived)


def is_fixed(finding: Finding) -> bool:
    """Return whether ``--fix`` repaired it."""
    return bool(finding.details.get("fixed"))


def _is_fixable(finding: Finding) -> bool:
    return "repaired_mode" in finding.details


def _record(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.rule,
        **finding.record("status", "text", "remedy", "count"),
        "examples": list(finding.examples),
        "fixable": _is_fixable(finding),
        "fixed": is_fixed(finding),
    }
