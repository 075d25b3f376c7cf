"""What Airflow's metrics and traces are told of pushes and pulls, and that telling them breaks nothing."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Asked
from secure_xcom.core.errors import AuditError, CoordinateMismatch, KeyServiceUnavailable
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.core.pipeline.telemetry.measuring import (
    COUNTERS,
    DATA_KEYS,
    KEY_CALL_TIME,
    KEY_CALLS,
    OPERATION_TIME,
    OPERATIONS,
    SEALED_BYTES,
    TIMERS,
    XCOMS,
    Span,
    Telemetry,
)
from secure_xcom.core.service_errors import KeyServiceDenied
from tests.support.world import World, coordinate

SECRET = "correct-horse-battery"


@dataclass
class MemoryMeter:
    """Keeps what it is told; raises instead when it is broken."""

    broken: bool = False
    calls: int = 0
    counts: list[tuple[str, int, dict[str, str]]] = field(default_factory=list)
    times: list[tuple[str, float, dict[str, str]]] = field(default_factory=list)

    def incr(self, stat: str, count: int, *, tags: Mapping[str, str]) -> None:
        """See `secure_xcom.core.pipeline.telemetry.Meter`."""
        self._count_call()
        self.counts.append((stat, count, dict(tags)))

    def timing(self, stat: str, milliseconds: float, *, tags: Mapping[str, str]) -> None:
        """See `secure_xcom.core.pipeline.telemetry.Meter`."""
        self._count_call()
        self.times.append((stat, milliseconds, dict(tags)))

    def of(self, stat: str) -> list[tuple[int, dict[str, str]]]:
        """What a counter was told."""
        return [(count, tags) for name, count, tags in self.counts if name == stat]

    def timed(self, stat: str) -> list[tuple[float, dict[str, str]]]:
        """What a timer was told."""
        return [(took, tags) for name, took, tags in self.times if name == stat]

    def _count_call(self) -> None:
        self.calls += 1
        if self.broken:
            raise OSError(f"no route to the host of {SECRET}")


@dataclass
class MemorySpan:
    """Keeps what it is told."""

    name: str
    parent: str | None
    attributes: dict[str, str | int] = field(default_factory=dict)
    error: str | None = None
    ended: bool = False

    def tell(self, attributes: Mapping[str, str | int], error: str | None) -> None:
        """See `secure_xcom.core.pipeline.telemetry.Span`."""
        assert not self.ended
        self.attributes.update(attributes)
        self.error = error


@dataclass
class MemoryTracer:
    """Keeps its spans; raises instead when it is broken."""

    broken: bool = False
    stuck: bool = False
    spans: list[MemorySpan] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    @contextmanager
    def span(self, name: str) -> Iterator[Span]:
        """See `secure_xcom.core.pipeline.telemetry.Tracer`."""
        if self.broken:
            raise OSError("no collector")
        span = MemorySpan(name, self.open[-1] if self.open else None)
        self.spans.append(span)
        self.open.append(name)
        yield span
        if self.stuck:
            raise OSError("no collector any more")
        span.ended = True
        self.open.pop()


class Clock:
    """Goes on by a quarter of a second each time it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time in seconds."""
        self.now += 0.25
        return self.now


@dataclass
class Observed:
    """A world, and a process of it that tells a meter and a tracer."""

    world: World = field(default_factory=World)
    meter: MemoryMeter = field(default_factory=MemoryMeter)
    tracer: MemoryTracer = field(default_factory=MemoryTracer)

    def process(self) -> Pipeline:
        """Another process, which tells the same meter and tracer."""
        return self.world.process(telemetry=Telemetry(self.meter, self.tracer, Clock()))


@pytest.fixture
def observed() -> Observed:
    """A deployment in memory."""
    return Observed()


def test_a_push_is_counted_timed_and_measured(observed: Observed) -> None:
    """A push counts as one operation and one XCom, with its sealed bytes, its wrap and its time."""
    reference = observed.process().push([Push(coordinate(), {"password": SECRET})])[0]
    size = observed.world.pipeline.store(observed.world.store_uri)
    stored = sum(len(b"".join(size.get(found.path))) for found in size.list(""))
    where = {"action": "push", "compartment": "default"}
    assert reference["head"]["compartment"] == "default"
    assert observed.meter.of(OPERATIONS) == [(1, {**where, "outcome": "ok"})]
    assert observed.meter.of(XCOMS) == [(1, where)]
    assert observed.meter.of(SEALED_BYTES) == [(stored, where)]
    assert observed.meter.of(KEY_CALLS) == [(1, {"service": "memory-key", "call": "wrap", "outcome": "ok"})]
    # The wrap asks the clock twice in between.
    assert observed.meter.timed(OPERATION_TIME) == [(750.0, {**where, "outcome": "ok"})]
    assert [took for took, _ in observed.meter.timed(KEY_CALL_TIME)] == [250.0]


def test_cached_data_keys_are_told_from_unwrapped_ones(observed: Observed) -> None:
    """Of a pull of many, each data key counts as unwrapped or cached, and a request for several counts as one."""
    first = observed.world.push(1, coordinate(task_id="a"))
    second = observed.world.push(2, coordinate(task_id="b"))
    reader = observed.process()
    reader.pull([Row(first), Row(second)])
    reader.pull([Row(first)])
    where = {"compartment": "default"}
    assert observed.meter.of(DATA_KEYS) == [
        (2, {**where, "source": "key_service"}),
        (1, {**where, "source": "cache"}),
    ]
    assert [tags["call"] for _, tags in observed.meter.of(KEY_CALLS)] == ["unwrap"]
    assert [count for count, _ in observed.meter.of(XCOMS)] == [2, 1]


def test_a_refusal_names_its_error_and_compartment(observed: Observed) -> None:
    """A refused pull counts as refused, by the class of the error, and gives no XCom."""
    moved = observed.world.push(1)
    moved["head"]["task_id"] = "other"
    with pytest.raises(CoordinateMismatch):
        observed.process().pull([Row(moved, asked=_asked())])
    ((count, tags),) = observed.meter.of(OPERATIONS)
    assert (count, tags["outcome"], tags["error"]) == (1, "refused", "CoordinateMismatch")
    assert observed.meter.of(XCOMS) == observed.meter.of(SEALED_BYTES) == []


def test_a_denied_key_is_a_refusal_of_the_key_service(observed: Observed) -> None:
    """A key service that says no counts as refused, one that does not answer as failed."""
    reference = observed.world.push(1)
    service = observed.world.service("memory-key://one")
    service.denied = True
    with pytest.raises(KeyServiceDenied):
        observed.process().pull([Row(reference)])
    service.denied, service.unavailable = False, True
    with pytest.raises(KeyServiceUnavailable):
        observed.process().push([Push(coordinate(), 1)])
    calls = [tags for _, tags in observed.meter.of(KEY_CALLS)]
    assert [(tags["call"], tags["outcome"], tags["error"]) for tags in calls] == [
        ("unwrap", "refused", "KeyServiceDenied"),
        ("wrap", "failed", "KeyServiceUnavailable"),
    ]
    assert [tags["outcome"] for _, tags in observed.meter.of(OPERATIONS)] == ["refused", "failed"]


def test_an_error_in_one_entrys_place_is_counted(observed: Observed) -> None:
    """A request that was answered with an error for one of its entries does not count as ok."""
    reference = observed.world.push(1)
    wrapped = reference["keys"][0]["wrapped"]
    observed.world.service("memory-key://one").failures[wrapped] = KeyServiceDenied("not this one")
    with pytest.raises(KeyServiceDenied):
        observed.process().pull([Row(reference)])
    ((_, tags),) = observed.meter.of(KEY_CALLS)
    assert (tags["outcome"], tags["error"]) == ("refused", "KeyServiceDenied")


def test_an_access_log_that_cannot_be_written_is_counted(observed: Observed) -> None:
    """A push that the access log stopped counts as failed with its error, so that an alert can watch for it."""
    observed.world.sink.full = True
    with pytest.raises(AuditError):
        observed.process().push([Push(coordinate(), 1)])
    ((_, tags),) = observed.meter.of(OPERATIONS)
    assert (tags["outcome"], tags["error"]) == ("failed", "AuditError")


def test_an_error_that_is_not_ours_has_no_name_of_its_own(observed: Observed) -> None:
    """What stops a push from outside counts as failed and foreign, and passes as it is."""

    class TimeIsUp(BaseException):
        """As a task's time-out."""

    class Stopping:
        def __getattribute__(self, name: str) -> object:
            raise TimeIsUp

    with pytest.raises(TimeIsUp):
        observed.process().push([Push(coordinate(), Stopping())])
    ((_, tags),) = observed.meter.of(OPERATIONS)
    assert (tags["outcome"], tags["error"]) == ("failed", "foreign")


def test_a_pull_from_several_compartments_is_split() -> None:
    """XComs and bytes are counted per compartment; the operation that took several says so."""
    policy = AccessPolicy(
        tuple(
            Compartment(name=name, dags=(name,), key_uris=("memory-key://one",), store_uri="memory://several")
            for name in ("finance", "hr")
        ),
        digest="d",
        consumers_known=False,
    )
    observed = Observed(World(policy=policy, store_uri="memory://several"))
    rows = [Row(observed.world.push(1, coordinate(dag_id=name))) for name in ("finance", "hr")]
    observed.process().pull(rows)
    assert [tags["compartment"] for _, tags in observed.meter.of(OPERATIONS)] == ["several"]
    assert sorted(tags["compartment"] for _, tags in observed.meter.of(XCOMS)) == ["finance", "hr"]


def test_spans_lie_in_each_other_and_carry_no_message(observed: Observed) -> None:
    """A pull is one span with the key service's below it; a failed one carries the error's class only."""
    reference = observed.world.push({"password": SECRET})
    observed.process().pull([Row(reference)])
    observed.world.service("memory-key://one").denied = True
    with pytest.raises(KeyServiceDenied):
        observed.process().pull([Row(reference)])
    names = [(span.name, span.parent, span.error, span.ended) for span in observed.tracer.spans]
    pull, below = "secure_xcom.pull", "secure_xcom.key_service.unwrap"
    assert names == [
        (pull, None, None, True),
        (below, pull, None, True),
        (pull, None, "KeyServiceDenied", True),
        (below, pull, "KeyServiceDenied", True),
    ]
    assert observed.tracer.spans[0].attributes["secure_xcom.xcoms"] == 1


def test_tags_hold_no_id_and_nothing_of_the_value(observed: Observed) -> None:
    """No tag and no attribute holds a DAG's, run's or task's id, an XCom's key, a wrapped key or the value."""
    at = coordinate(dag_id="dag-7c1", run_id="run-7c2", task_id="task-7c3", key="key-7c4")
    process = observed.process()
    reference = process.push([Push(at, {"password": SECRET})])[0]
    process.pull([Row(reference)])
    told = json.dumps([observed.meter.counts, observed.meter.times, [vars(one) for one in observed.tracer.spans]])
    wrapped = reference["keys"][0]["wrapped"]
    for hidden in ("dag-7c1", "run-7c2", "task-7c3", "key-7c4", SECRET, wrapped, "memory-key://one"):
        assert hidden not in told
    assert {name for name, _, _ in observed.meter.counts} == set(COUNTERS)
    assert {name for name, _, _ in observed.meter.times} == set(TIMERS)


def test_broken_metrics_stop_no_value(observed: Observed, caplog: pytest.LogCaptureFixture) -> None:
    """A meter that fails is said once, without its message, and not asked again; values pass all the same."""
    observed.meter.broken = True
    process = observed.process()
    with caplog.at_level(logging.WARNING):
        reference = process.push([Push(coordinate(), 1)])[0]
        assert process.pull([Row(reference)]) == [1]
    assert observed.meter.calls == 1
    assert len([record for record in caplog.records if "switched off" in record.message]) == 1
    assert SECRET not in caplog.text


def test_broken_traces_stop_no_value(observed: Observed) -> None:
    """A tracer that fails stops neither a push nor a pull."""
    observed.tracer.broken = True
    process = observed.process()
    reference = process.push([Push(coordinate(), 1)])[0]
    assert process.pull([Row(reference)]) == [1]


def test_a_span_is_closed_where_metrics_break_within_it(observed: Observed) -> None:
    """When the meter fails, the spans that are open by then end, so that none stays the task's current one."""
    observed.meter.broken = True
    observed.process().push([Push(coordinate(), 1)])
    assert [(span.name, span.ended) for span in observed.tracer.spans] == [
        ("secure_xcom.push", True),
        ("secure_xcom.key_service.wrap", True),
    ]
    assert observed.tracer.open == []


def test_a_span_that_does_not_end_stops_no_value(observed: Observed) -> None:
    """A tracer that fails when a span ends stops neither a push nor its error, and is not asked again."""
    observed.tracer.stuck = True
    process = observed.process()
    reference = process.push([Push(coordinate(), 1)])[0]
    assert process.pull([Row(reference)]) == [1]
    assert len(observed.tracer.spans) == 2
    observed.world.service("memory-key://one").denied = True
    with pytest.raises(KeyServiceDenied):
        observed.process().pull([Row(reference)])


def test_threads_count_each_of_their_pulls(observed: Observed) -> None:
    """Pulls of several threads at once, as async pulls are, are counted one for one, as are their data keys."""
    reference = observed.world.push(1)
    process = observed.world.process(telemetry=Telemetry(observed.meter))
    process.pull([Row(reference)])
    with ThreadPoolExecutor(8) as threads:
        pulled = list(threads.map(lambda _: process.pull([Row(reference)]), range(200)))
    assert pulled == [[1]] * 200
    assert sum(count for count, _ in observed.meter.of(OPERATIONS)) == 201
    assert len(observed.meter.timed(OPERATION_TIME)) == 201
    assert sum(count for count, tags in observed.meter.of(DATA_KEYS) if tags["source"] == "cache") == 200


def test_an_error_passes_broken_metrics(observed: Observed) -> None:
    """The error of a refused pull is what the caller gets, not that of the meter."""
    reference = observed.world.push(1)
    observed.world.service("memory-key://one").denied = True
    observed.meter.broken = observed.tracer.broken = True
    with pytest.raises(KeyServiceDenied):
        observed.process().pull([Row(reference)])


def test_nothing_is_loaded_where_metrics_and_traces_are_off() -> None:
    """With both off no OpenTelemetry and no Airflow is loaded, and key services are used as they are."""
    code = (
        "import sys\n"
        "from secure_xcom.airflow.telemetry import telemetry\n"
        "off = telemetry(metrics=False, traces=False)\n"
        "opened = object()\n"
        "assert not off.on and off.services(lambda uri: opened)('local:///k') is opened\n"
        "with off.operation('push', []): pass\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'airflow'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def _asked() -> Asked:
    return Asked("orders", "extract", "return_value")
