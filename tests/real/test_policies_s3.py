"""Compiled IAM policies on SeaweedFS, which enforces them: raw boto3, each client with one identity's own keys."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.rights import Known, rights_of
from secure_xcom.ops.service_policies.verify.aws_s3 import S3Verifier
from tests.support.bucket_site import IDENTITIES, Site, bucket_site, expected
from tests.support.servers.aws_connections import clean_environment
from tests.support.servers.s3_server import s3_server
from tests.support.weaken_iam import narrowed, weakened


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A bucket with one object at each place."""
    with s3_server() as server:
        yield bucket_site(server)


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
