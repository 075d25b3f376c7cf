"""The interface of sinks, and the choice of a sink by its URI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from secure_xcom.core.event import Line
from secure_xcom.core.load_adapter import load
from secure_xcom.sinks.sink_uri import SinkUri

IMPLEMENTATIONS = {
    "file": "secure_xcom.sinks.file:FileSink",
    "logger": "secure_xcom.sinks.python_logging:LogSink",
    "database": "secure_xcom.sinks.database:DatabaseSink",
    "syslog": "secure_xcom.sinks.syslog:SyslogSink",
    "objects": "secure_xcom.sinks.objects:ObjectSink",
    "alarms": "secure_xcom.sinks.alarms.notifiers:AlarmSink",
}
"""The sink of each kind of sink URI (`SinkUri.kind`); the last one has no URI, but the access policy's alarms."""


class Sink(Protocol):
    """Accepts events whole, or raises."""

    uri: str
    """Its URI as errors and events may show it: without options and passwords."""

    costly: bool
    """Whether each write is a request that costs money."""

    def write(self, lines: Sequence[Line]) -> None:
        """Append events in order. When it returns, they are stored as the sink's documentation promises.

        Lines that it did not accept are passed again, before later ones. Without lines it writes nothing and only
        checks that it could write.

        :raises AuditError: none of the lines counts as written.
        """


def sink(uri: str) -> Sink:
    """Return the sink that a URI names. The caller decides whether it is optional.

    :raises UriInvalid: no sink has this scheme, or the URI has a typo.
    """
    parsed = SinkUri.parse(uri)
    factory: Callable[[SinkUri], Sink] | None = load(IMPLEMENTATIONS, parsed.kind or "")
    if factory is None:
        from secure_xcom.core.uri_faults import unknown_scheme

        raise unknown_scheme("sink", parsed.scheme, parsed.where)
    return factory(parsed)
