"""The bounded data-key cache of one process: expiring, sized, counted."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from secure_xcom.keys import DataKey


class DataKeyCache:
    """Unwrapped data keys by wrapped key and encryption context, oldest use first out.

    :param seconds: how long a key stays; 0 keeps none.
    :param size: how many keys stay; 0 keeps none.
    """

    def __init__(self, seconds: float, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[Hashable, tuple[float, DataKey]] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def get(self, name: Hashable) -> DataKey | None:
        """The key, unless it was never here, has expired or was pushed out."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry[0] <= self._clock():
                self._entries.pop(name, None)
                self.misses += 1
                return None
            self._entries.move_to_end(name)
            self.hits += 1
            return entry[1]

    def put(self, name: Hashable, key: DataKey) -> None:
        """Keep a key. The time it stays is counted from now and is not prolonged by use."""
        if self._seconds <= 0 or self._size <= 0:
            return
        with self._lock:
            self._entries[name] = (self._clock() + self._seconds, key)
            self._entries.move_to_end(name)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Drop every key, as when a task's try ends."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
