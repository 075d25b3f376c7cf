"""versitygw, a second S3 server: the store's contract, and compiled policies of identities and of the bucket.

It enforces bucket policies, which SeaweedFS does not as we compile them. What it does not enforce is tested as
well, so that a release that does is noticed: it does not know the condition key ``s3:if-none-match``, and it
compares ``aws:PrincipalArn`` in a bucket policy with nothing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from secure_xcom.core.operator_errors import AwsUnsupported
from secure_xcom.ops.service_policies.apply import aws_s3
from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from secure_xcom.stores import Store, store
from tests.support.bucket_site import IDENTITIES, PLACES, Site, bucket_site, expected
from tests.support.s3_contract import S3Contract, connect
from tests.support.servers.s3_server import REGION, Identity
from tests.support.servers.versitygw_server import VersityGw, versitygw_server
from tests.support.store_contract import StoreContract

pytestmark = pytest.mark.on_request
# The user of each identity's principal.
USERS = {"finance-worker": "fin", "sales-worker": "sal", "caretaker": "care"}
UNKNOWN = "SecureXcomCreateNeverOverwrite"


@pytest.fixture(scope="module")
def server() -> Iterator[VersityGw]:
    """One server for this file."""
    with versitygw_server() as found:
        yield found


@pytest.fixture(scope="module")
def bucket(server: VersityGw) -> str:
    """One bucket for this file; tests keep to prefixes of their own."""
    return server.make_bucket()


@pytest.fixture(scope="module")
def versioned(server: VersityGw) -> str:
    """A bucket that keeps what is deleted or overwritten."""
    name = server.make_bucket()
    server.client().put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def prefix() -> str:
    """A prefix of its own for each test."""
    return f"test/{uuid.uuid4().hex}"


class TestContract(StoreContract):
    @pytest.fixture
    def store(self, server: VersityGw, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Store:
        """Below a prefix, with the credentials of a connection."""
        return store(f"s3://{connect(monkeypatch, server.endpoint, server.root)}@{bucket}/pre/fix")


class TestS3(S3Contract):
    """The errors and identities of every S3 server."""


# --- compiled policies ----------------------------------------------------------------------------------------


@dataclass
class Bucket:
    """A site, the keys of each identity's user, and the statements of the bucket's compiled policy."""

    server: VersityGw
    site: Site
    users: dict[str, Identity] = field(default_factory=dict)

    def put(self, *statements: dict[str, Any]) -> None:
        """Replace the policy of the bucket."""
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.server.client().put_bucket_policy(Bucket=self.site.bucket, Policy=document)

    def matrix(self, name: str, *, tls: bool = True) -> frozenset[tuple[str, str]]:
        """Every act at every place that an identity is allowed."""
        return self.site.matrix_of(self.server.client(self.users[name], tls=tls))

    def statements(self, start: str = "") -> list[dict[str, Any]]:
        """The statements whose names begin so, without the one that the server does not take."""
        every = self.site.bucket_policy["Statement"]
        return [one for one in every if one["Sid"].startswith(start) and one["Sid"] != UNKNOWN]

    def grants(self) -> list[dict[str, Any]]:
        """The statements that allow."""
        return [one for one in self.statements() if one["Effect"] == "Allow"]


@pytest.fixture(scope="module")
def compiled(server: VersityGw) -> Bucket:
    """A bucket, and users without any policy of their own."""
    found = Bucket(server, bucket_site(server))
    found.users = {name: server.user(user) for name, user in USERS.items()}
    return found


@pytest.mark.parametrize("name", IDENTITIES)
def test_a_compiled_policy_of_an_identity_allows_what_the_file_says(compiled: Bucket, name: str) -> None:
    """Every act at every place is allowed where it should be and denied everywhere else."""
    compiled.server.client().delete_bucket_policy(Bucket=compiled.site.bucket)
    assert compiled.site.matrix(compiled.server.identity(*compiled.site.documents[name])) == expected(name)


@pytest.mark.parametrize("name", IDENTITIES)
def test_the_bucket_policy_alone_allows_what_the_file_says(compiled: Bucket, name: str) -> None:
    """Users without a policy of their own get what the bucket's policy grants their ARN, over TLS."""
    compiled.put(*compiled.statements("SecureXcomTlsOnly"), *compiled.grants())
    assert compiled.matrix(name) == expected(name)


def test_without_the_bucket_policy_nothing_is_allowed(compiled: Bucket) -> None:
    """What the test above sees comes from the bucket's policy and from nothing else."""
    compiled.server.client().delete_bucket_policy(Bucket=compiled.site.bucket)
    assert {name: compiled.matrix(name) for name in IDENTITIES} == dict.fromkeys(IDENTITIES, frozenset())


def test_a_user_of_another_arn_gets_nothing(compiled: Bucket) -> None:
    """Whoever the access policy does not name gets nothing from the bucket's policy."""
    compiled.put(*compiled.grants())
    stranger = compiled.server.user(f"user-{uuid.uuid4().hex[:12]}")
    assert compiled.site.matrix(stranger) == frozenset()


@pytest.mark.parametrize("name", IDENTITIES)
def test_plain_http_is_denied(compiled: Bucket, name: str) -> None:
    """The same requests with the same keys are denied without TLS, by that one statement."""
    compiled.put(*compiled.statements("SecureXcomTlsOnly"), *compiled.grants())
    assert compiled.matrix(name, tls=False) == frozenset()
    compiled.put(*compiled.grants())
    assert compiled.matrix(name, tls=False) == expected(name)


def test_a_wide_policy_grants_nothing_below_a_denied_prefix(compiled: Bucket) -> None:
    """The deny statements hold against an identity that may do anything in the account.

    As `aws:PrincipalArn` is compared with nothing, they hold against those whom they spare on AWS as well.
    """
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
    wide = compiled.server.identity(everything)
    denied = compiled.statements("SecureXcomNobodyElse")
    assert denied
    compiled.put(*denied, *compiled.grants())
    acts = ("get", "put", "delete")
    ours = {(act, place) for act in acts for place in PLACES if place.startswith(("finance/", "sales/"))}
    every = {(act, place) for act in acts for place in PLACES}
    seen = {one for one in compiled.site.matrix(wide) if one[0] in acts}
    assert seen == every - ours
    assert {one for name in IDENTITIES for one in compiled.matrix(name) if one[0] in acts} == set()


def test_the_create_only_condition_is_unknown(compiled: Bucket) -> None:
    """It refuses `s3:if-none-match`, and with it the policy as compiled."""
    with pytest.raises(ClientError, match="invalid condition key"):
        compiled.put(*compiled.site.bucket_policy["Statement"])


def test_policy_apply_says_what_the_server_has_not(compiled: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no lifecycles, so `policy apply` ends before it changes anything, and names the operation."""
    server = compiled.server
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.root.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.root.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    server.client().delete_bucket_policy(Bucket=compiled.site.bucket)
    with pytest.raises(AwsUnsupported, match=r"no such operation.*lifecycle"):
        list(aws_s3.plan(AwsAccount(), compile_policy(compiled.site.policy)))
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        server.client().get_bucket_policy(Bucket=compiled.site.bucket)
