"""The sink of Python's logging, and through it of OpenTelemetry logs and of whatever else handlers reach.

    log://NAME      the logger NAME; its handlers are the deployment's (Airflow's logging configuration, or the
                    handler of opentelemetry-instrumentation-logging)

Each event is one record: its line is the message, the level is INFO for what was done and WARNING for what was
refused or failed, and the fields that filters and OpenTelemetry's attributes need stand in the record by name.

Python's logging does not tell its caller what a handler could not do. So an event counts as taken when a handler
was given it: keep a required sink of another kind beside this one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from secure_xcom.core.errors import AuditError, UriInvalid
from secure_xcom.core.event import Line
from secure_xcom.sinks.sink_uri import SinkUri

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
_ATTRIBUTES = ("id", "action", "outcome", "error", "compartment", "chain", "sequence", "release")


class LogSink:
    """Hands each event to a logger.

    :raises UriInvalid: the URI names no logger, or has an unknown option.
    """

    dear = False

    def __init__(self, uri: SinkUri) -> None:
        self.uri = uri.place
        uri.only()
        name = uri.place.removeprefix("log://")
        if not _NAME.fullmatch(name):
            raise UriInvalid(
                "a log sink is log://NAME",
                where=f"sink URI {uri.shown:.120}",
                remedy="write the name of a logger, as log://secure_xcom.audit",
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
            known = {name: line.record[name] for name in _ATTRIBUTES if name in line.record}
            extra = {f"secure_xcom.{name}": value for name, value in known.items()}
            self._logger.log(level, "%s", line.data.decode(), extra=extra)
