"""The interface of sinks, and the choice of a sink by its URI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.event import Line
from secure_xcom.sinks.sink_uri import SinkUri


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
    if parsed.kind == "file":
        from secure_xcom.sinks.file import FileSink

        return FileSink(parsed)
    if parsed.kind == "logger":
        from secure_xcom.sinks.python_logging import LogSink

        return LogSink(parsed)
    if parsed.kind == "database":
        from secure_xcom.sinks.database import DatabaseSink

        return DatabaseSink(parsed)
    if parsed.kind == "syslog":
        from secure_xcom.sinks.syslog import SyslogSink

        return SyslogSink(parsed)
    if parsed.kind == "objects":
        from secure_xcom.sinks.objects import ObjectSink

        return ObjectSink(parsed)
    raise UriInvalid(
        f"no sink has the scheme {parsed.scheme!r:.40}",
        where=parsed.where,
        remedy="use file:///path/access-log.jsonl, s3://, gs:// or abfs://, db://CONN_ID, log://NAME, or "
        "syslog+tls://host",
    )
