"""Compiled IAM policies on SeaweedFS, which enforces them: raw boto3, each client with one identity's own keys."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from secure_xcom.access import AccessPolicy
from secure_xcom.policies import compile_policy
from tests.servers.s3_server import Identity, S3Server, s3_server

TEXT = """
version: 1
compartments:
  - name: finance
    dags: ["fin_*"]
    key_uris: ["aws-kms://a/alias/fin"]
    store_uri: s3://a@{bucket}/xcom
    readers: [{{compartment: sales, of_dags: [fin_daily]}}]
  - {{name: sales, dags: ["sales_*"], key_uris: ["aws-kms://a/alias/sal"], store_uri: "s3://a@{bucket}/xcom"}}
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
    """One bucket and the documents of its identities."""

    server: S3Server
    bucket: str
    documents: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def matrix(self, identity: Identity) -> frozenset[tuple[str, str]]:
        """Every act at every place that these keys are allowed."""
        client = self.server.client(identity)
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


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A bucket with one object at each place."""
    with s3_server() as server:
        bucket = server.make_bucket()
        made = compile_policy(AccessPolicy.parse(TEXT.format(bucket=bucket).encode(), where="policy.yaml"))
        found = Site(server, bucket)
        for name in IDENTITIES:
            statements = json.loads(made.files[f"aws/identities/{name}.json"])["Statement"]
            # KMS is not this server's.
            found.documents[name] = [one for one in statements if one["Action"][0].startswith("s3:")]
        for place in PLACES:
            key = f"xcom/{place}/run/task/-1/there" if place else "elsewhere/there"
            server.client().put_object(Bucket=bucket, Key=key, Body=b"sealed")
        yield found


def expected(name: str) -> frozenset[tuple[str, str]]:
    """What an identity may do, as written above."""
    return frozenset((act, place) for act, who in ALLOWED.items() for place in who.get(name, ()))


@pytest.mark.parametrize("name", IDENTITIES)
def test_each_identity_may_do_exactly_what_the_file_says(site: Site, name: str) -> None:
    """Every act at every place is allowed where it should be and denied everywhere else."""
    assert site.matrix(site.server.identity(*site.documents[name])) == expected(name)


def test_every_weakened_statement_is_noticed(site: Site) -> None:
    """Each statement with every object, every act or no condition changes what the matrix shows."""
    count, missed = 0, []
    for name, statements in site.documents.items():
        for number, statement in enumerate(statements):
            wider = [{**statement, "Resource": ["*"]}, {**statement, "Action": ["s3:*"]}]
            if "Condition" in statement:
                # With its condition a wider resource is the same bucket's listing.
                wider = [{key: value for key, value in statement.items() if key != "Condition"}]
            for one in wider:
                count += 1
                changed = [*statements[:number], one, *statements[number + 1 :]]
                if site.matrix(site.server.identity(*changed)) == expected(name):
                    missed.append((name, one))
    print(f"{count} weakened statements, {count - len(missed)} noticed")
    assert count > 10
    assert missed == []
