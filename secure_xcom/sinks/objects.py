"""The object sink: each batch of events is one object, created and never overwritten.

    s3://CONN_ID@BUCKET/PREFIX, gs://..., abfs://...    as store URIs, with a store's own options
    memory://NAME                                       in this process, for tests and trials

An object is ``events/YYYY-MM-DD/CHAIN/SEQUENCE.jsonl``: the day on which its chain began (UTC), and the number
of its first event. Options: ``optional=true``, and with it ``batch=task``, which keeps a chain's events until
its end and writes them as one object; docs/adr/0031 explains why only an optional sink may do that.

The worker needs the right to create objects below the prefix. It also needs the right to read them: after a lost
answer, the bytes tell its own object from somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from uuid import UUID

import uuid6

from secure_xcom.core import clock
from secure_xcom.core.errors import AuditError, SecureXComError, UriInvalid
from secure_xcom.core.event import Line
from secure_xcom.sinks.sink_uri import SinkUri
from secure_xcom.stores import Store, store

_CHAINS_MAX = 64
_CONNECTION = re.compile(r"(?<=://)[^/@]*@")


class ObjectSink:
    """Write events as JSON Lines objects.

    :param opened: the store to use instead of the one that the URI names.
    :raises ConfigurationError: the URI has a typo, or its connection cannot be used.
    """

    costly = True

    def __init__(self, uri: SinkUri, opened: Store | None = None) -> None:
        batch = uri.options.get("batch", "call")
        if batch not in ("call", "task") or (batch == "task" and not uri.optional):
            raise UriInvalid(
                "batch is call, or for an optional sink task",
                where=uri.where,
                remedy="write optional=true&batch=task, and keep a required sink beside it",
            )
        self._store = opened or store(uri.without("batch").rest)
        self.uri = without_connection(self._store.uri)
        self._whole_chains = batch == "task"
        self._kept: list[Line] = []
        # The path and the number of lines of a put whose outcome is unknown; it is repeated unchanged.
        self._tried: tuple[str, int] = ("", 0)
        # Chain -> the number of its next event, for chains of which something was written.
        self._next: dict[str, int] = {}

    def write(self, lines: Sequence[Line]) -> None:
        """Write the events as one object, after repeating a failed one. Without events write an empty object.

        :raises AuditError: the store did not accept them.
        """
        if self._whole_chains and lines:
            self._kept += lines
            if lines[-1].record["action"] != "chain_end":
                return None
            lines, self._kept = self._kept, []
        if not lines:
            return self._put(f"check/{clock.now():%Y-%m-%d}/{uuid6.uuid7()}", b"", 0)
        # Repeated lines may be of an ended chain, and some of them may have been written already.
        chains: dict[str, list[Line]] = {}
        for line in lines:
            chain = line.record["chain"]
            if line.record["sequence"] >= self._next.get(chain, 0):
                chains.setdefault(chain, []).append(line)
        for chain, unwritten in chains.items():
            path, count = self._tried
            if count and path == _path(unwritten[0]):
                self._put_lines(chain, unwritten[:count])
                del unwritten[:count]
            if unwritten:
                self._put_lines(chain, unwritten)
        return None

    def _put_lines(self, chain: str, lines: Sequence[Line]) -> None:
        path = _path(lines[0])
        self._tried = (path, len(lines))
        self._put(path, b"".join(line.data + b"\n" for line in lines), len(lines))
        self._tried = ("", 0)
        if len(self._next) > _CHAINS_MAX:
            self._next.clear()
        self._next[chain] = lines[-1].record["sequence"] + 1

    def _put(self, path: str, body: bytes, count: int) -> None:
        try:
            self._store.put(path, (body,))
        except SecureXComError as error:
            raise AuditError(
                f"the store did not accept {count} event(s) ({type(error).__name__}: {error.what})", where=self.uri
            ) from None


def _path(line: Line) -> str:
    chain = line.record["chain"]
    # The first 48 bits of a UUIDv7 are milliseconds (RFC 9562, section 5.7).
    began = datetime.fromtimestamp((UUID(chain).int >> 80) / 1000, timezone.utc)
    return f"events/{began:%Y-%m-%d}/{chain}/{line.record['sequence']:09}.jsonl"


def without_connection(uri: str) -> str:
    """Return a bucket's or a table's URI without the connection that leads to it."""
    return _CONNECTION.sub("", uri)
