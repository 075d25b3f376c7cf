"""The part of a Kubernetes API server that others ask about pods: keys, and reviews of service accounts' tokens.

A stand-in: tokens are signed and judged as the API server does it (signature, expiry, audience), but no cluster
stands behind them. `issue` is what the kubelet does for a projected volume.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "https://kubernetes.default.svc"
_KEY_ID = "tests"


class TokenIssuer:
    """Issues tokens of service accounts, serves the keys, and answers TokenReview."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._uids: dict[tuple[str, str], str] = {}
        self.reviews: list[str] = []
        self.address = ""

    @property
    def keys(self) -> dict[str, Any]:
        """The JWKS, as `/openid/v1/jwks` has it."""
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**key, "use": "sig", "alg": "RS256", "kid": _KEY_ID}]}

    def issue(self, namespace: str, account: str, audience: str, seconds: int = 600) -> str:
        """Return a token of an account, for an audience."""
        uid = self._uids.setdefault((namespace, account), str(uuid.uuid4()))
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "aud": [audience],
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}},
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": _KEY_ID})

    def review(self, token: str, audiences: list[str]) -> dict[str, Any]:
        """Return the status of a TokenReview (authentication.k8s.io/v1)."""
        try:
            claims = jwt.decode(token, self._key.public_key(), algorithms=["RS256"], audience=audiences or None)
        except jwt.InvalidTokenError as error:
            return {"authenticated": False, "error": type(error).__name__}
        place = claims["kubernetes.io"]
        account = (place["namespace"], place["serviceaccount"]["name"])
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}", "system:authenticated"]
        self.reviews.append(claims["sub"])
        return {
            "authenticated": True,
            "audiences": [one for one in claims["aud"] if one in audiences],
            "user": {"username": claims["sub"], "uid": self._uids[account], "groups": groups},
        }


@contextmanager
def token_issuer() -> Iterator[TokenIssuer]:
    """A stand-in on a free port, ended with the context."""
    issuer = TokenIssuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, issuer.keys) if self.path == "/openid/v1/jwks" else self._answer(404, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/apis/authentication.k8s.io/v1/tokenreviews":
                self._answer(404, {})
                return
            status = issuer.review(body["spec"]["token"], body["spec"].get("audiences") or [])
            self._answer(201, {**body, "status": status})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args: object) -> None:
            """Nothing to say."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    issuer.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
