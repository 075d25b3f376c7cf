"""The syslog sink: RFC 5424 messages over TLS (RFC 5425), for a SIEM or a log collector.

    syslog+tls://HOST[:PORT]        port 6514 by default

Options: ``ca=/path/ca.pem`` (by default the system's CAs), ``cert=/path/own.pem`` and ``key=/path/own.key`` for a
collector that requires a client certificate, ``timeout=10`` in seconds, ``optional=true``. The collector's name is
always checked.

Syslog has no acknowledgement: an event counts as accepted when the operating system has all its bytes and the
collector had not closed the connection. A later loss goes unnoticed, so keep a required sink of another kind
beside this one. An event may arrive twice; its ``id`` identifies it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from secure_xcom.core.errors import AuditError, UriInvalid
from secure_xcom.core.event import Line
from secure_xcom.sinks.sink_uri import SinkUri

PORT = 6514
"""RFC 5425, section 4.1."""

# RFC 5424, section 6.2.1: facility 13 is "log audit"; severity 5 is "notice", 4 is "warning".
_FACILITY, _NOTICE, _WARNING = 13, 5, 4
_REFUSAL_SECONDS = 0.25


class SyslogSink:
    """Send each event as one message over a connection that stays open.

    :raises UriInvalid: the URI has a typo, or an unknown option.
    """

    costly = False

    def __init__(self, uri: SinkUri) -> None:
        uri.only("ca", "cert", "key", "timeout")
        self.uri = uri.shown
        try:
            parts = urlsplit(uri.place)
            self._host, self._port = parts.hostname, parts.port or PORT
            self._timeout = float(uri.options.get("timeout", "10"))
        except ValueError:
            raise UriInvalid("the port or timeout is not a number", where=uri.where, remedy=_FORM) from None
        if not self._host or parts.path.strip("/") or parts.username or not 0 < self._timeout <= 600:
            raise UriInvalid("not the URI of a syslog sink", where=uri.where, remedy=_FORM)
        self._files = {name: uri.options.get(name) for name in ("ca", "cert", "key")}
        self._open: ssl.SSLSocket | None = None
        self._pid = 0

    def write(self, lines: Sequence[Line]) -> None:
        """Send the events, over a new connection if the open one was closed.

        :raises AuditError: the connection fails, or the collector's certificate is not valid for it.
        """
        data = b"".join(_framed(line) for line in lines)
        kept = self._kept()
        if kept is not None:
            try:
                kept.sendall(data)
            except OSError:
                self._drop()
            else:
                return
        try:
            connection = self._connect()
            if data:
                connection.sendall(data)
        except OSError as error:
            self._drop()
            # The library's message may hold parts of the certificate; the class and the reason suffice.
            reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error.strerror or ""
            raise AuditError(
                f"the syslog collector did not accept the event ({type(error).__name__}: {reason!s:.120})",
                where=self.uri,
                remedy="check that the collector listens there with TLS and that the option `ca` names its CA",
            ) from None

    def _kept(self) -> ssl.SSLSocket | None:
        """Return this process's connection, if the collector has not closed it."""
        if self._open is None or self._pid != os.getpid():
            # A forked child must not write into its parent's TLS session. Dropping the copy does not end it.
            self._open = None
            return None
        try:
            self._open.settimeout(0)
            closed = self._open.recv(4096) == b""
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            closed = False
        except OSError:
            closed = True
        if closed:
            self._drop()
            return None
        self._open.settimeout(self._timeout)
        return self._open

    def _connect(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self._files["ca"])
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._files["cert"]:
            context.load_cert_chain(self._files["cert"], self._files["key"])
        plain = socket.create_connection((self._host, self._port), self._timeout)
        try:
            connection = context.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise
        self._open, self._pid = connection, os.getpid()
        if connection.version() == "TLSv1.3":
            # A collector refuses a missing or wrong client certificate only after the handshake (RFC 8446,
            # section 4.4.2.4), when the first event would be lost already. One that accepts it sends tickets.
            select.select([connection], [], [], _REFUSAL_SECONDS)
            if self._kept() is None:
                raise ConnectionResetError(errno.ECONNRESET, "the collector refused this worker's certificate")
        return connection

    def _drop(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


_FORM = "write syslog+tls://HOST:PORT?ca=/path/ca.pem"


def _framed(line: Line) -> bytes:
    """Return one message, preceded by its length (RFC 5425, section 4.3.1: octet counting)."""
    record = line.record
    severity = _NOTICE if record["outcome"] == "ok" else _WARNING
    head = (
        f"<{_FACILITY * 8 + severity}>1 {record['time']} {_name(record['host'])} secure_xcom "
        f"{record['pid']} {record['action']} - "
    )
    message = head.encode() + line.data
    return f"{len(message)} ".encode() + message


def _name(host: str) -> str:
    """Return a host name as RFC 5424 allows it: printable ASCII, up to 255 characters."""
    return "".join(character for character in host if "!" <= character <= "~")[:255] or "-"
