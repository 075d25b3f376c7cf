"""Every shipped access policy and values file: lint has nothing against it, and each URI finds its credentials.

What a pod would log in with is resolved by the libraries that do it there, in the environment that its template
and the cloud's webhook give it. Nobody is asked: what is resolved is the provider, not a session.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.aws.identity import aws_identity, forget_identities
from secure_xcom.connections.aws.s3_access import s3_access
from secure_xcom.connections.connection_ids import names_default
from secure_xcom.connections.vault.auth import token_source
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.sinks.interface import sink
from tests.support import deployed
from tests.support.deployed import DEPLOY, HELM, ROOT

POLICIES = sorted(
    path
    for path in (*DEPLOY.rglob("*.yaml"), *(ROOT / "policies").rglob("*.yaml"))
    if re.search(r"^compartments:", path.read_text(), re.MULTILINE)
)
_BUCKET = re.compile(r"(?:s3|gs|abfs)://[^\s\"'`,)]+")
# Values beside values.yaml, the access policy, and the manifest of its service accounts.
DEPLOYMENTS = [
    (None, "irsa", "irsa"),
    ("vault-kubernetes", "vault", "irsa"),
    ("vault-agent", "vault_agent", "irsa"),
    ("vault-kubernetes", "gke", "workload-identity"),
]


def accounts(kind: str) -> dict[str, dict[str, str]]:
    """The annotations of each service account."""
    text = (HELM / f"manifests/service-accounts-{kind}.yaml").read_text()
    return {one["metadata"]["name"]: one["metadata"]["annotations"] for one in yaml.safe_load_all(text)}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """An environment without anybody's clouds and connections, and without their files."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "VAULT_", "AIRFLOW_CONN_", "CLOUDSDK_", "GCE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    yield monkeypatch
    forget_identities()


def enter_pod(environment: pytest.MonkeyPatch, variant: str | None, account: str) -> dict[str, Any]:
    """Take over the environment of a task's pod with this account, and return the container."""
    template = yaml.safe_load(deployed.values(variant)["podTemplate"])
    (container,) = template["spec"]["containers"]
    known = {"XCOM_SERVICE_ACCOUNT": account}
    for entry in container["env"]:
        value = entry.get("value", known.get(entry["name"], ""))
        environment.setenv(entry["name"], re.sub(r"\$\((\w+)\)", lambda match: known[match[1]], value))
    return dict(container)


def test_there_are_policies_to_look_at() -> None:
    """The search finds those of the chart, of Docker Compose and the examples."""
    assert len(POLICIES) >= 10
    assert {path.parent.name for path in POLICIES} >= {"helm", "compose", "examples"}


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_command_lint_has_no_error_for_a_shipped_policy(path: Path, environment: pytest.MonkeyPatch) -> None:
    """The whole command, with the access log of the chart's values beside the chart's policies."""
    if path.parent == HELM:
        sinks = deployed.values()["config"]["secure_xcom"]["audit_sinks"]
        environment.setenv("AIRFLOW__SECURE_XCOM__AUDIT_SINKS", sinks)
    result = CliRunner().invoke(app, ["policy", "lint", str(path), "--json"])
    remarks = json.loads(result.stdout)["remarks"]
    assert [remark for remark in remarks if remark["status"] == "error"] == []


def test_an_identity_that_runs_a_dag_may_push_its_reports_and_read_nothing() -> None:
    """A DAG that `runs_on` names belongs to a compartment: of no compartment, its reports would be refused."""
    seen = set()
    for path in POLICIES:
        policy = AccessPolicy.load(str(path))
        for identity in policy.identities:
            for dag in (identity.runs_on and identity.runs_on.dags) or ():
                compartment = policy.resolve_dag(dag)
                assert compartment, f"{path}: {dag} belongs to no compartment"
                rights = {one.role for one in identity.grants if one.compartment == compartment.name}
                assert rights == {"maintenance", "writer"}, f"{path}: {identity.name} in {compartment.name}"
                seen.add(path.stem)
    assert seen == {"celery-queues", "aws-only"}


def test_no_shipped_file_names_a_connection_default_before_a_bucket() -> None:
    """Values, policies, settings and scripts: every bucket's URI in them."""
    files = [path for folder in ("deploy", "policies") for path in (ROOT / folder).rglob("*") if path.is_file()]
    uris = [uri for path in files for uri in _BUCKET.findall(path.read_text(errors="replace"))]
    assert len(uris) > 20
    assert [uri for uri in uris if names_default(uri)] == []


@pytest.mark.parametrize(("variant", "policy", "kind"), DEPLOYMENTS[:3], ids=str)
def test_every_uri_of_a_pod_on_eks_finds_its_credentials(
    variant: str | None, policy: str, kind: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Buckets and KMS by the pod's web identity, Vault by the pod's token or the agent's file."""
    made = accounts(kind)
    for own in AccessPolicy.load(str(HELM / f"access_policy_{policy}.yaml")).compartments:
        assert own.tasks_run_on is not None
        account = str(own.tasks_run_on.service_account)
        enter_pod(environment, variant, account)
        # What the webhook of EKS writes into a pod whose account has the annotation.
        environment.setenv("AWS_ROLE_ARN", made[account]["eks.amazonaws.com/role-arn"])
        environment.setenv(
            "AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"
        )
        environment.setenv("AWS_REGION", "eu-central-1")
        for uri in own.all_store_uris:
            access = s3_access(None, uri.split("/")[2], {}, uri)
            # obstore logs in by itself, with the same variables.
            assert access.credentials is None
            assert access.session().get_credentials().method == "assume-role-with-web-identity"
        sink(deployed.values(variant)["config"]["secure_xcom"]["audit_sinks"])
        for uri in own.all_key_uris:
            _of_key(uri, account, environment, tmp_path)
        forget_identities()


def _of_key(uri: str, account: str, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scheme, conn_id = uri.partition("://")[0], uri.split("/")[2]
    if scheme == "aws-kms":
        session = aws_identity(conn_id).client("kms", "eu-central-1")._request_signer._credentials
        assert session.method == "assume-role-with-web-identity"
    elif conn_id == "default":
        # The agent's file, which a test can only have elsewhere.
        written = tmp_path / "token"
        written.write_text("not-a-token")
        environment.setenv("VAULT_TOKEN_FILE", str(written))
        environment.delenv("VAULT_CACERT")
        source = token_source(conn_id)
        assert (source.server.address, source.fresh().text) == ("https://vault.vault.svc:8200", "not-a-token")
    else:
        source = token_source(conn_id)
        assert (source.method, source.server.address) == ("kubernetes", "https://vault.vault.svc:8200")
        assert json.loads(_environment_of(conn_id))["extra"]["kubernetes_role"] == account


def _environment_of(conn_id: str) -> str:
    return os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"]


class _Metadata(BaseHTTPRequestHandler):
    """As much of Google's metadata server as the libraries ask before they are asked for a token."""

    def do_GET(self) -> None:
        body = b"example-project" if "project-id" in self.path else b""
        self.send_response(200)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", "application/text")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing to say."""


def test_every_bucket_of_a_pod_on_gke_finds_its_credentials(environment: pytest.MonkeyPatch) -> None:
    """Workload identity answers at the metadata server's address; Google's library takes it, and no connection."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Metadata)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    address = f"127.0.0.1:{server.server_address[1]}"
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"):
        environment.setenv(name, address)
    compartments = AccessPolicy.load(str(HELM / "access_policy_gke.yaml")).compartments
    uris = [uri for own in compartments for uri in own.all_store_uris]
    code = (
        "import json, sys\nfrom secure_xcom.connections.google import gcs_access\n"
        "found = [gcs_access(None, None, uri) for uri in sys.argv[1:]]\n"
        "print(json.dumps([[type(one.credentials).__module__, one.anonymous] for one in found]))"
    )
    try:
        # A process of its own: older releases of the library read these variables when they are imported.
        done = subprocess.run([sys.executable, "-c", code, *uris], capture_output=True, text=True, check=False)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert uris
    assert found == [["google.auth.compute_engine.credentials", False]] * len(uris)
