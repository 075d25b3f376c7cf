"""The data keys of one process: one per task instance try on push, unwrapped and cached on pull."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from secure_xcom.errors import KeyServiceError
from secure_xcom.keys import DataKey, KeyService, Wrap, key_service
from secure_xcom.keys.cache import DataKeyCache

# A task process has one try; a few more for `dag.test()`, which runs a whole DAG in one process.
_TRIES = 64


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A data key, the key URI that opened it, and whether it came out of the cache."""

    data_key: DataKey = field(repr=False)
    uri: str
    cached: bool


@dataclass(frozen=True, slots=True)
class Candidates:
    """The wraps of one data key, in the order in which they are tried: ``(key URI, wrapped)`` each."""

    wraps: tuple[tuple[str, str], ...] = field(repr=False)
    context: Mapping[str, str]


class DataKeys:
    """Wraps for pushes and unwraps for pulls, with as few requests to the key services as can be.

    :param seconds: how long a data key stays in memory; :param size: how many unwrapped ones.
    :param services: key URI -> key service.
    """

    def __init__(self, seconds: float, size: int, services: Callable[[str], KeyService] = key_service) -> None:
        self._seconds = seconds
        self._open_service = services
        self._services: dict[str, KeyService] = {}
        self._tries: dict[object, tuple[float, DataKey, tuple[tuple[str, str], ...]]] = {}
        self._lock = threading.RLock()
        self.cache = DataKeyCache(seconds, size)

    def service(self, uri: str) -> KeyService:
        """The service of a key URI, opened once per process."""
        with self._lock:
            if uri not in self._services:
                self._services[uri] = self._open_service(uri)
            return self._services[uri]

    def for_try(
        self, uris: Sequence[str], context: Mapping[str, str], try_number: int
    ) -> tuple[DataKey, tuple[tuple[str, str], ...]]:
        """The data key of this task instance try and its wraps, one per key URI: one wrap serves all its XComs.

        :raises KeyServiceError: a service did not wrap; all of them must.
        """
        name = (tuple(uris), tuple(sorted(context.items())), try_number)
        with self._lock:
            kept = self._tries.get(name)
            if kept is not None and kept[0] > time.monotonic():
                return kept[1], kept[2]
            data_key = DataKey.generate()
            wraps = tuple((uri, self.service(uri).wrap(data_key, context)) for uri in uris)
            while len(self._tries) >= _TRIES:
                self._tries.pop(next(iter(self._tries)))
            self._tries[name] = (time.monotonic() + self._seconds, data_key, wraps)
        for uri, wrapped in wraps:
            self.cache.put(_cache_name(uri, wrapped, context), data_key)
        return data_key, wraps

    def cached(self, candidates: Candidates) -> Unwrapped | None:
        """The data key, if this process has it already."""
        for uri, wrapped in candidates.wraps:
            key = self.cache.get(_cache_name(uri, wrapped, candidates.context))
            if key is not None:
                return Unwrapped(key, uri, True)
        return None

    def unwrap_many(self, many: Sequence[Candidates]) -> list[Unwrapped | KeyServiceError]:
        """Unwrap each by the first candidate that answers; the same wrap is asked for once.

        An error stands in the place of an entry that none of its candidates opened: the first one's error.
        """
        done: dict[int, Unwrapped] = {}
        errors: dict[int, KeyServiceError] = {}
        turn = 0
        pending = list(range(len(many)))
        while pending:
            by_uri: dict[str, list[int]] = {}
            for index in pending:
                if turn < len(many[index].wraps):
                    by_uri.setdefault(many[index].wraps[turn][0], []).append(index)
            if not by_uri:
                break
            for uri, indexes in by_uri.items():
                self._ask(uri, indexes, turn, many, done, errors)
            pending = [index for index in pending if index not in done]
            turn += 1
        nothing = KeyServiceError("the reference has no wrap of a key that may be asked for")
        return [done[index] if index in done else errors.get(index, nothing) for index in range(len(many))]

    def _ask(
        self,
        uri: str,
        indexes: Sequence[int],
        turn: int,
        many: Sequence[Candidates],
        done: dict[int, Unwrapped],
        errors: dict[int, KeyServiceError],
    ) -> None:
        places: dict[object, list[int]] = {}
        for index in indexes:
            places.setdefault(_cache_name(uri, many[index].wraps[turn][1], many[index].context), []).append(index)
        wraps = [Wrap(many[same[0]].wraps[turn][1], many[same[0]].context) for same in places.values()]
        try:
            answers = self.service(uri).unwrap_many(wraps)
        except KeyServiceError as error:
            answers = [error] * len(wraps)
        for (name, same), answer in zip(places.items(), answers, strict=True):
            for index in same:
                if isinstance(answer, DataKey):
                    done[index] = Unwrapped(answer, uri, False)
                else:
                    errors.setdefault(index, answer)
            if isinstance(answer, DataKey):
                self.cache.put(name, answer)

    def forget(self) -> None:
        """Drop every data key, as when a task's try ends."""
        with self._lock:
            self._tries.clear()
        self.cache.clear()


def _cache_name(uri: str, wrapped: str, context: Mapping[str, str]) -> tuple[object, ...]:
    return (uri, wrapped, tuple(sorted(context.items())))
