"""What lint says: one remark, its rule's name, and where it stands in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from secure_xcom.core.access_policy.yaml_reader import Path

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Remark:
    """One remark.

    :ivar rule: its name, by which it can be allowed.
    :ivar status: ``error`` cannot be meant; ``warning`` is a wall that is lower than the file looks; ``ok`` is
        only to be known.
    :ivar path: where in the file; :ivar line: and :ivar column: the same, from 1.
    """

    rule: str
    status: Status
    path: Path
    text: str
    remedy: str = ""
    line: int = 1
    column: int = 1
