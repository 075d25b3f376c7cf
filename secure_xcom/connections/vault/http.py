"""One request to Vault and its answer: bounded in time and size, each failure named.

hvac makes the logins (through Airflow's hook), and what follows goes over the wire from here: a refused batch
still holds the answer to each of its entries, and hvac's errors would bury them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from secure_xcom.connections.vault.endpoint import VaultEndpoint
from secure_xcom.core import clock
from secure_xcom.core.vault_errors import (
    VaultDenied,
    VaultRefused,
    VaultSealed,
    VaultThrottled,
    VaultTimeout,
    VaultTrouble,
    VaultUnreachable,
    VaultUntrusted,
)

if TYPE_CHECKING:
    import requests

ANSWER_MAX_BYTES = 64 << 20
"""Over the largest answer to a batch by far; what is longer does not come from a Vault."""

# What OpenSSL says of a handshake that is answered in plain HTTP, in its versions 1.1 and 3.
_NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
)
_RETRY_AFTER_MAX_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What Vault said, where it could be understood: a success, or a 400, 404 or 405.

    :param errors: Vault's own words, to be told apart and never to be passed on.
    :param skew: how far Vault's clock is ahead of ours, in seconds, or None where it does not say.
    :param attempts: how often it was sent; over 1, an earlier attempt may have been carried out as well.
    """

    status: int
    data: Mapping[str, Any] = field(repr=False)
    auth: Mapping[str, Any] = field(repr=False)
    errors: tuple[str, ...] = field(repr=False)
    skew: float | None = None
    attempts: int = 1

    @property
    def ok(self) -> bool:
        """Return whether Vault did what it was asked for."""
        return self.status < 300


class VaultHttp:
    """Requests to one server, over connections that are kept open. Safe to be used by several threads."""

    def __init__(self, server: VaultEndpoint) -> None:
        self.server = server
        self.session = new_session(server)

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str = "",
        namespaced: bool = True,
        accept: Sequence[int] = (),
        deadline: float | None = None,
    ) -> Answer:
        """Send once.

        :param path: below ``/v1/``, not yet escaped.
        :param accept: more states that are answers here, as 503 is for ``sys/seal-status``.
        :param deadline: on `time.monotonic`.
        :raises VaultTrouble: nothing that can be understood came back.
        """
        server = self.server
        seconds = (
            server.timeout if deadline is None else min(server.timeout, max(deadline - time.monotonic(), 0.05))
        )
        headers = {"X-Vault-Request": "true"}
        if token:
            headers["X-Vault-Token"] = token
        if server.namespace and namespaced:
            headers["X-Vault-Namespace"] = server.namespace
        try:
            with self.session.request(
                method,
                f"{server.address}/v1/{quote(path)}",
                json=body,
                headers=headers,
                timeout=seconds,
                stream=True,
                # Given with each request: a session's own setting gives way to REQUESTS_CA_BUNDLE.
                verify=server.verify,
            ) as response:
                content = _content(response, time.monotonic() + seconds)
        except Exception as error:  # noqa: BLE001  # whatever a foreign library raises becomes ours
            raise error_of_transport(error, server.address) from None
        return _answer(response, content, server.address, accept)


def new_session(server: VaultEndpoint) -> requests.Session:
    """Return a session that verifies the server, never follows a redirect away from TLS, and never retries."""
    import requests

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> str | None:
            # A standby node may send us to the active one, with our token, but not out of TLS.
            target = super().get_redirect_target(resp)
            if target and urlsplit(resp.url).scheme == "https" and urlsplit(target).scheme == "http":
                return None
            return target

    session = Session()
    session.max_redirects = 3
    session.verify, session.cert = server.verify, server.cert
    session.proxies.update(server.proxies or {})
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=16))
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=16))
    return session


def _content(response: requests.Response, deadline: float) -> bytes:
    """Return the body, with a limit on the total time: a server that sends a byte a second is never silent."""
    import requests

    pieces: list[bytes] = []
    size = 0
    while piece := response.raw.read1(1 << 16, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > deadline:
            raise requests.exceptions.ReadTimeout
        if size > ANSWER_MAX_BYTES:
            raise requests.exceptions.ContentDecodingError
    return b"".join(pieces)


def _answer(response: requests.Response, content: bytes, address: str, accept: Sequence[int]) -> Answer:
    status = response.status_code
    try:
        body = json.loads(content) if content else {}
    except ValueError:
        body = None
    understood = isinstance(body, dict)
    record: dict[str, Any] = body if isinstance(body, dict) else {}
    errors = record.get("errors")
    texts = tuple(str(text) for text in errors) if isinstance(errors, list) else ()
    if status in accept or status in (400, 404, 405) or 200 <= status < 300:
        if not understood and _asks_for_tls(content):
            raise plain_http(address)
        if not understood:
            raise VaultUnreachable(
                f"what answered with {status} is not Vault, or its answer was cut off", where=address
            )
        # sys/health and sys/seal-status have their fields at the top.
        data = record.get("data", record if status in accept else {})
        auth = record.get("auth")
        return Answer(
            status,
            data if isinstance(data, dict) else {},
            auth if isinstance(auth, dict) else {},
            texts,
            _skew(response.headers.get("Date")),
        )
    trouble = error_of_status(status, texts, address)
    if isinstance(trouble, VaultThrottled):
        after = response.headers.get("Retry-After", "")
        trouble.after = min(float(after), _RETRY_AFTER_MAX_SECONDS) if after.isdigit() else 0.0
    raise trouble


def error_of_status(status: int, errors: Sequence[str], address: str) -> VaultTrouble:
    """Return the error for a status (developer.hashicorp.com/vault/api-docs, "HTTP status codes")."""
    words = " ".join(errors).lower()
    if status in (401, 403):
        denied = VaultDenied("Vault denies the request", where=address)
        # What a policy denies is a list that begins with "1 error occurred". To an unknown token OpenBao and older
        # Vaults say nothing else than these words, and Vault 1.21 adds "invalid token".
        denied.token_unknown = "invalid token" in words or words.strip() in ("permission denied", "bad token")
        return denied
    if status == 429:
        return VaultThrottled("Vault's rate limit quota is used up", where=address)
    if status == 413:
        return VaultRefused(
            "the request is larger than Vault accepts",
            where=address,
            remedy="raise max_request_size of Vault's listener",
        )
    if "sealed" in words:
        return VaultSealed("Vault is sealed", where=address)
    if status == 501:
        return VaultRefused("Vault is not initialized", where=address, remedy="run `vault operator init`")
    if status in (472, 473) or "not active" in words:
        return VaultUnreachable("this Vault is a standby node that cannot reach the active one", where=address)
    if status == 412 or status >= 500:
        return VaultUnreachable(f"Vault answered {status}", where=address)
    if 300 <= status < 400:
        return VaultRefused(
            "Vault redirects to an address without TLS",
            where=address,
            remedy="set api_addr of Vault's nodes to an https address, or name the active node",
        )
    return VaultRefused(f"Vault answered {status}", where=address)


def error_of_transport(error: Exception, address: str) -> VaultTrouble:
    """Return our error for one of requests or urllib3, without its text, which can hold the path's parameters."""
    import requests
    from urllib3 import exceptions as wire

    if isinstance(error, VaultTrouble):
        return error
    if isinstance(error, (requests.exceptions.SSLError, wire.SSLError)):
        if any(mark in str(error).upper().replace(" ", "_") for mark in _NO_TLS):
            return VaultUntrusted(
                "the address begins with https://, but what answers there does not speak TLS",
                where=address,
                remedy="check the port; for a development server without TLS, write http:// in VAULT_ADDR or "
                "in the connection; otherwise, give Vault's listener a certificate",
            )
        return VaultUntrusted(
            "Vault's certificate is not trusted here, or the TLS handshake failed", where=address
        )
    if isinstance(error, (requests.exceptions.Timeout, wire.TimeoutError)):
        return VaultTimeout("Vault did not answer in time", where=address)
    if "\\x15\\x03" in str(error):
        # The beginning of a TLS alert, where a status line is expected.
        return plain_http(address)
    if isinstance(error, requests.exceptions.ProxyError):
        return VaultUnreachable("the proxy between this machine and Vault failed", where=address)
    if isinstance(error, (requests.exceptions.ChunkedEncodingError, wire.ProtocolError)):
        return VaultUnreachable("Vault's answer was cut off", where=address)
    if isinstance(error, (requests.exceptions.ConnectionError, wire.HTTPError)):
        return VaultUnreachable("the connection to Vault failed", where=address)
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return VaultRefused("the answer is larger than any of Vault's", where=address)
    if isinstance(error, OSError) and not isinstance(error, requests.exceptions.RequestException):
        # requests looks for the CA bundle and the client certificate when it sends.
        return VaultUntrusted("the CA bundle or the client certificate cannot be read", where=address)
    return VaultUnreachable(f"the request failed ({type(error).__name__})", where=address)


def plain_http(address: str) -> VaultTrouble:
    """Return the error for plain HTTP that was spoken to a server with TLS."""
    return VaultRefused(
        "the address begins with http://, but what answers there speaks TLS",
        where=address,
        remedy="write https:// in VAULT_ADDR or in the connection, and name the CA (VAULT_CACERT)",
    )


def _asks_for_tls(content: bytes) -> bool:
    """Check whether a body is what Go's servers (Vault, OpenBao), nginx or Apache answer to HTTP without TLS."""
    text = content[:2000].lower()
    return any(mark in text for mark in (b"to an https server", b"to https port", b"speaking plain http"))


def _skew(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - clock.now().timestamp() if date else None
    except (TypeError, ValueError):
        return None
