"""Auth methods of a realm: each makes a login that ends in a token with given policies."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.servers.vault_realm import Realm
from tests.support.servers.vault_server import VaultServer


@dataclass
class AppRole:
    """One AppRole and its login."""

    path: str
    mount: str
    role_id: str
    secret_id: str = field(repr=False)

    def connection(self, server: VaultServer) -> dict[str, Any]:
        """An Airflow connection that logs in to a server with it."""
        parts = urlsplit(server.address)
        return {
            "conn_type": "vault",
            "host": parts.hostname,
            "port": parts.port,
            "login": self.role_id,
            "password": self.secret_id,
            "extra": {"auth_type": "approle", "auth_mount_point": self.mount, "use_tls": False},
        }


@dataclass
class Auth:
    """Auth methods at mounts of random names, with a slash in each."""

    realm: Realm

    def mount(self, kind: str, path: str = "") -> str:
        """Enable a method."""
        path = path or f"sxt-{secrets.token_hex(4)}/{kind}"
        self.realm.server.do("POST", f"sys/auth/{path}", {"type": kind})
        self.realm.made.append(f"sys/auth/{path}")
        return path

    @cached_property
    def approle_mount(self) -> str:
        """Where AppRole is."""
        return self.mount("approle")

    def approle(self, policy: str, **options: Any) -> AppRole:
        """A new AppRole; options are Vault's."""
        server = self.realm.server
        path = f"auth/{self.approle_mount}/role/{secrets.token_hex(4)}"
        server.do("POST", path, {"token_policies": [policy], "token_ttl": "10m", **options})
        role_id = server.do("GET", f"{path}/role-id")["data"]["role_id"]
        secret_id = server.do("POST", f"{path}/secret-id", {})["data"]["secret_id"]
        return AppRole(path, self.approle_mount, role_id, secret_id)

    def userpass(self, policy: str, path: str = "") -> tuple[str, str, str]:
        """The mount, a user and a password."""
        mount = self.mount("userpass", path)
        password = secrets.token_urlsafe(24)
        self.realm.server.do(
            "POST", f"auth/{mount}/users/airflow", {"password": password, "token_policies": [policy]}
        )
        return mount, "airflow", password

    @cached_property
    def signer(self) -> ec.EllipticCurvePrivateKey:
        """The key of an issuer of JWTs."""
        return ec.generate_private_key(ec.SECP256R1())

    def jwt_role(self, policy: str, path: str = "") -> str:
        """The mount of a method that takes JWTs of the issuer, with the role `worker`."""
        mount = self.mount("jwt", path)
        public = self.signer.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        server = self.realm.server
        server.do(
            "POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [public.decode()], "bound_issuer": "tests"}
        )
        role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": [policy]}
        server.do("POST", f"auth/{mount}/role/worker", role)
        return mount

    def jwt(self, seconds: float = 0.0, **claims: Any) -> str:
        """A JWT of the issuer, good for a minute.

        :param seconds: how far the issuer's clock is ahead.
        """
        now = int(time.time() + seconds)
        body = {"iss": "tests", "aud": "vault", "sub": "airflow-worker", "iat": now, "nbf": now, "exp": now + 60}
        return jwt.encode({**body, **claims}, self.signer, algorithm="ES256")
