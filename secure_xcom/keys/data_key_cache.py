"""The data-key cache of one process: bounded in time, size and uses."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from secure_xcom.keys import DataKey


@dataclass(slots=True)
class _Entry:
    until: float
    key: DataKey
    uses: int = 0


# After this many uses a key is requested again, so that the key service's log keeps showing its use.
USES_MAX = 10_000


class DataKeyCache:
    """Unwrapped data keys by wrapped key and encryption context. The least recently used key is evicted first.

    :param seconds: how long a key is kept; 0 keeps none.
    :param size: how many keys are kept; 0 keeps none.
    """

    def __init__(self, seconds: float, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: Hashable) -> DataKey | None:
        """Return the key, or None if it is not cached, has expired or has reached its number of uses."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.until <= self._clock() or entry.uses >= USES_MAX:
                self._entries.pop(name, None)
                return None
            self._entries.move_to_end(name)
            entry.uses += 1
            return entry.key

    def put(self, name: Hashable, key: DataKey) -> None:
        """Keep a key. It expires a fixed time from now, however often it is used."""
        if self._seconds <= 0 or self._size <= 0:
            return
        with self._lock:
            self._entries[name] = _Entry(self._clock() + self._seconds, key)
            self._entries.move_to_end(name)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Drop every key, such as when a task's try ends."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
