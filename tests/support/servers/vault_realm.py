"""A corner of a Vault for tests: mounts, keys and policies of random names, and Airflow connections to it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from secure_xcom.connections.vault.client import forget_clients
from secure_xcom.keys.vault import VaultTransit
from tests.support.servers import containers, vault_binary
from tests.support.servers.vault_server import VaultServer


def flavours() -> list[str]:
    """Which servers the tests run against: the one that is named, else every one that is at hand."""
    if os.environ.get("SECURE_XCOM_TEST_VAULT_ADDR"):
        return ["named"]
    found = ["vault"] if vault_binary.vault_is_at_hand() or containers.come_first() else []
    found += ["openbao"] if vault_binary.openbao_binary() or containers.come_first() else []
    # With neither, Vault is tried: its image is pulled or its module is built.
    return found or ["vault"]


def own_flavours() -> list[str]:
    """The same for tests that need a server of their own, which nobody can name."""
    return [one for one in flavours() if one != "named"] or ["vault"]


def as_operator(monkeypatch: pytest.MonkeyPatch, server: VaultServer) -> None:
    """The environment of somebody who may do everything on a server."""
    monkeypatch.setenv("VAULT_ADDR", server.address)
    monkeypatch.setenv("VAULT_TOKEN", server.token)
    if server.namespace:
        monkeypatch.setenv("VAULT_NAMESPACE", server.namespace)
    if server.ca:
        monkeypatch.setenv("VAULT_CACERT", server.ca)


@dataclass
class Realm:
    """One transit mount with a slash in its name, one KV mount, and what was made beside them."""

    server: VaultServer
    transit: str = field(default_factory=lambda: f"sxt-{secrets.token_hex(4)}/transit")
    kv: str = field(default_factory=lambda: f"sxt-{secrets.token_hex(4)}/kv")
    made: list[str] = field(default_factory=list)

    def new_key(self, **options: Any) -> str:
        """A derived key of a random name; options are transit's."""
        name = f"xcom-{secrets.token_hex(4)}"
        self.server.do("POST", f"{self.transit}/keys/{name}", {"derived": True, **options})
        return name

    def rotate(self, key: str, **config: Any) -> None:
        """A new version of a key, and settings of it."""
        self.server.do("POST", f"{self.transit}/keys/{key}/rotate", {})
        if config:
            self.server.do("POST", f"{self.transit}/keys/{key}/config", config)

    def policy(self, text: str) -> str:
        """A policy of a random name."""
        name = self.server.new_policy(text)
        self.made.append(f"sys/policies/acl/{name}")
        return name

    def may(self, *grants: str) -> str:
        """A token that holds these policies' texts, and nothing else."""
        return self.server.new_token(self.policy("\n".join(grants)))

    def uri(self, conn_id: str, key: str, query: str = "") -> str:
        """The key URI of a key."""
        return f"vault://{conn_id}/{self.transit}/keys/{key}{query}"

    def store_uri(self, conn_id: str, prefix: str = "xcom") -> str:
        """The store URI of a prefix in the KV mount."""
        return f"vault-kv://{conn_id}/{self.kv}/data/{prefix}"

    def worker(self, monkeypatch: pytest.MonkeyPatch, key: str, *, scoped: bool = False) -> VaultTransit:
        """The key service of an identity that may wrap, unwrap and rewrap with a key."""
        paths = [f"{self.transit}/{operation}/{key}" for operation in ("encrypt", "decrypt", "rewrap")]
        token = self.may(*(f'path "{path}" {{ capabilities = ["update"] }}' for path in paths))
        conn_id = connect(monkeypatch, self.server, password=token)
        return VaultTransit(self.uri(conn_id, key, "?grant=scoped" if scoped else ""))


@contextmanager
def new_realm(server: VaultServer) -> Iterator[Realm]:
    """A corner that is removed at the end."""
    realm = Realm(server)
    server.do("POST", f"sys/mounts/{realm.transit}", {"type": "transit"})
    server.do("POST", f"sys/mounts/{realm.kv}", {"type": "kv", "options": {"version": "2"}})
    try:
        yield realm
    finally:
        for path in (f"sys/mounts/{realm.transit}", f"sys/mounts/{realm.kv}", *realm.made):
            server.api("DELETE", path)


def connect(
    monkeypatch: pytest.MonkeyPatch,
    server: VaultServer,
    *,
    address: str | None = None,
    login: str | None = None,
    password: str | None = None,
    client_kwargs: dict[str, Any] | None = None,
    **extra: Any,
) -> str:
    """An Airflow connection in the environment, as Airflow's own users write it; the id of a new one."""
    parts = urlsplit(address or server.address)
    kwargs = dict(client_kwargs or {})
    if server.ca:
        kwargs.setdefault("verify", server.ca)
    if server.namespace:
        kwargs.setdefault("namespace", server.namespace)
    connection = {
        "conn_type": "vault",
        "host": parts.hostname,
        "port": parts.port,
        "login": login,
        "password": password,
        "extra": {"use_tls": parts.scheme == "https", **({"client_kwargs": kwargs} if kwargs else {}), **extra},
    }
    conn_id = f"vault_{secrets.token_hex(4)}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    return conn_id


def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the caller's own Vault, no token of theirs, and no login of another test."""
    for name in [name for name in os.environ if name.startswith(("VAULT_", "BAO_", "REQUESTS_CA_"))]:
        monkeypatch.delenv(name)
    forget_clients()
