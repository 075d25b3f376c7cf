"""The reveal service in a test: a policy file, Airflow's tables in SQLite, a store in memory, doubled keys."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.testclient import TestClient

from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.access_policy.watched_policy import watched
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.operator_errors import IdentityRefused
from secure_xcom.reveal.app import make_app
from secure_xcom.reveal.giving import SealedBytes
from secure_xcom.reveal.identity_tokens import AUDIENCE, KeySource
from secure_xcom.reveal.people import VaultPeople
from secure_xcom.reveal.rate import RateLimit
from secure_xcom.reveal.revealing import Revealer
from secure_xcom.reveal.service import Service
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import Store, store
from tests.support.doubles import MemoryKeyService, MemorySink
from tests.support.world import World, coordinate
from tests.support.xcom_table import XComTable

ORIGIN = "https://reveal.example.com"
AIRFLOW = "https://airflow.example.com"
VAULT = "https://vault.example.com:8200"
ISSUER = f"{VAULT}/v1/identity/oidc"
KEY = "vault://vault_xcom/transit/keys/orders"


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """The issuer's key, made once per process because that takes a while."""
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Issuer:
    """Makes identity tokens as Vault does, and is the source of its own public keys."""

    issuer: str = ISSUER
    signers: dict[str, tuple[str, Any]] = field(default_factory=lambda: {"key-1": ("RS256", rsa_key())})

    def key(self, key_id: str | None) -> jwt.PyJWK:
        """See `KeySource.key`."""
        if key_id is None or key_id not in self.signers:
            raise IdentityRefused("no such key", where="the double")
        return jwt.PyJWK(self.public(key_id))

    def public(self, key_id: str) -> dict[str, Any]:
        """The public key as Vault publishes it."""
        algorithm, private = self.signers[key_id]
        cls = RSAAlgorithm if algorithm.startswith("RS") else ECAlgorithm
        record: dict[str, Any] = json.loads(cls.to_jwk(private.public_key()))
        return {**record, "kid": key_id, "alg": algorithm, "use": "sig"}

    def add_elliptic(self, key_id: str, curve: ec.EllipticCurve, algorithm: str) -> None:
        """Add a key of another type."""
        self.signers[key_id] = (algorithm, ec.generate_private_key(curve))

    def token(self, *, key_id: str = "key-1", headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token of ana's, with some claims changed; None leaves one out."""
        algorithm, private = self.signers[key_id]
        now = int(time.time())
        all_claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "4c2e9a3e-entity",
            "iat": now,
            "exp": now + 120,
            "person": "ana@example.com",
            "groups": ["secure-xcom-viewers-orders-oncall"],
            **claims,
        }
        kept = {name: claim for name, claim in all_claims.items() if claim is not None}
        named = {name: header for name, header in {"kid": key_id, **(headers or {})}.items() if header is not None}
        return jwt.encode(kept, private, algorithm=algorithm, headers=named)


def policy_text(store_uri: str, *, viewers: str = "orders-oncall", extra: str = "", key: str = KEY) -> str:
    """An access policy with viewers of one compartment, and another compartment beside it.

    :param extra: lines of the compartment.
    """
    return f"""\
version: 1
reveal:
  origin: {ORIGIN}
  airflow_origin: {AIRFLOW}
  vault:
    address: {VAULT}
compartments:
  - name: orders
    dags: ["orders*"]
    key_uris: ["{key}"]
    store_uri: {store_uri}
    viewers:
      - group: {viewers}
{extra}
  - name: other
    dags: ["other*"]
    key_uris: ["vault://vault_xcom/transit/keys/other"]
    store_uri: {store_uri}other
"""


@dataclass
class RevealWorld:
    """The service, and everything around it."""

    folder: Path
    schema: Schema = Schema.COORDINATES
    viewers: str = "orders-oncall"
    extra: str = ""
    store_uri: str = field(default_factory=lambda: f"memory://{uuid.uuid4().hex}")
    issuer: Issuer = field(default_factory=Issuer)
    sink: MemorySink = field(default_factory=MemorySink)
    clock: float = 0.0
    settings: Settings = field(default_factory=Settings)
    stores: Callable[[str], Store] = store

    def __post_init__(self) -> None:
        self.policy_file = self.folder / f"policy-{uuid.uuid4().hex}.yaml"
        self.write_policy(policy_text(self.store_uri, viewers=self.viewers, extra=self.extra))
        self.table = XComTable(f"sqlite:///{self.folder}/airflow-{uuid.uuid4().hex}.db", self.schema)
        self.keys = MemoryKeyService("memory-key://vault")
        self.world = World(
            settings=Settings.parse({"attempt_fields": "all"}),
            policy=watched(str(self.policy_file)).current(),
            store_uri=self.store_uri,
        )
        self.world.pipeline = self.world.process(lambda _: self.keys)
        self.names = SensitiveNames({"password", "token"})
        self.database = self.table.database()
        # As the service does before it serves.
        _ = self.database.schema
        revealer = Revealer(
            self.settings,
            self.database,
            AccessLog([self.sink], version="test"),
            self.names,
            rate=RateLimit(now=lambda: self.clock),
            giver=SealedBytes(self.stores),
        )
        self.service = Service(
            self.settings, watched(str(self.policy_file)).current, revealer, self.names, VaultPeople(self._issuer)
        )

    def _issuer(self, _address: str, _namespace: str | None) -> KeySource:
        return self.issuer

    def write_policy(self, text: str) -> None:
        """Write the access policy anew, as an operator does."""
        new = self.policy_file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.policy_file)

    def put(self, value: object, at: Coordinate | None = None) -> dict[str, Any]:
        """Push a value as its task does, write its row, and return the reference."""
        at = at or coordinate()
        reference = self.world.push(value, at)
        self.table.put(at, reference)
        return reference

    @contextmanager
    def client(self) -> Iterator[TestClient]:
        """A client of the HTTP interface."""
        with TestClient(make_app(self.service), base_url=ORIGIN, raise_server_exceptions=False) as client:
            yield client

    def close(self) -> None:
        """Close what is open."""
        self.database.close()
        self.table.close()


def body(at: Coordinate | None = None, **changes: Any) -> dict[str, Any]:
    """The body of a request, with some fields changed."""
    at = at or coordinate()
    names = ("dag_id", "run_id", "task_id", "map_index", "key")
    record = {
        "coordinate": {name: getattr(at, name) for name in names},
        "attempt": None,
        "reason": "incident 4711",
    }
    return {**record, **changes}


def request_headers(token: str, **changes: str) -> dict[str, str]:
    """The headers of a request, with some changed."""
    headers = {"Authorization": f"Bearer {token}", "Origin": ORIGIN, "Content-Type": "application/json"}
    return {**headers, **{name.replace("_", "-"): text for name, text in changes.items()}}
