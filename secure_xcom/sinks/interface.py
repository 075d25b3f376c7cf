"""Sinks: where events are written. One interface, chosen by the sink URI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.event import Line
from secure_xcom.sinks.sink_uri import SinkUri


class Sink(Protocol):
    """Takes events whole, or raises."""

    uri: str
    """Where it writes, as errors and events may show it: without options and passwords."""

    dear: bool
    """Whether each write costs a request that is paid for."""

    def write(self, lines: Sequence[Line]) -> None:
        """Append the events in order; when it returns they are where the sink says they are.

        Lines that it did not take are given to it again, before later ones. Without lines it writes nothing, and
        tells all the same whether they could have been written.

        :raises AuditError: not one of them counts as written.
        """


def sink(uri: str) -> Sink:
    """The sink that a sink URI names. Whether it is optional is the access log's to know.

    :raises UriInvalid: no sink has this scheme, or the URI has a typo.
    """
    parsed = SinkUri.parse(uri)
    if parsed.scheme == "file":
        from secure_xcom.sinks.file import FileSink

        return FileSink(parsed)
    if parsed.scheme == "log":
        from secure_xcom.sinks.python_logging import LogSink

        return LogSink(parsed)
    if parsed.scheme == "db" or parsed.scheme.startswith("db+"):
        from secure_xcom.sinks.database import DatabaseSink

        return DatabaseSink(parsed)
    if parsed.scheme == "syslog+tls":
        from secure_xcom.sinks.syslog import SyslogSink

        return SyslogSink(parsed)
    if parsed.scheme in ("s3", "gs", "abfs", "memory"):
        from secure_xcom.sinks.objects import ObjectSink

        return ObjectSink(parsed)
    raise UriInvalid(
        f"no sink has the scheme {parsed.scheme!r:.40}",
        where=f"sink URI {parsed.shown:.120}",
        remedy="use file:///path/access-log.jsonl, s3://, gs:// or abfs://, db://CONN_ID, log://NAME, or "
        "syslog+tls://host",
    )
