"""Measuring operations and calls of key services: names, tags, and the promise that measuring breaks nothing.

Tags hold names out of short lists only: actions, outcomes, classes of our error tree, key URI schemes, and the
compartments of the access policy. A dag, run or task id as a tag would make a series of its own for each.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Protocol

from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.event import Action
from secure_xcom.keys import KeyService
from secure_xcom.sinks.recording import Draft, outcome_of

log = logging.getLogger(__name__)

OPERATIONS = "secure_xcom.operations"
"""Counter: pushes, pulls, purges and claims; a pull of many XComs at once is one."""
OPERATION_TIME = "secure_xcom.operation_duration"
"""Timer, in milliseconds: the whole of it, the access log included."""
XCOMS = "secure_xcom.xcoms"
"""Counter: XComs of the operations that succeeded."""
SEALED_BYTES = "secure_xcom.sealed_bytes"
"""Counter: sealed payloads of these, in bytes."""
DATA_KEYS = "secure_xcom.data_keys"
"""Counter: data keys of pulled XComs, by where they came from: the cache or a key service."""
KEY_CALLS = "secure_xcom.key_calls"
"""Counter: requests to key services."""
KEY_CALL_TIME = "secure_xcom.key_call_duration"
"""Timer, in milliseconds: the same requests."""

COUNTERS = (OPERATIONS, XCOMS, SEALED_BYTES, DATA_KEYS, KEY_CALLS)
TIMERS = (OPERATION_TIME, KEY_CALL_TIME)


class Meter(Protocol):
    """Takes numbers: the part of Airflow's ``stats`` that is used."""

    def incr(self, stat: str, count: int, *, tags: Mapping[str, str]) -> None:
        """Add to a counter."""

    def timing(self, stat: str, milliseconds: float, *, tags: Mapping[str, str]) -> None:
        """Record one duration."""


class Span(Protocol):
    """One piece of work in a trace."""

    def tell(self, attributes: Mapping[str, str | int], error: str | None) -> None:
        """Set attributes and, for an error, its class. Never its message: the span is read by other people."""


class Tracer(Protocol):
    """Makes spans below the one that is current."""

    def span(self, name: str) -> AbstractContextManager[Span]:
        """Open a span that is the current one within the block."""


class Telemetry:
    """Measures, where there is something to tell it.

    :param clock: seconds.
    """

    def __init__(
        self,
        meter: Meter | None = None,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._meter = meter
        self._tracer = tracer
        self._clock = clock

    @property
    def on(self) -> bool:
        """Return whether anything is recorded."""
        return self._meter is not None or self._tracer is not None

    def operation(self, action: Action, drafts: Sequence[Draft]) -> AbstractContextManager[None]:
        """Measure a block that works at these drafts. They are looked at when it ends."""
        return self._operation(action, drafts) if self.on else nullcontext()

    @contextmanager
    def _operation(self, action: Action, drafts: Sequence[Draft]) -> Iterator[None]:
        with self._measured(f"secure_xcom.{action}") as (tell, ended):
            try:
                yield
            except BaseException as error:
                within = _compartment(drafts)
                tags = {"action": action, "compartment": within, "outcome": outcome_of(error)}
                ended()
                tell(OPERATIONS, OPERATION_TIME, tags, error=_class_of(error))
                raise
            ended()
            tags = {"action": action, "compartment": _compartment(drafts), "outcome": "ok"}
            size = sum(draft.size or 0 for draft in drafts)
            more = {"secure_xcom.xcoms": len(drafts), "secure_xcom.sealed_bytes": size}
            tell(OPERATIONS, OPERATION_TIME, tags, more=more)
            self._count(action, drafts)

    def key_call(self, scheme: str, call: str) -> AbstractContextManager[Callable[[Iterable[object]], None]]:
        """Measure one request to a key service.

        Gives a function that takes the answers, among which there may be errors that were not raised.
        """
        return self._key_call(scheme, call)

    @contextmanager
    def _key_call(self, scheme: str, call: str) -> Iterator[Callable[[Iterable[object]], None]]:
        tags = {"service": scheme, "call": call, "outcome": "ok"}
        failed: list[BaseException] = []

        def answered(answers: Iterable[object]) -> None:
            failed.extend(answer for answer in answers if isinstance(answer, BaseException))

        with self._measured(f"secure_xcom.key_service.{call}") as (tell, ended):
            try:
                yield answered
            except BaseException as error:
                failed.insert(0, error)
                raise
            finally:
                ended()
                name = None
                if failed:
                    tags["outcome"], name = outcome_of(failed[0]), _class_of(failed[0])
                tell(KEY_CALLS, KEY_CALL_TIME, tags, error=name)

    @contextmanager
    def _measured(self, name: str) -> Iterator[tuple[Callable[..., None], Callable[[], None]]]:
        began, took = self._clock(), 0.0
        span: Span | None = None
        # What the block raises is not the span's business, so the stack is left as if all had gone well: a span
        # that saw an exception would keep its message.
        stack = ExitStack()
        tracer = self._tracer
        if tracer is not None:
            span = self._guarded(lambda: stack.enter_context(tracer.span(name)))

        def ended() -> None:
            nonlocal took
            took = (self._clock() - began) * 1000

        def tell(
            counter: str,
            timer: str,
            tags: Mapping[str, str],
            *,
            error: str | None = None,
            more: Mapping[str, int] | None = None,
        ) -> None:
            meter = self._meter
            if meter is not None:
                counted = tags if error is None else {**tags, "error": error}
                self._guarded(lambda: meter.incr(counter, 1, tags=counted))
                self._guarded(lambda: meter.timing(timer, took, tags=tags))
            if span is not None:
                attributes = {f"secure_xcom.{tag}": value for tag, value in tags.items()}
                self._guarded(lambda: span.tell({**attributes, **(more or {})}, error))

        try:
            yield tell, ended
        finally:
            # Also where telling was given up within the block: a span that stays open would be the task's current
            # one for the rest of its life.
            try:
                stack.close()
            except Exception as error:  # noqa: BLE001  # as in _guarded()
                self._give_up(error)

    def _count(self, action: Action, drafts: Sequence[Draft]) -> None:
        counted: Counter[tuple[str, str, str]] = Counter()
        for draft in drafts:
            compartment = draft.compartment or "none"
            counted[XCOMS, compartment, ""] += 1
            counted[SEALED_BYTES, compartment, ""] += draft.size or 0
            if draft.cache_hit is not None:
                counted[DATA_KEYS, compartment, "cache" if draft.cache_hit else "key_service"] += 1
        for (stat, compartment, source), number in counted.items():
            tags = {"source": source} if source else {"action": str(action)}
            self._incr(stat, number, {**tags, "compartment": compartment})

    def _incr(self, stat: str, number: int, tags: Mapping[str, str]) -> None:
        meter = self._meter
        if number and meter is not None:
            self._guarded(lambda: meter.incr(stat, number, tags=tags))

    def _guarded(self, call: Callable[[], Span | None]) -> Span | None:
        """Call what may fail in another's code. The first failure is said, and nothing is told any more."""
        if not self.on:
            return None
        try:
            return call()
        except Exception as error:  # noqa: BLE001  # a value is worth more than a number about it
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        if not self.on:
            return
        self._meter = self._tracer = None
        # Its class alone: the message is another's, and may say anything.
        log.warning(
            "Recording a metric or span failed (%s): those of XComs are switched off in this process.",
            type(error).__name__,
        )

    def services(self, open_service: Callable[[str], KeyService]) -> Callable[[str], KeyService]:
        """Return the same key services, with their calls measured."""
        if not self.on:
            return open_service
        from secure_xcom.core.pipeline.telemetry.measured_keys import MeasuredKeys

        return lambda uri: MeasuredKeys(open_service(uri), self)


def _compartment(drafts: Sequence[Draft]) -> str:
    """Return the compartment of all, ``none`` before one is found, ``several`` where they differ."""
    names = {draft.compartment for draft in drafts if draft.compartment is not None}
    return "several" if len(names) > 1 else next(iter(names), "none")


def _class_of(error: BaseException) -> str:
    """Return the error's class; of other people's classes (a time-out of Airflow) there may be any number."""
    return type(error).__name__ if isinstance(error, SecureXComError) else "foreign"
