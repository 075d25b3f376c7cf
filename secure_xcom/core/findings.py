"""The finding: the one type that every check of the product reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warning", "error"]
"""The severity of a finding: ``ok`` is a note, ``warning`` a weakness, ``error`` a fault, leak or loss."""
Severity = Literal["note", "warning", "error"]
SEVERITIES: Mapping[Status, Severity] = {"ok": "note", "warning": "warning", "error": "error"}
"""The severity as people read it; JSON output has the status."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of ``check``, ``doctor``, ``lint``, ``verify``, ``gc`` or ``reconcile``.

    :ivar subject: what was examined: a service, a setting, a file, an object or a coordinate.
    :ivar status: the severity.
    :ivar text: what is the case.
    :ivar remedy: what to do about it.
    :ivar rule: the name of the rule or of the kind of finding, for scripts, such as ``plaintext-row``.
    :ivar line: the line in the file that ``subject`` names, from 1; :ivar column: its column, from 1.
    :ivar path: the field in the YAML or JSON document that ``subject`` names.
    :ivar count: how many times it was seen; :ivar examples: a few of the places.
    :ivar details: what only one command reports, by the key of its JSON output.
    """

    subject: str
    status: Status
    text: str
    remedy: str = ""
    rule: str = ""
    line: int | None = None
    column: int | None = None
    path: tuple[str | int, ...] = ()
    count: int = 1
    examples: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def record(self, *keys: str) -> dict[str, Any]:
        """Return these fields or details as a JSON object, in this order; a detail that is absent is None."""
        return {
            key: getattr(self, key) if key in self.__dataclass_fields__ else self.details.get(key) for key in keys
        }
