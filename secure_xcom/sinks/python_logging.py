"""The logger sink: Python's logging, and through its handlers OpenTelemetry logs and other targets.

    log://NAME      the logger NAME; the deployment configures its handlers (in Airflow's logging configuration, or
                    the handler of opentelemetry-instrumentation-logging)

Each event is one record: its line is the message; the level is INFO for ``ok``, and WARNING for ``refused`` and
``failed``. The fields that filters and OpenTelemetry's attributes need are attributes of the record.

Python's logging does not report a handler's failure to the caller. An event counts as accepted when a handler got
it, so keep a required sink of another kind beside this one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from secure_xcom.core.errors import AuditError, UriInvalid
from secure_xcom.core.event import Line
from secure_xcom.sinks.sink_uri import SinkUri

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
ATTRIBUTES = ("id", "action", "outcome", "error", "compartment", "chain", "sequence", "release")
"""The fields of an event that are attributes of its log record."""


class LogSink:
    """Pass each event to a logger.

    :raises UriInvalid: the URI does not name a logger, or has an unknown option.
    """

    costly = False

    def __init__(self, uri: SinkUri) -> None:
        self.uri = uri.place
        uri.only()
        name = uri.place.removeprefix("log://")
        if not _NAME.fullmatch(name):
            raise UriInvalid(
                "a log sink is log://NAME",
                where=uri.where,
                remedy="write the name of a logger, such as log://secure_xcom.audit",
            )
        self._logger = logging.getLogger(name)

    def write(self, lines: Sequence[Line]) -> None:
        """Log the events.

        :raises AuditError: the logger drops such records, or has no handler.
        """
        if not self._logger.isEnabledFor(logging.INFO) or not self._logger.hasHandlers():
            raise AuditError(
                "the logger has no handler, or a level above INFO, so it would drop the event",
                where=self.uri,
                remedy="give the logger a handler and the level INFO in this worker's logging configuration",
            )
        for line in lines:
            level = logging.INFO if line.record["outcome"] == "ok" else logging.WARNING
            extra = {f"secure_xcom.{name}": line.record[name] for name in ATTRIBUTES if name in line.record}
            self._logger.log(level, "%s", line.data.decode(), extra=extra)
