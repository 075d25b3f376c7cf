"""The access policy file in a process that lives on: read once, and again when it has changed."""

from __future__ import annotations

import os
from functools import lru_cache

from secure_xcom.core.access_policy.policy import AccessPolicy, read_bytes
from secure_xcom.core.errors import PolicyInvalid

_Stamp = tuple[int, int, int, int]


class WatchedPolicy:
    """One file's policy; a forked child takes over what its parent has read.

    There is no lock, because one that another thread holds during a fork stays locked in the child: the worst of
    two threads at once is that a changed file is read twice.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: _Stamp | None = None
        self._answer: AccessPolicy | PolicyInvalid | None = None
        self._raw: bytes | None = None
        self.last_good: AccessPolicy | None = None
        """The policy of the last file that could be used."""

    def current(self) -> AccessPolicy:
        """The policy as the file is now.

        :raises PolicyInvalid: it cannot be read or used.
        """
        stamp = self._look()
        if self._answer is None or stamp is None or stamp != self._stamp:
            self._answer = self._read()
            self._stamp = stamp
        if isinstance(self._answer, PolicyInvalid):
            raise PolicyInvalid(self._answer.what, where=self._answer.where, remedy=self._answer.remedy)
        return self._answer

    def _look(self) -> _Stamp | None:
        """What changes with the file; None where it cannot be looked at, which the reading says better."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)

    def _read(self) -> AccessPolicy | PolicyInvalid:
        try:
            raw = read_bytes(self._path)
            if raw == self._raw and self.last_good is not None:
                # Touched or copied anew, and the same as before.
                return self.last_good
            self.last_good = AccessPolicy.parse(raw, where=self._path)
        except PolicyInvalid as error:
            return error
        self._raw = raw
        return self.last_good


@lru_cache(maxsize=4)
def watched(path: str) -> WatchedPolicy:
    """The process's one reader of a policy file."""
    return WatchedPolicy(path)
