"""The access policy that was in force here before: a file with its digest, one for each machine.

A task's process lives shortly and loads the policy once, so it sees a change only against what a process before
it has left. Where nothing was left (a new machine, a container of its own) there is nothing to compare with, and
every event carries the digest anyway.
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
    """Remembers one digest.

    :param path: the file; its folder is made when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def change(self, digest: str) -> Event | None:
        """The event of a change, if the digest is another one than that of the file."""
        before = self._read()
        if before is None or before == digest:
            return None
        return Event("policy_change", "ok", policy=digest, policy_before=before)

    def keep(self, digest: str) -> None:
        """Remember a digest, once its change is in the log. What cannot be written is seen as a change again."""
        if self._read() == digest:
            return
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            staged = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            staged.write_text(digest, encoding="ascii")
            staged.replace(self._path)
        except OSError as error:
            log.warning("The access policy's digest cannot be kept at %s (%s)", self._path, type(error).__name__)

    def _read(self) -> str | None:
        try:
            text = self._path.read_text(encoding="ascii", errors="replace")[:64]
        except OSError:
            return None
        return text if _DIGEST.fullmatch(text) else None
