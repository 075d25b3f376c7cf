"""Make findings of errors, and tell the worst of several."""

from __future__ import annotations

from collections.abc import Iterable

from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.findings import Finding, Status

_SEVERITIES: tuple[Status, ...] = ("ok", "warning", "error")


def as_finding(subject: str, error: SecureXComError) -> Finding:
    """Return an error as a finding."""
    where = f" [{error.where}]" if error.where else ""
    return Finding(subject, "error", f"{error.what}{where}", error.remedy)


def worst(findings: Iterable[Finding]) -> Status:
    """Return the highest severity, ``ok`` where there is no finding."""
    return max((finding.status for finding in findings), key=_SEVERITIES.index, default="ok")
