"""Compiled IAM policies on SeaweedFS, which enforces them: raw boto3, each client with one identity's own keys."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from secure_xcom.ops.service_policies.rights import Known, rights_of
from secure_xcom.ops.service_policies.verify.aws_s3 import S3Verifier
from tests.support.servers.aws_connections import clean_environment
from tests.support.servers.s3_server import Identity, S3Server, s3_server
from tests.support.weaken_iam import narrowed, weakened

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
    """One bucket and the documents of its identities."""

    server: S3Server
    bucket: str
    policy: AccessPolicy
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
        names = {"bucket": bucket, "first": server.make_bucket(), "second": server.make_bucket()}
        policy = AccessPolicy.parse(TEXT.format(**names).encode(), where="policy.yaml")
        made = compile_policy(policy)
        found = Site(server, bucket, policy)
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


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_weakened_statement_is_a_surprise_to_verify(site: Site, tmp_path: Path) -> None:
    """Each action, resource and condition of each statement, changed alone, is noticed by `policy verify`."""
    iam = site.server.client(service="iam")
    policy = site.policy
    rights = {one.name: rights_of(policy, one, Known()) for one in policy.identities}
    accounts, users = {}, {}
    with pytest.MonkeyPatch.context() as patch:
        clean_environment(patch, tmp_path)
        patch.setenv("AWS_ENDPOINT_URL", site.server.endpoint)
        patch.setenv("AWS_REGION", "us-east-1")
        profiles = ""
        for name in IDENTITIES:
            users[name] = f"user-{uuid.uuid4().hex[:12]}"
            iam.create_user(UserName=users[name])
            key = iam.create_access_key(UserName=users[name])["AccessKey"]
            profiles += f"[{name}]\naws_access_key_id={key['AccessKeyId']}\n"
            profiles += f"aws_secret_access_key={key['SecretAccessKey']}\n"
        (tmp_path / "credentials").write_text(profiles)
        for name in IDENTITIES:
            accounts[name] = AwsAccount(name)

        def put(name: str, document: dict[str, Any]) -> None:
            text = json.dumps(document)
            iam.put_user_policy(UserName=users[name], PolicyName="p", PolicyDocument=text)

        def surprises(*, first: bool) -> set[Any]:
            rows = S3Verifier(policy, accounts, rights).rows()
            found = ((row.identity, row.action, row.place) for row in rows if row.surprise)
            # SeaweedFS does not know the condition key of create-only, so that is one of each run.
            news = (one for one in found if one[1] != "put without If-None-Match")
            return set(islice(news, 1 if first else None))

        whole = {name: {"Version": "2012-10-17", "Statement": site.documents[name]} for name in IDENTITIES}
        for name in IDENTITIES:
            put(name, whole[name])
        assert surprises(first=False) == set()
        counts, missed = Counter[str](), []
        for name in IDENTITIES:
            for kind, ways in (("weakened", weakened), ("narrowed", narrowed)):
                for what, changed in ways(whole[name]):
                    put(name, changed)
                    counts[kind] += 1
                    if not surprises(first=True):
                        missed.append(f"{name}: {kind}: {what}")
            put(name, whole[name])
    print(f"{counts['weakened']} weakened and {counts['narrowed']} narrowed statements, not noticed: {missed}")
    # SeaweedFS ends an upload for whoever may put: this right is proved by evaluation (tests/unit).
    assert [one for one in missed if not one.endswith("without s3:AbortMultipartUpload")] == []
    assert len(missed) == 2
    # The page tells these numbers.
    page = (Path(__file__).parents[2] / "docs" / "evidence" / "access-policy.md").read_text()
    assert f"{counts['weakened']} weakened and {counts['narrowed']} narrowed; `verify`" in page
