"""A double of a company's OpenID Connect provider: it enforces PKCE, and lies as a test tells it to."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from tests.support.reveal_service import Issuer

CLIENT = "secure-xcom-reveal"


@dataclass
class Provider:
    """The provider's state, and what it says.

    :ivar document: fields of the discovery document that differ. :ivar claims: claims of ID tokens that differ.
    :ivar answer: fields of the token endpoint's answer that differ; None leaves one out.
    :ivar down: paths that are answered with 500.
    """

    address: str
    issuer: Issuer
    document: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    forms: list[dict[str, str]] = field(default_factory=list)
    _logins: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def log_in(self, *, nonce: str, verifier: str, redirect_uri: str) -> str:
        """What the provider does when a person has logged in: a code for the page that began the login."""
        code = secrets.token_urlsafe(16)
        self._logins[code] = (_challenge(verifier), nonce, redirect_uri)
        return code

    def discovery(self) -> dict[str, Any]:
        """The discovery document."""
        return {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/jwks",
            "scopes_supported": ["openid", "email", "groups", "offline_access"],
            "code_challenge_methods_supported": ["S256"],
            **self.document,
        }

    def exchange(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """The token endpoint, for a public client with PKCE."""
        self.forms.append(dict(form))
        challenge, nonce, redirect_uri = self._logins.pop(form["code"], ("", "", ""))
        fits = _challenge(form["code_verifier"]) == challenge and form["redirect_uri"] == redirect_uri
        if not fits or form["client_id"] != CLIENT or "client_secret" in form:
            return 400, {"error": "invalid_grant"}
        known = {"aud": CLIENT, "nonce": nonce, "email": "ana@example.com", "email_verified": True, "person": None}
        token = self.issuer.token(headers=self.headers, **{**known, "groups": ["orders-oncall"], **self.claims})
        answer = {"token_type": "Bearer", "access_token": "opaque", "id_token": token, **self.answer}
        return 200, {name: value for name, value in answer.items() if value is not None}


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        provider: Provider = self.server.provider  # type: ignore[attr-defined]  # ours
        keys = {"keys": [provider.issuer.public(name) for name in provider.issuer.signers]}
        known = {"/.well-known/openid-configuration": provider.discovery(), "/jwks": keys}
        self._answer(provider, 200 if self.path in known else 404, known.get(self.path, {}))

    def do_POST(self) -> None:
        provider: Provider = self.server.provider  # type: ignore[attr-defined]  # ours
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer(provider, *provider.exchange({name: values[0] for name, values in parse_qs(body).items()}))

    def _answer(self, provider: Provider, status: int, record: Mapping[str, Any]) -> None:
        body = json.dumps(record).encode()
        self.send_response(500 if self.path in provider.down else status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's own name
        """Say nothing."""


@contextmanager
def provider_double() -> Iterator[Provider]:
    """A provider on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    provider = Provider(address, Issuer(address))
    server.provider = provider  # type: ignore[attr-defined]  # for its handler
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
