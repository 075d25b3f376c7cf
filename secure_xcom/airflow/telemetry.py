"""Airflow's own metrics and traces, as a task's process has them.

Metrics: ``airflow.sdk.observability.stats``, as Airflow 3.2 and later tell third parties to; where it is not there
(3.1), ``airflow.stats.Stats``. Airflow makes the client (StatsD, Datadog or OpenTelemetry), puts its prefix before
names and applies its allow and block lists.

Traces: OpenTelemetry's current span. The task runner starts ``worker.TASK_ID`` and flushes it at the end. That of
Airflow 3.1 starts none, so there are no spans of ours either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from secure_xcom.core.pipeline.telemetry.measuring import Span, Telemetry

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OpenTelemetrySpan
    from opentelemetry.trace import Tracer as OpenTelemetryTracer


def telemetry(*, metrics: bool, traces: bool) -> Telemetry:
    """Return what records for Airflow. Loads nothing for what is off.

    :param metrics: whether Airflow's metrics are on; :param traces: whether its traces are.
    """
    return Telemetry(AirflowMeter() if metrics else None, AirflowTracer() if traces else None)


class AirflowMeter:
    """Airflow's stats, found when something is first told."""

    def __init__(self) -> None:
        self._found: Any = None

    def incr(self, stat: str, count: int, *, tags: Mapping[str, str]) -> None:
        """See `Meter.incr`."""
        self._stats().incr(stat, count=count, tags=dict(tags))

    def timing(self, stat: str, milliseconds: float, *, tags: Mapping[str, str]) -> None:
        """See `Meter.timing`."""
        self._stats().timing(stat, milliseconds, tags=dict(tags))

    def _stats(self) -> Any:
        # Kept, because an import that fails looks through the whole path each time.
        if self._found is None:
            self._found = _stats()
        return self._found


class AirflowTracer:
    """Spans below the task's own, where that is recorded."""

    def __init__(self) -> None:
        self._tracer: OpenTelemetryTracer | None = None

    @contextmanager
    def span(self, name: str) -> Iterator[Span]:
        """See `Tracer.span`."""
        from opentelemetry import trace

        if not trace.get_current_span().is_recording():
            yield _Recorded(trace.INVALID_SPAN)
            return
        if self._tracer is None:
            self._tracer = trace.get_tracer("secure_xcom")
        span = self._tracer.start_span(name)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield _Recorded(span)


class _Recorded:
    def __init__(self, span: OpenTelemetrySpan) -> None:
        self._span = span

    def tell(self, attributes: Mapping[str, str | int], error: str | None) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attributes(dict(attributes))
        if error is not None:
            # The attribute's name is of OpenTelemetry's semantic conventions.
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR, error))


def _stats() -> Any:
    try:
        from airflow.sdk.observability import stats
    except ImportError:
        # Airflow 3.1 has it only here.
        from airflow.stats import Stats

        return Stats
    # A class in 3.2; functions in 3.3, which keeps the class for those who know it.
    return getattr(stats, "Stats", stats)
