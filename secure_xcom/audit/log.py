"""The access log of one process: hands every event to every sink."""

from __future__ import annotations

from collections.abc import Sequence

from secure_xcom.audit.events import Event
from secure_xcom.audit.sinks import Sink, sink


class AccessLog:
    """Writes events to all sinks; all of them must take an event.

    :param version: this release, recorded in each event.
    """

    def __init__(self, sinks: Sequence[Sink], *, version: str) -> None:
        self.sinks = tuple(sinks)
        self._version = version

    @classmethod
    def open(cls, uris: Sequence[str], *, version: str) -> AccessLog:
        """The log that writes to these sink URIs."""
        return cls([sink(uri) for uri in uris], version=version)

    def record(self, events: Sequence[Event]) -> None:
        """Write events, in order, in one append per sink.

        :raises AuditError: a sink did not take them. The caller then gives nothing out.
        """
        if not events:
            return
        records = [event.record(self._version) for event in events]
        for target in self.sinks:
            target.write(records)
