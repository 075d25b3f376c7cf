"""The checkpoint of a job: a small JSON file, replaced after each page, from which a killed job resumes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secure_xcom.connections.sql.positions import Position, position_of
from secure_xcom.core.operator_errors import StateInvalid

_FORMAT = 1
_MAX_BYTES = 1 << 20


class Checkpoint:
    """The position that a job has reached, and its notes. The checkpoint of another job is ignored.

    :param job: what identifies this job.
    :raises StateInvalid: the file cannot be read.
    """

    def __init__(self, path: Path, job: Mapping[str, str]) -> None:
        self._path = path
        self._job = dict(job)
        self.position: Position | None = None
        self.notes: dict[str, Any] = {}
        try:
            with path.open(encoding="utf-8") as file:
                record = json.loads(file.read(_MAX_BYTES))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise StateInvalid(
                f"the state file cannot be read ({type(error).__name__})", where=str(path)
            ) from None
        if isinstance(record, dict) and record.get("format") == _FORMAT and record.get("job") == self._job:
            parts = record.get("position")
            self.position = position_of(parts) if parts else None
            self.notes = dict(record.get("notes") or {})

    def save(self, position: Position) -> None:
        """Write the job's position, atomically."""
        self.position = position
        record = {"format": _FORMAT, "job": self._job, "position": position, "notes": self.notes}
        staged = Path(f"{self._path}.new")
        try:
            descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(record, file)
            staged.replace(self._path)
        except OSError as error:
            raise StateInvalid(
                f"the state file cannot be written ({type(error).__name__})", where=str(self._path)
            ) from None

    def forget(self) -> None:
        """Remove the file, when the job is done."""
        self._path.unlink(missing_ok=True)
