"""An access policy on buckets, and each act of each identity at each place: what a server lets through.

Requests are made with boto3, which has no part in what is tested.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from tests.support.servers.s3_server import Identity, S3Server

TEXT = """
version: 1
compartments:
  - name: finance
    dags: ["fin_*"]
    key_uris: ["aws-kms://a/alias/fin"]
    store_uri: s3://a@{bucket}/xcom
    routes: [{{keys: [routed], store_uri: "s3://a@{first}/xcom"}}]
    readers: [{{compartment: sales, of_dags: [fin_daily]}}]
  - name: sales
    dags: ["sales_*"]
    key_uris: ["aws-kms://a/alias/sal"]
    store_uri: s3://a@{bucket}/xcom
    routes: [{{keys: [routed], store_uri: "s3://a@{second}/xcom"}}]
identities:
  - {{name: finance-worker, workers_of: [finance], aws: {{principal: "arn:aws:iam::000000000000:user/fin"}}}}
  - {{name: sales-worker, workers_of: [sales], aws: {{principal: "arn:aws:iam::000000000000:user/sal"}}}}
  - name: caretaker
    grants: [{{compartment: finance, as: maintenance}}, {{compartment: sales, as: maintenance}}]
    aws: {{principal: "arn:aws:iam::000000000000:user/care"}}
"""
# The last two begin like a place that somebody may have, and are none.
PLACES = (
    "finance/fin_daily",
    "finance/fin_other",
    "sales/sales_a",
    "finance/fin_daily2",
    "finances/fin_daily",
    "",
)
FINANCE = frozenset((PLACES[0], PLACES[1], PLACES[3]))
OWN = FINANCE | {PLACES[2]}
ALLOWED: dict[str, dict[str, frozenset[str]]] = {
    "get": {"finance-worker": FINANCE, "sales-worker": frozenset((PLACES[0], PLACES[2]))},
    "put": {"finance-worker": FINANCE, "sales-worker": frozenset((PLACES[2],))},
    "delete": {"caretaker": OWN},
    "list": {"caretaker": OWN},
    "read-policy": {},
    "write-policy": {},
}
IDENTITIES = ("finance-worker", "sales-worker", "caretaker")


@dataclass
class Site:
    """One bucket, its compiled policy and the documents of its identities."""

    server: S3Server
    bucket: str
    policy: AccessPolicy
    bucket_policy: dict[str, Any]
    documents: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def matrix(self, identity: Identity) -> frozenset[tuple[str, str]]:
        """Every act at every place that these keys are allowed."""
        client = self.server.client(identity)
        return self.matrix_of(client)

    def matrix_of(self, client: Any) -> frozenset[tuple[str, str]]:
        """Every act at every place that a client is allowed."""
        return frozenset((act, place) for act in ALLOWED for place in PLACES if self.may(client, act, place))

    def may(self, client: Any, act: str, place: str) -> bool:
        """Whether the server lets a request through."""
        folder = f"xcom/{place}/run/task/-1/" if place else "elsewhere/"
        new, at = f"{folder}{uuid.uuid4().hex}", {"Bucket": self.bucket}
        # A policy that takes nothing away, so that a server that lets it through still serves everyone else.
        nothing = {"Version": "2012-10-17", "Statement": []}
        calls = {
            "get": lambda: client.get_object(**at, Key=f"{folder}there"),
            "put": lambda: client.put_object(**at, Key=new, Body=b"x", IfNoneMatch="*"),
            "delete": lambda: client.delete_object(**at, Key=new),
            "list": lambda: client.list_objects_v2(**at, Prefix=folder),
            "read-policy": lambda: client.get_bucket_policy(**at),
            "write-policy": lambda: client.put_bucket_policy(**at, Policy=json.dumps(nothing)),
        }
        try:
            calls[act]()
        except ClientError as error:
            return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] != 403)
        return True


def bucket_site(server: S3Server) -> Site:
    """A bucket with one object at each place."""
    bucket = server.make_bucket()
    names = {"bucket": bucket, "first": server.make_bucket(), "second": server.make_bucket()}
    policy = AccessPolicy.parse(TEXT.format(**names).encode(), where="policy.yaml")
    made = compile_policy(policy)
    found = Site(server, bucket, policy, json.loads(made.files[f"aws/buckets/{bucket}.policy.json"]))
    for name in IDENTITIES:
        statements = json.loads(made.files[f"aws/identities/{name}.json"])["Statement"]
        # KMS is not this server's.
        found.documents[name] = [one for one in statements if one["Action"][0].startswith("s3:")]
    for place in PLACES:
        key = f"xcom/{place}/run/task/-1/there" if place else "elsewhere/there"
        server.client().put_object(Bucket=bucket, Key=key, Body=b"sealed")
    return found


def expected(name: str) -> frozenset[tuple[str, str]]:
    """What an identity may do, as written above."""
    return frozenset((act, place) for act, who in ALLOWED.items() for place in who.get(name, ()))
