"""The digest of the last access policy that a process of this machine loaded, in a file.

A task's process is short-lived and loads the policy once, so it notices a change only by the file that an earlier
process left. On a new machine or in a fresh container there is no file to compare with; every event carries the
digest anyway.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from secure_xcom.core.event import Event

log = logging.getLogger(__name__)

_DIGEST = re.compile(r"[0-9a-f]{64}")


class PolicyDigestFile:
    """Store one digest.

    :param path: the file; its folder is created when needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def change(self, digest: str) -> Event | None:
        """Return the event of a change, if the file holds another digest."""
        before = self._read()
        if before is None or before == digest:
            return None
        return Event("policy_change", "ok", policy=digest, policy_before=before)

    def keep(self, digest: str) -> None:
        """Store a digest after its change was logged. If that fails, the next process logs the change again."""
        if self._read() == digest:
            return
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            staged = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            staged.write_text(digest, encoding="ascii")
            staged.replace(self._path)
        except OSError as error:
            log.warning("The access policy's digest cannot be stored at %s (%s)", self._path, type(error).__name__)

    def _read(self) -> str | None:
        try:
            text = self._path.read_text(encoding="ascii", errors="replace")[:64]
        except OSError:
            return None
        return text if _DIGEST.fullmatch(text) else None
