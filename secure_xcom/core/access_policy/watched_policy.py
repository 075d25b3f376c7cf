"""The access policy file in a long-running process: read once, and again when it changes."""

from __future__ import annotations

import os
from functools import lru_cache

from secure_xcom.core.access_policy.policy import AccessPolicy, read_bytes
from secure_xcom.core.policy_errors import PolicyInvalid

_Stamp = tuple[int, int, int, int]


class WatchedPolicy:
    """The policy of one file. A forked child takes over what its parent has read.

    There is no lock, because a lock that another thread holds during a fork stays locked in the child. At worst,
    two threads read a changed file twice.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: _Stamp | None = None
        self._answer: AccessPolicy | PolicyInvalid | None = None
        self._raw: bytes | None = None
        self.last_good: AccessPolicy | None = None
        """The policy of the last valid file."""

    def current(self) -> AccessPolicy:
        """Return the policy as the file is now.

        :raises PolicyInvalid: the file cannot be read or is invalid.
        """
        stamp = self._stamp_of_file()
        if self._answer is None or stamp is None or stamp != self._stamp:
            self._answer = self._read()
            self._stamp = stamp
        if isinstance(self._answer, PolicyInvalid):
            raise PolicyInvalid(self._answer.what, where=self._answer.where, remedy=self._answer.remedy)
        return self._answer

    def _stamp_of_file(self) -> _Stamp | None:
        """Return a stamp that changes with the file; None if it cannot be read, which `_read` reports better."""
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)

    def _read(self) -> AccessPolicy | PolicyInvalid:
        try:
            raw = read_bytes(self._path)
            if raw == self._raw and self.last_good is not None:
                # Touched or copied again, with the same content.
                return self.last_good
            self.last_good = AccessPolicy.parse(raw, where=self._path)
        except PolicyInvalid as error:
            return error
        self._raw = raw
        return self.last_good


@lru_cache(maxsize=4)
def watched(path: str) -> WatchedPolicy:
    """Return the process's only reader of a policy file."""
    return WatchedPolicy(path)
