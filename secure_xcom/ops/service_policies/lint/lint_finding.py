"""A finding of lint: the rule that found it, and the place in the file."""

from __future__ import annotations

from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding, Status


def lint_finding(
    rule: str, status: Status, path: Path, text: str, remedy: str = "", line: int = 1, column: int = 1
) -> Finding:
    """Return what a rule found. Its subject, the file, is set by whoever read the file.

    :param rule: its name, by which it can be allowed.
    :param status: ``error`` is probably unintended, ``warning`` is a control that is weaker than it looks, ``ok``
        is a note.
    :param path: the field; :param line: and :param column: its place, from 1.
    """
    return Finding("", status, text, remedy, rule=rule, line=line, column=column, path=path)


def position(finding: Finding) -> tuple[int, int, str, str]:
    """Return the key that sorts findings by their place in the file."""
    return finding.line or 1, finding.column or 1, finding.rule, finding.text
