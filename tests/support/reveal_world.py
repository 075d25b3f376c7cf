"""A world for tests of `secure-xcom reveal`: a Vault or OpenBao, an OpenID Connect provider, and people.

The provider is the package oidc-provider-mock, with a login form that asks for a name and for no password. Vault
trusts it by its OIDC method, and everything else at Vault is made by `secure-xcom policy apply`.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import oidc_provider_mock
import pytest
import requests
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.keys.vault_context import transit_context
from secure_xcom.ops.service_policies.reveal_names import REVEAL_NAME
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_realm import as_operator
from tests.support.servers.vault_server import VaultServer, dev_server, free_port

ANA, MIA = "ana@example.com", "mia@example.com"
"""On call for finance; of marketing."""
POLICY = """version: 1
compartments:
  - name: finance
    dags: ['finance_*']
    key_uris: ['vault://vault_default/transit/keys/finance']
    store_uri: 'file://$store/finance'
    viewers: [{group: finance-oncall, dags: [finance_daily]}]
  - name: marketing
    dags: ['marketing_*']
    key_uris: ['vault://vault_default/transit/keys/marketing']
    store_uri: 'file://$store/marketing'
    viewers: [{group: marketing-oncall}]
reveal:
  origin: $origin
  airflow_origin: $airflow
  vault: {address: '$vault', mount: oidc}
identities:
  - {name: finance-workers, workers_of: [finance], vault: {auth: other}}
  - {name: marketing-workers, workers_of: [marketing], vault: {auth: other}}
"""


@dataclass
class RevealWorld:
    """The servers, the policy file that is applied, and its people."""

    vault: VaultServer
    provider: str
    origin: str
    airflow_origin: str
    folder: Path
    text: str = field(default=POLICY, repr=False)

    @property
    def file(self) -> Path:
        """The access policy file."""
        return self.folder / "access_policy.yaml"

    @property
    def policy(self) -> AccessPolicy:
        """The access policy as the file is now."""
        return AccessPolicy.load(str(self.file))

    def write(self, text: str) -> None:
        """Write the policy file, with this world's addresses filled in."""
        filled = Template(text).substitute(
            store=self.folder / "sealed",
            origin=self.origin,
            airflow=self.airflow_origin,
            vault=self.vault.address,
        )
        self.text = text
        self.file.write_text(filled)

    def apply(self, *more: str) -> dict[str, Any]:
        """Apply the policy file as an operator, and return what the command reports."""
        code, record = self.try_apply(*more)
        assert code in (0, 1), record
        return record

    def try_apply(self, *more: str) -> tuple[int, dict[str, Any]]:
        """Apply the policy file as an operator, and return the exit code and what the command reports."""
        with pytest.MonkeyPatch.context() as patch:
            as_operator(patch, self.vault)
            result = CliRunner().invoke(app, ["policy", "apply", str(self.file), "--json", *more])
        record: dict[str, Any] = json.loads(result.stdout or result.stderr)
        return result.exit_code, record

    def person(self, name: str, *groups: str) -> None:
        """Put a person into these groups of the provider, and into no others."""
        answer = requests.put(
            f"{self.provider}/users/{quote(name)}", json={"email": name, "groups": list(groups)}, timeout=20
        )
        assert answer.ok, answer.text

    def login(self, name: str, role: str = REVEAL_NAME) -> str:
        """Log a person in as the page does, and return the person's token of Vault."""
        answer = self.try_login(name, role)
        assert answer.ok, answer.text
        token: str = answer.json()["auth"]["client_token"]
        return token

    def try_login(self, name: str, role: str = REVEAL_NAME) -> requests.Response:
        """Log a person in, and return Vault's answer."""
        nonce = secrets.token_urlsafe(16)
        start = {"role": role, "redirect_uri": f"{self.origin}/callback", "client_nonce": nonce}
        url = self.vault.do("POST", "auth/oidc/oidc/auth_url", start, token="")["data"]["auth_url"]
        # What the browser does with the provider's form.
        sent_back = requests.post(url, data={"sub": name}, allow_redirects=False, timeout=20)
        assert sent_back.status_code == 302, sent_back.text
        given = parse_qs(urlsplit(sent_back.headers["Location"]).query)
        query = {"state": given["state"][0], "code": given["code"][0], "client_nonce": nonce}
        return self.vault.api("GET", "auth/oidc/oidc/callback", token="", params=query)

    def identity_token(self, token: str) -> requests.Response:
        """Ask Vault for the identity token of a person."""
        return self.vault.api("GET", f"identity/oidc/token/{REVEAL_NAME}", token=token)

    def wrap(self, compartment: str, coordinate: Coordinate) -> dict[str, str]:
        """Wrap a data key as a worker does, and return the body of the request that unwraps it."""
        context = context_of(compartment, coordinate)
        body = {"plaintext": encoded(bytes(32)), "context": context}
        wrapped = self.vault.do("POST", f"transit/encrypt/{compartment}", body)["data"]["ciphertext"]
        return {"ciphertext": wrapped, "context": context}

    def connection(self, identity: str) -> str:
        """Return an Airflow connection to this Vault with the rights of an identity."""
        parts = urlsplit(self.vault.address)
        token = self.vault.new_token(f"secure-xcom-{identity}")
        return json.dumps(
            {
                "conn_type": "vault",
                "host": parts.hostname,
                "port": parts.port,
                "password": token,
                "extra": {"use_tls": False},
            }
        )


def context_of(compartment: str, coordinate: Coordinate) -> str:
    """Return the context of a coordinate as transit takes it."""
    return encoded(transit_context(encryption_context(compartment, coordinate)))


def encoded(raw: bytes) -> str:
    """Return bytes in base64."""
    from base64 import b64encode

    return b64encode(raw).decode()


@contextlib.contextmanager
def open_reveal_world(
    folder: Path,
    flavour: str = "openbao",
    *,
    origin: str = "",
    airflow_origin: str = "http://127.0.0.1:8080",
    text: str = POLICY,
    set_up: bool = True,
) -> Iterator[RevealWorld]:
    """Start the servers, apply the policy, and make ana (finance-oncall) and mia (marketing-oncall).

    :param origin: the origin of the reveal service; by default a free port of 127.0.0.1.
    :param text: the policy file, with ``$store``, ``$origin``, ``$airflow`` and ``$vault``.
    :param set_up: False to leave the policy unapplied.
    """
    origin = origin or f"http://127.0.0.1:{free_port()}"
    with (
        oidc_provider_mock.run_server_in_thread(require_nonce=True) as provider,
        dev_server(binary_of(flavour), folder, flavour) as vault,
    ):
        world = RevealWorld(vault, f"http://localhost:{provider.server_port}", origin, airflow_origin, folder)
        # What an operator decides, and what no policy of ours does.
        vault.do("POST", "sys/auth/oidc", {"type": "oidc"})
        config = {
            "oidc_discovery_url": world.provider,
            "oidc_client_id": "vault",
            "oidc_client_secret": secrets.token_urlsafe(16),
        }
        vault.do("POST", "auth/oidc/config", config)
        world.write(text)
        if set_up:
            world.apply()
        world.person(ANA, "finance-oncall")
        world.person(MIA, "marketing-oncall")
        yield world
