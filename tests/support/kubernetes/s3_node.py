"""SeaweedFS on the node, where pods get S3 by the token of their service account, as IRSA does it on EKS.

Its STS trusts the cluster as an OIDC provider, and each role trusts one service account
(``AssumeRoleWithWebIdentity``). It answers by HTTP and by HTTPS, which AWS's default chain in obstore needs.
"""

from __future__ import annotations

import base64
import http.server
import json
import secrets
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.kubernetes.cluster import NodeCluster
from tests.support.kubernetes.node_files import ADDRESS, ISSUER
from tests.support.servers.s3_server import ACCOUNT, FLAGS, Identity, S3Server, installed_weed

HTTP = 8333
HTTPS = 8443
AUDIENCE = "sts.amazonaws.com"
_JWKS_PORT = 9000


@contextmanager
def s3_on_node(
    cluster: NodeCluster, folder: Path, roles: Mapping[str, tuple[str, Mapping[str, Any]]]
) -> Iterator[S3Server]:
    """Start the server; it ends with the context.

    :param folder: a new folder for its data.
    :param roles: role -> the service account that may take it (``namespace:name``), and its policy.
    """
    pair = cluster.ca.issue("s3", server=True, names=(ADDRESS,))
    root = Identity(secrets.token_hex(10), secrets.token_hex(20))
    (folder / "s3.json").write_text(json.dumps({"identities": [_owner(root)]}))
    (folder / "iam.json").write_text(json.dumps(_iam(roles)))
    keys = folder / "keys"
    keys.mkdir()
    # Nobody may ask the API server without a token, so its public keys are served here.
    answer = cluster.api.call_api("/openid/v1/jwks", "GET", auth_settings=["BearerToken"], _preload_content=False)
    (keys / "jwks.json").write_bytes(answer.data)
    command = [
        *(
            str(installed_weed()),
            "-logtostderr=true",
            "mini",
            f"-dir={folder}",
            f"-ip={ADDRESS}",
            "-ip.bind=0.0.0.0",
        ),
        *("-master.port=9333", "-volume.port=9340", "-filer.port=8888", "-admin.port=23646"),
        *(f"-s3.port={HTTP}", f"-s3.port.https={HTTPS}", f"-s3.cert.file={pair.cert}", f"-s3.key.file={pair.key}"),
        *(*FLAGS, f"-s3.config={folder}/s3.json", f"-s3.iam.config={folder}/iam.json"),
    ]
    server = S3Server(f"http://{ADDRESS}:{HTTP}", root, own=True)
    with _served(keys), (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            cluster.until(lambda: _takes(server), f"SeaweedFS does not take objects: see {folder}/log")
            yield server
        finally:
            process.kill()
            process.wait()


def _takes(server: S3Server) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    client = server.client()
    try:
        if "ready" not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket="ready")
        client.put_object(Bucket="ready", Key="ready", Body=b"x")
    except (BotoCoreError, ClientError):
        return False
    return True


def _owner(root: Identity) -> dict[str, Any]:
    return {
        "name": "root",
        "credentials": [{"accessKey": root.access_key, "secretKey": root.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }


def _iam(roles: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    provider = {
        "name": "kubernetes",
        "type": "oidc",
        "enabled": True,
        "config": {"issuer": ISSUER, "clientId": AUDIENCE, "jwksUri": f"http://{ADDRESS}:{_JWKS_PORT}/jwks.json"},
    }
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "tests",
            "signingKey": base64.b64encode(secrets.token_bytes(32)).decode(),
            "providers": [provider],
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{"name": name, "document": document} for name, (_, document) in roles.items()],
        "roles": [
            {
                "roleName": name,
                "roleArn": f"arn:aws:iam::{ACCOUNT}:role/{name}",
                "attachedPolicies": [name],
                "trustPolicy": {"Version": "2012-10-17", "Statement": [_trust(account)]},
            }
            for name, (account, _) in roles.items()
        ],
    }


def _trust(account: str) -> dict[str, Any]:
    # SeaweedFS names the provider here, where AWS has its ARN.
    return {
        "Effect": "Allow",
        "Principal": {"Federated": "kubernetes"},
        "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Condition": {"StringEquals": {"oidc:sub": f"system:serviceaccount:{account}"}},
    }


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def _served(folder: Path) -> Iterator[None]:
    handler = partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer((ADDRESS, _JWKS_PORT), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
