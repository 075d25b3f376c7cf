"""The YAML of an access policy: loaded as workers do, then linted with every rule that needs no service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from secure_xcom.core.access_policy.loading import load
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.ops.service_policies.lint import uris
from secure_xcom.ops.service_policies.lint.access_policy import lint
from tests.fuzz.harness import Harness

_ROOT = Path(__file__).parents[3]


def _load(data: bytes) -> None:
    policy = AccessPolicy.of(load(data, where="policy"), digest="0" * 64)
    policy.resolve_dag("orders")


def _lint(data: bytes) -> None:
    for finding in lint(data, where="policy", dags=("orders", "pay"), environment={}, beside=(uris.findings,)):
        assert (finding.line or 0) >= 1
        assert (finding.column or 0) >= 1


def _seeds() -> Iterator[bytes]:
    for folder in ("policies/examples", "deploy/compose", "deploy/helm"):
        for path in sorted((_ROOT / folder).glob("*.yaml")):
            if folder == "policies/examples" or path.stem.startswith("access_policy"):
                yield path.read_bytes()
    yield b"version: 1\ncompartments:\n- name: a\n  dags: ['*']\n  key_uris: [local:///k]\n  store_uri: file:///s\n"


HARNESS = Harness(
    (_load, _lint),
    (PolicyInvalid,),
    _seeds,
    words=(
        "compartments", "readers", "identities", "defaults", "legal_holds", "alarms", "reveal", "open_places",
        "routes", "dags", "tasks", "grants", "workers_of", "runs_on", "vault", "aws", "key_uris", "store_uri",
        "retention", "former_store_uris", "max_bytes", "mask_values", "&a", "*a", "!!int", "<<", "- ",
        ": ", "[", "{", "|\n",
    ),
)  # fmt: skip
