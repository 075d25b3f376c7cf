"""Findings: what an operator is told of one thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from secure_xcom.core.errors import SecureXComError


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``secure-xcom check``: what was looked at, how it stands, and what to do about it."""

    subject: str
    status: Literal["ok", "warning", "error"]
    text: str
    remedy: str = ""


def as_finding(subject: str, error: SecureXComError) -> Finding:
    """An error as a finding."""
    where = f" [{error.where}]" if error.where else ""
    return Finding(subject, "error", f"{error.what}{where}", error.remedy)
