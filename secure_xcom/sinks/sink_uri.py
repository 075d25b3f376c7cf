"""Sink URIs and their options: ``SCHEME://PLACE[?OPTION=VALUE[&OPTION=VALUE]]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from secure_xcom.core.errors import UriInvalid

_LOGIN = re.compile(r"(?<=://)[^/?#]*@")


@dataclass(frozen=True, slots=True)
class SinkUri:
    """A sink URI taken apart.

    :ivar place: all before the question mark. It may hold a password (a database URL), so it is not shown.
    :ivar options: the options that are not this class's own.
    :ivar optional: whether the sink may fail without stopping a push or pull.
    """

    scheme: str
    place: str
    options: Mapping[str, str]
    optional: bool

    def __repr__(self) -> str:
        return f"SinkUri({self.shown!r})"

    @property
    def shown(self) -> str:
        """The place without what stands before an ``@``, for errors, logs and events."""
        return shown(self.place)

    @property
    def rest(self) -> str:
        """The place with the options that are left, as whoever else reads the URI takes it."""
        return self.place + (f"?{urlencode(self.options)}" if self.options else "")

    @classmethod
    def parse(cls, text: str) -> SinkUri:
        """Take a sink URI apart.

        :raises UriInvalid: it has no scheme, or its options are not name=value.
        """
        place, _, query = text.partition("?")
        scheme, separator, _ = place.partition("://")
        where = f"sink URI {shown(place):.120}"
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
        except ValueError:
            pairs = [("", "")]
        if not separator or not scheme or "#" in text or any(not name for name, _ in pairs):
            raise UriInvalid(
                "not a sink URI", where=where, remedy="write SCHEME://PLACE?name=value, as docs/audit.md shows"
            )
        options = dict(pairs)
        if len(options) < len(pairs):
            raise UriInvalid("an option is given twice", where=where, remedy="leave one out")
        found = cls(scheme, place, options, optional=False)
        optional = found.switch("optional")
        left = {name: value for name, value in options.items() if name != "optional"}
        return cls(scheme, place, left, optional)

    def switch(self, name: str) -> bool:
        """An option that is true or false; false where it is not given.

        :raises UriInvalid: it is neither.
        """
        text = self.options.get(name, "false")
        if text not in ("true", "false"):
            raise UriInvalid(
                f"the option {name} is neither true nor false",
                where=f"sink URI {self.shown:.120}",
                remedy=f"write {name}=true, or leave it out",
            )
        return text == "true"

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """An option that is a whole number; the default where it is not given.

        :raises UriInvalid: it is none, or outside of its bounds.
        """
        text = self.options.get(name, str(default))
        if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
            raise UriInvalid(
                f"the option {name} is not a whole number from {least} to {most}",
                where=f"sink URI {self.shown:.120}",
                remedy=f"write {name}={default}, or leave it out",
            )
        return int(text)

    def only(self, *names: str) -> None:
        """:raises UriInvalid: there is an option that this sink does not know."""
        unknown = sorted(set(self.options) - set(names))
        if unknown:
            raise UriInvalid(
                f"unknown option {unknown[0]!r:.40}",
                where=f"sink URI {self.shown:.120}",
                remedy=f"the options are {', '.join(sorted({*names, 'optional'}))}",
            )


def shown(uri: str) -> str:
    """A URI without its options and without what stands before an ``@``, which may be a password."""
    return _LOGIN.sub("...@", uri.partition("?")[0], count=1)
