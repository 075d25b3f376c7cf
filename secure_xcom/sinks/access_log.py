"""The access log of one process: add each event to the chain and write it to every sink."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import uuid6

from secure_xcom.core import clock
from secure_xcom.core.errors import AuditError
from secure_xcom.core.event import VERSION, Event, Line
from secure_xcom.core.event_chain import Chain
from secure_xcom.core.waiting import NoTurn, Turns
from secure_xcom.sinks.interface import Sink, sink
from secure_xcom.sinks.policy_digest import PolicyDigestFile
from secure_xcom.sinks.sink_uri import SinkUri

if TYPE_CHECKING:
    from secure_xcom.sinks.hashed_ids import IdHasher

log = logging.getLogger(__name__)

IMPLEMENTATIONS = {"hashed ids": "secure_xcom.sinks.hashed_ids:IdHasher"}
"""What is loaded where ids are hashed."""

# XCOM_RETURN_KEY of airflow.models.xcom, which is not imported for it.
_RETURN_KEY = "return_value"

CHAIN_MAX = 1000
"""The most events in one chain, so that the events of a long-running process are anchored as well."""

TURN_SECONDS = 120.0
"""How long an event waits for those before it: twice the longest request to a service."""

PENDING_MAX = 1000
"""How many lines a process keeps for a failing sink before it refuses to record more events."""


@dataclass(slots=True)
class _Target:
    """A sink, and the lines that it has not accepted yet."""

    sink: Sink
    optional: bool
    pending: list[Line] = field(default_factory=list)
    missed: int = 0

    def write(self, lines: Sequence[Line]) -> AuditError | None:
        """Write the pending lines and then these. Return the error of a required sink."""
        self.pending += lines
        try:
            self.sink.write(self.pending)
        except AuditError as error:
            if not self.optional:
                return error
            if not self.missed:
                log.warning("An optional sink misses events; the end of the chain will record how many: %s", error)
            self.missed += len(self.pending)
        self.pending = []
        return None


class AccessLog:
    """Write events to all sinks; every required sink must accept an event. Threads may share it.

    After a failure a required sink first gets the lines that it did not accept, so its chain has no gap. A forked
    child starts a new chain.

    :param version: this release, recorded in each event.
    :param optional: sinks whose failure stops nothing; it is logged once, and the end of the chain counts it.
    :param policy: the access policy's digest, for events that do not name one.
    :param seen: the stored digest of the previous access policy, to record a change.
    :param hasher: hashes ids before an event is written.
    :param now: the clock.
    """

    _chain: Chain
    _change: Event | None
    _unkept: bool

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        version: str,
        optional: Sequence[Sink] = (),
        policy: str | None = None,
        seen: PolicyDigestFile | None = None,
        hasher: IdHasher | None = None,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self._targets = [_Target(each, False) for each in sinks] + [_Target(each, True) for each in optional]
        self._version = version
        self._policy = policy
        self._seen = seen
        self._hasher = hasher
        self._now = now
        self._costly = any(target.sink.costly for target in self._targets)
        self._begin_process()

    @classmethod
    def open(cls, uris: Sequence[str], *, version: str, beside: Sequence[Sink] = (), **options: Any) -> AccessLog:
        """Return the log that writes to these sink URIs.

        :param beside: further sinks, which are optional.
        :param options: arguments of the class.
        :raises ConfigurationError: a sink cannot be used, or all are optional.
        """
        parsed = [(SinkUri.parse(uri).optional, sink(uri)) for uri in uris]
        if all(optional for optional, _ in parsed):
            from secure_xcom.sinks.sink_faults import none_required

            raise none_required()
        return cls(
            [opened for optional, opened in parsed if not optional],
            version=version,
            optional=[*(opened for optional, opened in parsed if optional), *beside],
            **options,
        )

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """The sinks, the required ones first."""
        return tuple(target.sink for target in self._targets)

    def record(self, events: Sequence[Event]) -> list[str]:
        """Write events, in order, with one append per sink, and return their ids.

        :raises AuditError: a sink did not accept them. The caller must then give nothing out.
        """
        if not events:
            return []
        if self._pid != os.getpid():
            self._begin_process()
        try:
            with self._turns.turn(TURN_SECONDS):
                return self._write(events)
        except NoTurn as missed:
            from secure_xcom.sinks.sink_faults import not_written

            raise not_written(missed) from None

    def close(self) -> None:
        """End the chain if it has events; the next event starts another chain.

        Raise nothing: if the end cannot be written, the chain stays open, as if the process had been killed.
        """
        if self._pid != os.getpid():
            return
        try:
            with self._turns.turn(TURN_SECONDS):
                if self._chain.length and not self._chain.ended:
                    self._write([self._end()])
        except NoTurn:
            # Somebody is writing while the process ends.
            return
        except AuditError as error:
            log.warning("The event chain stays open, because its end could not be written: %s", error)

    def _write(self, events: Sequence[Event]) -> list[str]:
        try:
            self._spare_memory()
            if self._chain.ended:
                self._chain = Chain()
            self._begin_once()
            first = 0 if self._change is None else 1
            lines = [self._chain.add(self._record(event)) for event in self._with_others(events)]
            self._change = None
            errors = [target.write(lines) for target in self._targets]
        except AuditError:
            raise
        except BaseException:
            # Airflow may raise a time-out within a write. It is then unknown what was written, so nothing may
            # follow it: the chain stays open, as if the process had been killed here, and another one starts.
            self._chain = Chain()
            for target in self._targets:
                target.pending = []
            raise
        for error in errors:
            if error is not None:
                raise error
        if self._unkept and self._seen is not None and self._policy is not None:
            self._seen.keep(self._policy)
            self._unkept = False
        return [line.record["id"] for line in lines[first : first + len(events)]]

    def _with_others(self, events: Sequence[Event]) -> list[Event]:
        """Return these events with the ones that belong into the same write."""
        before = [] if self._change is None else [self._change]
        last = events[-1]
        # A task rarely has another event after its return value, so ending the chain here saves a request.
        returned = self._costly and last.coordinate is not None and last.coordinate.key == _RETURN_KEY
        done = (returned and last.action == "push") or self._chain.length + len(events) >= CHAIN_MAX
        after = [self._end()] if done and last.action != "chain_end" and last.outcome == "ok" else []
        return [*before, *events, *after]

    def _end(self) -> Event:
        missed = {target.sink.uri: target.missed for target in self._targets if target.missed}
        return Event("chain_end", "ok", missed=missed)

    def _spare_memory(self) -> None:
        """Refuse more events while too many wait for a sink that is down."""
        for target in self._targets:
            if len(target.pending) >= PENDING_MAX and (error := target.write(())):
                raise error

    def _record(self, event: Event) -> dict[str, Any]:
        fields = event.fields()
        if self._policy is not None:
            fields.setdefault("policy", self._policy)
        return {
            "version": VERSION,
            "id": str(uuid6.uuid7()),
            "time": clock.text_of(self._now()),
            **(self._hasher.fields(fields) if self._hasher else fields),
            "host": _host(),
            "pid": self._pid,
            "release": self._version,
        }

    def _begin_process(self) -> None:
        """Reset what a forked child must not share: the parent may be writing, and writes its own lines."""
        self._pid = os.getpid()
        self._turns = Turns()
        self._chain = Chain()
        self._registered = False
        self._change = None
        self._unkept = False
        for target in self._targets:
            target.pending, target.missed = [], 0

    def _begin_once(self) -> None:
        # This must happen in the process that writes: Airflow drops atexit functions from before its fork, and
        # runs those registered after it (airflow/sdk/execution_time/supervisor.py, _fork_main).
        if self._registered:
            return
        self._registered = True
        reference = weakref.ref(self)
        atexit.register(_close, reference)
        multiprocessing = sys.modules.get("multiprocessing.process")
        if multiprocessing is not None and multiprocessing.parent_process() is not None:
            # A child of multiprocessing ends with os._exit after running its own finalizers.
            from multiprocessing.util import Finalize

            Finalize(None, _close, args=(reference,), exitpriority=0)
        if self._seen is not None and self._policy is not None:
            self._change, self._unkept = self._seen.change(self._policy), True


def _close(reference: weakref.ref[AccessLog]) -> None:
    access_log = reference()
    if access_log is not None:
        access_log.close()


@lru_cache(maxsize=1)
def _host() -> str:
    return socket.gethostname()
