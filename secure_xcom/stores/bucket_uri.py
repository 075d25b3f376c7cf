"""Store URIs of buckets, in the form of Airflow's object storage:
``scheme://conn_id@bucket/prefix?options``.

Options change how a store is accessed, never where an object is, so they are not part of the canonical URI in
references.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from secure_xcom.connections.network import ENDPOINT_REMEDY, is_endpoint
from secure_xcom.core.errors import PathInvalid, UriInvalid
from secure_xcom.stores.paths import checked_path

PREFIX_MAX_BYTES = 160
"""Together with the longest path of `secure_xcom.core.coordinate.object_path`, a key stays under S3's 1,024
bytes."""

# Google's names are the least restricted: 3 to 63 letters, digits, "-", "_", and up to 222 with dots.
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9._-]{1,220})[a-z0-9]")
# The form of Airflow's connection ids (airflow.utils.helpers, validate_key).
_CONN_ID = re.compile(r"[\w.-]{1,250}", re.ASCII)
_MEMORY_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class BucketUri:
    """A bucket, a prefix in it, the Airflow connection for it, and the options after the question mark."""

    scheme: str
    conn_id: str | None
    bucket: str
    prefix: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """The canonical URI, without options."""
        conn_id = f"{quote(self.conn_id, safe='')}@" if self.conn_id else ""
        return f"{self.scheme}://{conn_id}{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    @classmethod
    def parse(cls, uri: str, scheme: str) -> BucketUri:
        """Parse a store URI.

        :raises UriInvalid: it is invalid. The message does not repeat the text before the ``@``, which may be a
            misplaced password.
        """
        head, _, query = uri.partition("?")
        rest = head.removeprefix(f"{scheme}://")
        authority, _, prefix = rest.partition("/")
        login, separator, bucket = authority.rpartition("@")
        where = f"store URI {scheme}://{'...@' if separator else ''}{bucket:.80}"
        form = (
            f"write {scheme}://CONN_ID@BUCKET/PREFIX, such as {scheme}://{scheme}_xcom@example-xcom/sealed, or "
            f"{scheme}://BUCKET/PREFIX for the default credentials"
        )
        if rest == head:
            raise UriInvalid(f"not a {scheme} store URI", where=where, remedy=form)
        conn_id = unquote(login)
        if separator and not _CONN_ID.fullmatch(conn_id):
            raise UriInvalid(
                "the text before the @ is not a connection id",
                where=where,
                remedy=f"{form}; credentials belong in the Airflow connection, never in a URI",
            )
        if not _BUCKET.fullmatch(bucket):
            raise UriInvalid(f"{bucket!r:.80} is not a valid bucket name", where=where, remedy=form)
        if "#" in uri:
            raise UriInvalid("a store URI has no #", where=where, remedy=form)
        try:
            prefix = checked_path(prefix.removesuffix("/"), where) if prefix.strip("/") else ""
        except PathInvalid:
            raise UriInvalid(
                f"{prefix!r:.120} is not a valid prefix",
                where=where,
                remedy="write segments of letters, digits, _ . ~ % - with one slash between them",
            ) from None
        if len(prefix) > PREFIX_MAX_BYTES:
            raise UriInvalid(f"the prefix is over {PREFIX_MAX_BYTES} bytes", where=where, remedy="shorten it")
        return cls(scheme, conn_id if separator else None, bucket, prefix, _options(query, where))


def _options(query: str, where: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise UriInvalid(
            "the text after the ? is not name=value&name=value", where=where, remedy="correct the options"
        ) from None
    options = dict(pairs)
    if len(options) < len(pairs):
        raise UriInvalid("an option is given twice", where=where, remedy="leave one out")
    return options


@dataclass(frozen=True, slots=True)
class Transport:
    """Timeouts and retries of a store. Times are in seconds.

    The defaults: half a minute without a byte is a stalled connection. Five tries within a minute survive a
    ``503 SlowDown`` and a server's restart, and end before Airflow's own task heartbeat does.
    """

    timeout: int = 30
    connect_timeout: int = 5
    retries: int = 5
    retry_seconds: int = 60
    connections: int = 16


# The largest values are far above useful ones: they catch milliseconds given instead of seconds.
_TRANSPORT = {
    "timeout": (1, 3600),
    "connect_timeout": (1, 600),
    "retries": (0, 100),
    "retry_seconds": (1, 3600),
    "connections": (1, 256),
}
TRUE_FALSE = ("true", "false")


def read_options(
    place: BucketUri, texts: Mapping[str, tuple[str, ...] | None]
) -> tuple[Transport, dict[str, str]]:
    """Return the options of every bucket, and the service's own options.

    :param texts: the service's own options: name -> its allowed values, None for any text.
    :raises UriInvalid: an unknown option, or a value that is not one of its values.
    """
    numbers: dict[str, int] = {}
    service_options: dict[str, str] = {}
    where = f"store URI {place.uri}"
    for name, value in place.options.items():
        if name in _TRANSPORT:
            low, high = _TRANSPORT[name]
            if not value.isascii() or not value.isdigit() or len(value) > 9 or not low <= int(value) <= high:
                raise UriInvalid(
                    f"the option {name} is not a whole number from {low} to {high}",
                    where=where,
                    remedy=f"write for example {name}={getattr(Transport(), name)}",
                )
            numbers[name] = int(value)
        elif name in texts:
            allowed = texts[name]
            if name == "endpoint" and not is_endpoint(value):
                raise UriInvalid("the option endpoint is not a URL", where=where, remedy=ENDPOINT_REMEDY)
            # Options end up in headers and URLs, and obstore panics on characters that these cannot contain.
            if not value.isascii() or not value.isprintable() or not value or value not in (allowed or (value,)):
                raise UriInvalid(
                    f"the option {name} cannot be {value!r:.40}",
                    where=where,
                    remedy=f"write one of {', '.join(allowed)}" if allowed else f"give {name} a value",
                )
            service_options[name] = value
        else:
            from secure_xcom.core.uri_faults import unknown_option

            raise unknown_option(name, {*_TRANSPORT, *texts}, where)
    return Transport(**numbers), service_options


def memory_name(uri: str) -> str:
    """Return the name in ``memory://NAME``.

    :raises UriInvalid: it is none.
    """
    name = uri.removeprefix("memory://")
    if not _MEMORY_NAME.fullmatch(name):
        raise UriInvalid(
            "not a memory store URI",
            where=f"store URI {uri!r:.200}",
            remedy="write memory://NAME with up to 64 letters, digits, _ or -",
        )
    return name
