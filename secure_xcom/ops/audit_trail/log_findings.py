"""The kinds of findings of ``audit verify``, and where each one lies."""

from __future__ import annotations

from typing import Any, Literal

from secure_xcom.core.findings import Finding

Kind = Literal[
    # In events of files, objects or rows:
    "edited",
    "removed",
    "reordered",
    "inserted",
    "duplicated",
    "truncated",
    "malformed",
    "unsealed",
    # In the anchored log:
    "entry_changed",
    "entry_missing",
    "entry_misplaced",
    "tree_changed",
    "bad_signature",
    "forked",
    "not_extending",
    # Left by a killed process, and no tampering:
    "interrupted",
    "half_written",
]

_HARMLESS: tuple[Kind, ...] = ("interrupted", "half_written")


def log_finding(
    kind: Kind,
    text: str,
    place: str,
    line: int | None = None,
    chain: str | None = None,
    sequence: int | None = None,
    entry: int | None = None,
) -> Finding:
    """Return a finding; its status is ``error`` for tampering, and ``ok`` for what a killed process leaves.

    :param place: the file or object, or the anchored log's store with a path in it; :param line: from 1.
    :param entry: the index in the anchored log.
    """
    details = {"chain": chain, "sequence": sequence, "entry": entry}
    return Finding(place, "ok" if kind in _HARMLESS else "error", text, rule=kind, line=line, details=details)


def is_tampering(finding: Finding) -> bool:
    """Check whether somebody changed the log, as opposed to a process that was killed."""
    return finding.status != "ok"


def record(finding: Finding) -> dict[str, Any]:
    """Return the finding as a JSON object."""
    return {
        "kind": finding.rule,
        "text": finding.text,
        "place": finding.subject,
        **finding.record("line", "chain", "sequence", "entry"),
        "tampering": is_tampering(finding),
        "where": where(finding),
    }


def where(finding: Finding) -> str:
    """Return the place in words: file and line, chain and event, entry."""
    place, line = finding.subject, finding.line
    parts = [place if line is None else f"{place}:{line}"]
    chain, sequence, entry = (finding.details[name] for name in ("chain", "sequence", "entry"))
    if chain is not None:
        parts.append(f"chain {chain}" + ("" if sequence is None else f" event {sequence}"))
    if entry is not None:
        parts.append(f"entry {entry}")
    return ", ".join(parts)
