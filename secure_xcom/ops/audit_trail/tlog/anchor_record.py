"""The record of one anchor: which entries it covers, and how far each chain is anchored."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from secure_xcom.core.operator_errors import SealedLogInvalid
from secure_xcom.sinks.objects import without_connection


class ChainEnd(NamedTuple):
    """How far a chain is anchored: the next sequence number, the hash of the last line, whether it has ended."""

    following: int
    last: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Anchor:
    """What one anchor covers.

    :ivar first: the index of its first entry; :ivar size: the tree's size after it.
    :ivar time: when it was begun, UTC as in events.
    :ivar sources: what was read, as named by `source_name`.
    :ivar until: every older event of the sources is covered by this anchor or an earlier one. Empty where more
        anchors follow in the same run.
    :ivar chains: how far each chain with entries in this anchor is anchored.
    """

    number: int
    first: int
    size: int
    time: str
    chains: dict[str, ChainEnd] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    until: str = ""

    def dump(self) -> bytes:
        """Return the record as one line of JSON."""
        chains = {name: [end.following, end.last, end.ended] for name, end in sorted(self.chains.items())}
        record = {
            "chains": chains,
            "first": self.first,
            "number": self.number,
            "secure_xcom_seal": 1,
            "size": self.size,
            "sources": list(self.sources),
            "time": self.time,
            "until": self.until,
        }
        return json.dumps(record, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, text: bytes, where: str) -> Anchor:
        """Parse a record.

        :raises SealedLogInvalid: it has another form.
        """
        try:
            record: dict[str, Any] = json.loads(text)
            version = record["secure_xcom_seal"]
            chains = {
                str(name): ChainEnd(int(following), str(last), bool(ended))
                for name, (following, last, ended) in record["chains"].items()
            }
            anchor = cls(
                int(record["number"]),
                int(record["first"]),
                int(record["size"]),
                str(record["time"]),
                chains,
                tuple(str(uri) for uri in record["sources"]),
                str(record["until"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise SealedLogInvalid("the record of an anchor is damaged", where=where) from None
        if version != 1:
            raise SealedLogInvalid(
                "the record of an anchor has a version that this release does not know", where=where
            )
        return anchor


def source_name(host: str, uri: str) -> str:
    """Return the name of a source in an anchor: ``HOST:URI`` for a file.

    A bucket or a table is the same from every host and by every connection. If each run has its own container, its
    host has a new name each time.
    """
    return f"{host}:{uri}" if uri.startswith("file:") else without_connection(uri)


def source_named(name: str) -> str:
    """Return the current form of a name in an anchor, since an earlier release put a host before every name."""
    host, _, uri = name.partition(":")
    return source_name(host, uri) if "://" in uri else name
