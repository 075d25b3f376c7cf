"""The data keys of one process: one per task instance try at push, unwrapped and cached at pull."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from secure_xcom.core.coordinate import TaskTry
from secure_xcom.core.errors import KeyServiceError, KeyServiceUnavailable, SecureXComError, SettingInvalid
from secure_xcom.core.per_process import MadeOnce
from secure_xcom.core.waiting import SharedCalls
from secure_xcom.keys import DataKey, KeyService, KeyUri, Wrap, key_service
from secure_xcom.keys.data_key_cache import DataKeyCache

log = logging.getLogger(__name__)

# A task process has one try; a few more for `dag.test()`, which runs a whole DAG in one process.
_TRIES = 64
# A service that did not answer is asked last for this long, because each request costs its whole timeout.
_AVOID_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A data key, the name of the key that opened it (`KeyUri.name`), and whether it came from the cache."""

    data_key: DataKey = field(repr=False)
    uri: str
    cached: bool


class _OfTry(NamedTuple):
    """The data key of a task instance try, its wraps, and until when it is used."""

    until: float
    data_key: DataKey
    wraps: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The wraps of one data key that may be unwrapped, the preferred first: ``(key URI, wrapped)`` each."""

    wraps: tuple[tuple[str, str], ...] = field(repr=False)
    context: Mapping[str, str]
    keep: bool = True
    """Whether the data key may stay in memory."""


class DataKeys:
    """Wraps for pushes and unwraps for pulls, with as few requests to the key services as possible.

    :param seconds: how long a data key stays in memory; :param size: how many unwrapped keys.
    :param services: key URI -> key service.
    """

    def __init__(self, seconds: float, size: int, services: Callable[[str], KeyService] = key_service) -> None:
        self._seconds, self._size = seconds, size
        self._services: MadeOnce[str, KeyService] = MadeOnce(services)
        self._avoided: dict[str, float] = {}
        self._tries: dict[Hashable, _OfTry] = {}
        self._wrapping: SharedCalls[Hashable, _OfTry] = SharedCalls()
        self.cache = DataKeyCache(seconds, size)

    def of_another_task(self) -> DataKeys:
        """Return the data keys of another task: none yet, from the same services."""
        other = DataKeys(self._seconds, self._size)
        other._services, other._avoided = self._services, self._avoided
        return other

    def service(self, uri: str) -> KeyService:
        """Return the service of a key URI, opened once per process."""
        return self._services.get(uri)

    def for_try(
        self, uris: Sequence[str], context: Mapping[str, str], attempt: Hashable
    ) -> tuple[DataKey, tuple[tuple[str, str], ...]]:
        """Return the data key for all XComs of this task instance try, and its wraps, ``(name, wrapped)`` each.

        :param attempt: tells apart the tries of a task instance, and the iterations of a loop.
        :raises KeyServiceError: a required key did not wrap, or no key did.
        :raises ConfigurationError: a key URI cannot be used, even an optional one.
        """
        name = (tuple(uris), tuple(sorted(context.items())), attempt)
        kept = self._kept(name) or self._wrapping.call(name, lambda: self._new_try(name, uris, context))
        return kept.data_key, kept.wraps

    def _kept(self, name: Hashable) -> _OfTry | None:
        kept = self._tries.get(name)
        return kept if kept is not None and kept.until > time.monotonic() else None

    def _new_try(self, name: Hashable, uris: Sequence[str], context: Mapping[str, str]) -> _OfTry:
        # Another thread may have wrapped one since it was looked for.
        if (kept := self._kept(name)) is not None:
            return kept
        data_key, wraps = self.fresh(uris, context)
        for key_name, wrapped in wraps:
            self.cache.put(_cache_name(key_name, wrapped, context), data_key)
        self._tries[name] = made = _OfTry(time.monotonic() + self._seconds, data_key, wraps)
        for oldest in list(self._tries)[: max(0, len(self._tries) - _TRIES)]:
            self._tries.pop(oldest, None)
        return made

    def fresh(
        self, uris: Sequence[str], context: Mapping[str, str]
    ) -> tuple[DataKey, tuple[tuple[str, str], ...]]:
        """Return a new data key for one exclusive XCom, and its wraps. They are not kept.

        :raises KeyServiceError, ConfigurationError: as for `for_try`.
        """
        data_key = DataKey.generate()
        return data_key, self._wraps(uris, data_key, context)

    def _wraps(
        self, uris: Sequence[str], data_key: DataKey, context: Mapping[str, str]
    ) -> tuple[tuple[str, str], ...]:
        wraps: list[tuple[str, str]] = []
        failed: KeyServiceError | None = None
        for key in map(KeyUri.parse, uris):
            if key.wrap == "never":
                continue
            try:
                wraps.append((key.name, self.service(key.service).wrap(data_key, context)))
            except KeyServiceError as error:
                if key.wrap == "required":
                    raise
                log.warning(
                    "The optional key %s did not wrap and cannot open this XCom: %s",
                    key.name,
                    error,
                )
                failed = error
        if not wraps:
            raise failed or SettingInvalid(
                "no key URI of the compartment may wrap",
                where=", ".join(uris)[:200],
                remedy="remove ?wrap=never from at least one key URI",
            )
        return tuple(wraps)

    def cached(self, candidates: Candidates) -> Unwrapped | None:
        """Return the data key if this process already has it."""
        for uri, wrapped in candidates.wraps:
            name = KeyUri.parse(uri).name
            key = self.cache.get(_cache_name(name, wrapped, candidates.context))
            if key is not None:
                return Unwrapped(key, name, True)
        return None

    def unwrap_many(self, many: Sequence[Candidates]) -> list[Unwrapped | SecureXComError]:
        """Unwrap each with the first candidate that answers, cheapest first. The same wrap is requested once.

        An entry that no candidate opened is answered with the error of its first candidate.
        """
        done: dict[int, Unwrapped] = {}
        errors: dict[int, SecureXComError] = {}
        many = self._by_cost(many)
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
        nothing = KeyServiceError("the reference has no wrap of a listed key")
        return [done[index] if index in done else errors.get(index, nothing) for index in range(len(many))]

    def _ask(
        self,
        uri: str,
        indexes: Sequence[int],
        turn: int,
        many: Sequence[Candidates],
        done: dict[int, Unwrapped],
        errors: dict[int, SecureXComError],
    ) -> None:
        key = KeyUri.parse(uri)
        places: dict[tuple[object, ...], list[int]] = {}
        for index in indexes:
            place = _cache_name(key.name, many[index].wraps[turn][1], many[index].context)
            places.setdefault(place, []).append(index)
        wraps = [Wrap(many[same[0]].wraps[turn][1], many[same[0]].context) for same in places.values()]
        answers: Sequence[DataKey | SecureXComError]
        try:
            answers = self.service(key.service).unwrap_many(wraps)
        except SecureXComError as error:
            # This includes a missing setting: another key may be intended for this worker.
            answers = [error] * len(wraps)
            if isinstance(error, KeyServiceUnavailable):
                self._avoided[key.service] = time.monotonic() + _AVOID_SECONDS
            if any(turn + 1 < len(many[index].wraps) for index in indexes):
                log.warning("The key %s opened nothing, trying the next key: %s", key.name, error)
        for (name, same), answer in zip(places.items(), answers, strict=True):
            for index in same:
                if isinstance(answer, DataKey):
                    done[index] = Unwrapped(answer, key.name, False)
                else:
                    errors.setdefault(index, answer)
            if isinstance(answer, DataKey) and all(many[index].keep for index in same):
                self.cache.put(name, answer)

    def _by_cost(self, many: Sequence[Candidates]) -> list[Candidates]:
        """Order each entry's wraps: local keys, services that are already open, others, then unavailable ones.

        Equal wraps keep their order.
        """
        now = time.monotonic()
        costs: dict[str, int] = {}
        for uri in {uri for candidates in many for uri, _ in candidates.wraps}:
            service = KeyUri.parse(uri).service
            if self._avoided.get(service, now) > now:
                costs[uri] = 3
            elif service.startswith("local://"):
                costs[uri] = 0
            else:
                costs[uri] = 1 if service in self._services.made else 2
        return [
            replace(candidates, wraps=tuple(sorted(candidates.wraps, key=lambda wrap: costs[wrap[0]])))
            for candidates in many
        ]

    def forget(self) -> None:
        """Drop every data key."""
        self._tries.clear()
        self.cache.clear()


class KeysOfTasks:
    """The data keys of each task that this process runs: no task or trigger uses what another one was given.

    A task process has one task, a triggerer many at the same time, and `dag.test()` many in turn.

    :param first: the data keys until a task is known.
    """

    def __init__(self, first: DataKeys) -> None:
        self.current = first
        self.task: TaskTry | None = None
        """Who was here last."""
        # Held while the dictionary changes only.
        self._lock = threading.RLock()
        self._name: Hashable = None
        self._of: dict[Hashable, DataKeys] = {None: first}
        self._users: Counter[Hashable] = Counter()

    @contextmanager
    def of(self, task: TaskTry | None) -> Iterator[DataKeys]:
        """Give the data keys of a task for this block. Those of tasks that do nothing meanwhile are dropped.

        :param task: who it is, but for the map index, which not everybody knows; None for who was here last.
        """
        with self._lock:
            name, self.task = self._name, task or self.task
            if task is not None:
                name = (task.dag_id, task.run_id, task.task_id, task.try_number, task.attempt, task.iteration)
            for idle in [other for other in self._of if other != name and not self._users[other]]:
                del self._of[idle]
            if name not in self._of:
                self._of[name] = self.current.of_another_task()
            self._name, self.current = name, self._of[name]
            self._users[name] += 1
            keys = self.current
        try:
            yield keys
        finally:
            with self._lock:
                self._users[name] -= 1
                if not self._users[name]:
                    del self._users[name]


def _cache_name(name: str, wrapped: str, context: Mapping[str, str]) -> tuple[object, ...]:
    return (name, wrapped, tuple(sorted(context.items())))
