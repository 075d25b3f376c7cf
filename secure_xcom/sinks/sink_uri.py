"""Sink URIs and their options: ``SCHEME://PLACE[?OPTION=VALUE[&OPTION=VALUE]]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from secure_xcom.core.errors import UriInvalid

Kind = Literal["file", "logger", "database", "syslog", "objects"]
_KINDS: dict[str, Kind] = {
    "file": "file",
    "log": "logger",
    "db": "database",
    "syslog+tls": "syslog",
    **dict.fromkeys(("s3", "gs", "abfs", "memory"), "objects"),
}
_LOGIN = re.compile(r"(?<=://)[^/?#]*@")


@dataclass(frozen=True, slots=True)
class SinkUri:
    """A parsed sink URI.

    :ivar place: everything before the question mark. It may hold a password (a database URL), so it is not shown.
    :ivar options: the options except ``optional``.
    :ivar optional: whether the sink may fail without stopping a push or a pull.
    """

    scheme: str
    place: str
    options: Mapping[str, str]
    optional: bool

    def __repr__(self) -> str:
        return f"SinkUri({self.shown!r})"

    @property
    def kind(self) -> Kind | None:
        """The kind of sink; None for an unknown scheme."""
        return "database" if self.scheme.startswith("db+") else _KINDS.get(self.scheme)

    @property
    def shown(self) -> str:
        """The place without the text before an ``@``, for errors, logs and events."""
        return shown(self.place)

    @property
    def where(self) -> str:
        """The URI as errors name it."""
        return f"sink URI {self.shown:.120}"

    @property
    def rest(self) -> str:
        """The place with the remaining options, for the code that reads the rest of the URI."""
        return self.place + (f"?{urlencode(self.options)}" if self.options else "")

    def without(self, name: str) -> SinkUri:
        """Return the URI without an option."""
        return replace(self, options={known: value for known, value in self.options.items() if known != name})

    def file_path(self) -> tuple[Path, bool]:
        """Return the path of a ``file`` URI, and whether it names a folder.

        :raises UriInvalid: it has a host that is none.
        """
        try:
            path = urlsplit(self.place).path
        except ValueError:
            raise UriInvalid(
                "the host of the URI is invalid", where=self.where, remedy="write three slashes"
            ) from None
        return Path(unquote(path)), path.endswith("/")

    @classmethod
    def parse(cls, text: str) -> SinkUri:
        """Parse a sink URI.

        :raises UriInvalid: it has no scheme, or its options are not name=value.
        """
        place, _, query = text.partition("?")
        scheme, separator, _ = place.partition("://")
        where = f"sink URI {shown(place):.120}"
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
        except ValueError:
            pairs = [("", "")]
        if not separator or not scheme:
            from secure_xcom.core.uri_faults import unknown_scheme

            raise unknown_scheme("sink", "", where)
        if "#" in text or any(not name for name, _ in pairs):
            raise UriInvalid(
                "the options of the sink URI are not name=value, or it has a #",
                where=where,
                remedy="write SCHEME://PLACE?name=value&name=value, such as "
                "file:///var/log/airflow/access-log.jsonl?fsync=true",
            )
        options = dict(pairs)
        if len(options) < len(pairs):
            raise UriInvalid("an option is given twice", where=where, remedy="remove one of them")
        uri = cls(scheme, place, options, optional=False)
        return replace(uri.without("optional"), optional=uri.switch("optional"))

    def switch(self, name: str) -> bool:
        """Return an option that is true or false; false where it is absent.

        :raises UriInvalid: it has another value.
        """
        text = self.options.get(name, "false")
        if text not in ("true", "false"):
            raise UriInvalid(
                f"the option {name} is neither true nor false",
                where=self.where,
                remedy=f"write {name}=true, or omit it",
            )
        return text == "true"

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return an option that is a whole number; the default where it is absent.

        :raises UriInvalid: it is not a whole number, or is out of range.
        """
        text = self.options.get(name, str(default))
        if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
            raise UriInvalid(
                f"the option {name} is not a whole number from {least} to {most}",
                where=self.where,
                remedy=f"write {name}={default}, or omit it",
            )
        return int(text)

    def only(self, *names: str) -> None:
        """Check that every option is one of these.

        :raises UriInvalid: one is not.
        """
        if unknown := sorted(set(self.options) - set(names)):
            from secure_xcom.core.uri_faults import unknown_option

            raise unknown_option(unknown[0], {*names, "optional"}, self.where)


def shown(uri: str) -> str:
    """Return a URI without its options and without the text before an ``@``, which may be a password."""
    return _LOGIN.sub("...@", uri.partition("?")[0], count=1)
