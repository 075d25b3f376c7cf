"""Sinks: where events are written. One interface, chosen by the sink URI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from secure_xcom.errors import UriInvalid


class Sink(Protocol):
    """Takes events whole, or raises."""

    uri: str

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """Append the records in order; when it returns they are where the sink says they are.

        Without records it writes nothing, and tells all the same whether they could have been written.

        :raises AuditError: not one of them counts as written.
        """


def sink(uri: str) -> Sink:
    """The sink that a sink URI names.

    :raises UriInvalid: no sink has this scheme.
    """
    scheme, separator, _ = uri.partition("://")
    if separator and scheme == "file":
        from secure_xcom.audit.file import FileSink

        return FileSink(uri)
    raise UriInvalid(
        f"no sink has the scheme {scheme!r:.40}",
        where=f"sink URI {uri!r:.120}",
        remedy="use file:///path/access-log.jsonl",
    )
