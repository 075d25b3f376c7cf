"""The access log of one process: chains every event and hands it to every sink."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import uuid6

from secure_xcom.core import clock
from secure_xcom.core.errors import AuditError, SettingInvalid
from secure_xcom.core.event import VERSION, Event, Line
from secure_xcom.core.event_chain import Chain
from secure_xcom.core.hashed_ids import IdHasher
from secure_xcom.sinks.interface import Sink, sink
from secure_xcom.sinks.policy_digest import PolicyDigestFile
from secure_xcom.sinks.sink_uri import SinkUri

log = logging.getLogger(__name__)

# XCOM_RETURN_KEY of airflow.models.xcom, which is not imported for it.
_RETURN_KEY = "return_value"

CHAIN_MAX = 1000
"""How many events a chain has at the most, so that those of a process that lives long are sealed as well."""

PENDING_MAX = 1000
"""How many lines a process keeps for a sink that does not take them, before it makes no more of them."""


@dataclass(slots=True)
class _Target:
    """A sink, and the lines that it has not taken yet."""

    sink: Sink
    optional: bool
    pending: list[Line] = field(default_factory=list)
    missed: int = 0

    def give(self, lines: Sequence[Line]) -> AuditError | None:
        """Offer the lines behind those that are left over; says what is wrong with a required sink."""
        self.pending += lines
        try:
            self.sink.write(self.pending)
        except AuditError as error:
            if not self.optional:
                return error
            if not self.missed:
                log.warning("An optional sink misses events, and the chain's end says how many: %s", error)
            self.missed += len(self.pending)
        self.pending = []
        return None


class AccessLog:
    """Writes events to all sinks; all but the optional ones must take an event. Threads may share it.

    A required sink that fails gets the lines that it did not take before the next ones, so its chain has no hole.
    A forked child begins a chain of its own.

    :param version: this release, recorded in each event.
    :param optional: sinks whose failure stops nothing; it is logged once, and counted at the chain's end.
    :param policy: the access policy's digest, for the events that do not say another.
    :param seen: what tells a change of it.
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
        self._targets = [_Target(one, False) for one in sinks] + [_Target(one, True) for one in optional]
        self._version = version
        self._policy = policy
        self._seen = seen
        self._hasher = hasher
        self._now = now
        self._dear = any(target.sink.dear for target in self._targets)
        self._begin_process()

    @classmethod
    def open(cls, uris: Sequence[str], *, version: str, beside: Sequence[Sink] = (), **options: Any) -> AccessLog:
        """The log that writes to these sink URIs, and to sinks beside them that may fail.

        The options are this class's own.

        :raises ConfigurationError: one of them cannot be used, or all are optional.
        """
        parsed = [(SinkUri.parse(uri).optional, sink(uri)) for uri in uris]
        if all(optional for optional, _ in parsed):
            raise SettingInvalid(
                "no sink of the access log is required, so values could be given out unlogged",
                where="[secure_xcom] audit_sinks",
                remedy="leave optional=true out of at least one sink URI",
            )
        return cls(
            [one for optional, one in parsed if not optional],
            version=version,
            optional=[*(one for optional, one in parsed if optional), *beside],
            **options,
        )

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """The sinks, the required ones first."""
        return tuple(target.sink for target in self._targets)

    def record(self, events: Sequence[Event]) -> None:
        """Write events, in order, in one append per sink.

        :raises AuditError: a sink did not take them. The caller then gives nothing out.
        """
        if not events:
            return
        if self._pid != os.getpid():
            self._begin_process()
        with self._lock:
            if self._busy:
                raise AuditError(
                    "a signal's handler asks for a value while an event is being written",
                    where="the access log",
                    remedy="push and pull outside of signal handlers and on_kill",
                )
            self._write(events)

    def close(self) -> None:
        """End the chain, if there is one: what comes after begins another.

        Raises nothing: where the end cannot be written the chain stays open, as if the process had been killed.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            if self._busy or self._chain.ended or not self._chain.length:
                return
            try:
                self._write([self._end()])
            except AuditError as error:
                log.warning("The chain of events stays open: %s", error)

    def _write(self, events: Sequence[Event]) -> None:
        self._busy = True
        try:
            self._spare_memory()
            if self._chain.ended:
                self._chain = Chain()
            self._begin_once()
            lines = [self._chain.add(self._record(event)) for event in self._with_others(events)]
            self._change = None
            errors = [target.give(lines) for target in self._targets]
        except AuditError:
            raise
        except BaseException:
            # A time-out that Airflow raises within a write: nobody knows what was written, so nothing is written
            # behind it. The chain stays open, as if the process had been killed here, and another one begins.
            self._chain = Chain()
            for target in self._targets:
                target.pending = []
            raise
        finally:
            self._busy = False
        for error in errors:
            if error is not None:
                raise error
        if self._unkept and self._seen is not None and self._policy is not None:
            self._seen.keep(self._policy)
            self._unkept = False

    def _with_others(self, events: Sequence[Event]) -> list[Event]:
        """These events, and those that are written with them in the same write."""
        before = [] if self._change is None else [self._change]
        last = events[-1]
        # Behind its return value a task seldom has another event, so a request for the chain's end is saved.
        returned = self._dear and last.coordinate is not None and last.coordinate.key == _RETURN_KEY
        done = (returned and last.action == "push") or self._chain.length + len(events) >= CHAIN_MAX
        behind = [self._end()] if done and last.action != "chain_end" and last.outcome == "ok" else []
        return [*before, *events, *behind]

    def _end(self) -> Event:
        missed = {target.sink.uri: target.missed for target in self._targets if target.missed}
        return Event("chain_end", "ok", missed=missed)

    def _spare_memory(self) -> None:
        """A process that goes on asking while a sink is down makes no more events until it takes some."""
        for target in self._targets:
            if len(target.pending) >= PENDING_MAX and (error := target.give(())):
                raise error

    def _record(self, event: Event) -> dict[str, Any]:
        fields = event.fields()
        if self._policy is not None:
            fields.setdefault("policy", self._policy)
        return {
            "version": VERSION,
            "id": str(uuid6.uuid7()),
            "time": self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            **(self._hasher.fields(fields) if self._hasher else fields),
            "host": _host(),
            "pid": self._pid,
            "release": self._version,
        }

    def _begin_process(self) -> None:
        """State that a fork must not share: the lock may be held, and the lines are the parent's to write."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._busy = False
        self._chain = Chain()
        self._registered = False
        self._change = None
        self._unkept = False
        for target in self._targets:
            target.pending, target.missed = [], 0

    def _begin_once(self) -> None:
        # Registered here, in the process that writes: Airflow drops what was registered before its fork, and runs
        # what was registered after it (airflow/sdk/execution_time/supervisor.py, _fork_main).
        if self._registered:
            return
        self._registered = True
        reference = weakref.ref(self)
        atexit.register(_close, reference)
        multiprocessing = sys.modules.get("multiprocessing.process")
        if multiprocessing is not None and multiprocessing.parent_process() is not None:
            # A child of multiprocessing ends with os._exit, behind these functions of its own.
            from multiprocessing.util import Finalize

            Finalize(None, _close, args=(reference,), exitpriority=0)
        if self._seen is not None and self._policy is not None:
            self._change, self._unkept = self._seen.change(self._policy), True


def _close(reference: weakref.ref[AccessLog]) -> None:
    found = reference()
    if found is not None:
        found.close()


@lru_cache(maxsize=1)
def _host() -> str:
    return socket.gethostname()
