"""`secure-xcom policy apply` on moto's IAM, S3 and KMS: once, again, after each failure, beside what is others'.

moto keeps policies and does not enforce them: what they allow is proved by evaluation and on SeaweedFS.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from tests.support.servers.aws_connections import clean_environment
from tests.support.servers.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.servers.kms_server import ENDPOINT, kms_endpoint

ACCOUNT = "123456789012"
TEXT = """
version: 1
compartments:
  - name: finance
    dags: ["fin_*"]
    key_uris: ["aws-kms://a/alias/TAG"]
    store_uri: s3://a@TAG/xcom
    readers: [{compartment: sales, of_dags: [fin_daily, DAGS]}]
    retention: 30d
  - {name: sales, dags: ["sales_*"], key_uris: ["aws-kms://a/alias/TAG-sales"], store_uri: "s3://a@TAG/xcom"}
identities:
  - {name: finance-worker, workers_of: [finance], aws: {principal: "arn:aws:iam::123456789012:role/TAG-fin"}}
  - {name: sales-worker, workers_of: [sales], aws: {principal: "arn:aws:iam::123456789012:user/team/TAG-sal"}}
"""
# So many that the policy of their reader has no room in the user itself (2,048 characters).
DAGS = ", ".join(f"fin_report_of_the_department_{number}" for number in range(16))
FOREIGN = {
    "Sid": "Auditors",
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:PutObjectAcl",
    "Resource": "arn:aws:s3:::TAG/*",
}
RULE = {"ID": "of-somebody-else", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 9}}
WRITES = (
    "PutRolePolicy",
    "CreatePolicy&",
    "AttachUserPolicy",
    "CreateKey",
    "CreateAlias",
    "EnableKeyRotation",
    "?policy",
    "?lifecycle",
    "?publicAccessBlock",
)


@dataclass
class Site:
    """A policy file with names of its own in an account."""

    endpoint: str
    tag: str
    file: Path

    def client(self, service: str) -> Any:
        """The account's administrator."""
        return boto3.client(service, endpoint_url=self.endpoint, region_name="eu-west-1")

    def run(self, *more: str) -> tuple[int, dict[str, Any]]:
        """The exit code and what was printed."""
        result = CliRunner().invoke(app, ["policy", "apply", str(self.file), "--json", *more])
        found: dict[str, Any] = json.loads(result.stdout or result.stderr)
        return result.exit_code, found

    def keys(self) -> list[str]:
        """The keys that bear a tag of ours for these names."""
        kms = self.client("kms")
        tagged = [
            (key["KeyArn"], tag["TagValue"])
            for page in kms.get_paginator("list_keys").paginate()
            for key in page["Keys"]
            for tag in kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]
        ]
        return [arn for arn, alias in tagged if self.tag in alias]

    def files(self) -> dict[str, Any]:
        """The compiled documents."""
        made = compile_policy(AccessPolicy.load(str(self.file))).files
        return {path: json.loads(text) for path, text in made.items() if path.endswith(".json")}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """moto."""
    with kms_endpoint() as found:
        yield found


@pytest.fixture
def site(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    """A role, a user, a bucket with others' statements and rules in it, and an operator's environment."""
    clean_environment(monkeypatch, tmp_path)
    if ENDPOINT not in os.environ:
        # moto, whose every list would grow from test to test.
        requests.post(f"{endpoint}/moto-api/reset", timeout=10)
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "operator"),
        ("AWS_SECRET_ACCESS_KEY", "of-the-tests"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_MAX_ATTEMPTS", "1"),
    ):
        monkeypatch.setenv(name, value)
    tag = f"sxt{secrets.token_hex(4)}"
    file = tmp_path / "policy.yaml"
    file.write_text(TEXT.replace("TAG", tag).replace("DAGS", DAGS))
    found = Site(endpoint, tag, file)
    iam, s3 = found.client("iam"), found.client("s3")
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
    iam.create_role(RoleName=f"{tag}-fin", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", **trust}))
    iam.create_user(UserName=f"{tag}-sal", Path="/team/")
    s3.create_bucket(Bucket=tag, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    foreign = json.dumps({"Version": "2008-10-17", "Id": "theirs", "Statement": [FOREIGN]}).replace("TAG", tag)
    s3.put_bucket_policy(Bucket=tag, Policy=foreign)
    s3.put_bucket_lifecycle_configuration(Bucket=tag, LifecycleConfiguration={"Rules": [RULE]})
    return found


def states(record: dict[str, Any]) -> set[str]:
    """Which states the steps of a plan are in."""
    return {step["state"] for step in record["steps"]}


def test_a_dry_run_makes_nothing(site: Site) -> None:
    """The plan names everything, the account is as it was."""
    code, record = site.run("--dry-run")
    assert (code, record["applied"], states(record)) == (1, False, {"make", "change"})
    assert site.keys() == []
    assert site.client("iam").list_role_policies(RoleName=f"{site.tag}-fin")["PolicyNames"] == []
    assert "Statement" in json.loads(site.client("s3").get_bucket_policy(Bucket=site.tag)["Policy"])
    assert len(json.loads(site.client("s3").get_bucket_policy(Bucket=site.tag)["Policy"])["Statement"]) == 1


def test_it_makes_all_and_then_nothing(site: Site) -> None:
    """After one run the account holds what was compiled, beside what others wrote; another run changes nothing."""
    assert site.run()[0] == 0
    files, iam, s3, kms = site.files(), site.client("iam"), site.client("s3"), site.client("kms")
    inline = iam.get_role_policy(RoleName=f"{site.tag}-fin", PolicyName="secure-xcom-finance-worker")
    assert inline["PolicyDocument"] == files["aws/identities/finance-worker.json"]
    arn = f"arn:aws:iam::{ACCOUNT}:policy/secure-xcom-sales-worker"
    attached = iam.list_attached_user_policies(UserName=f"{site.tag}-sal")["AttachedPolicies"]
    assert [one["PolicyArn"] for one in attached] == [arn]
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    managed = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    assert managed == files["aws/identities/sales-worker.json"]
    policy = json.loads(s3.get_bucket_policy(Bucket=site.tag)["Policy"])
    assert (policy["Version"], policy["Id"]) == ("2008-10-17", "theirs")
    assert policy["Statement"][0] == json.loads(json.dumps(FOREIGN).replace("TAG", site.tag))
    assert policy["Statement"][1:] == files[f"aws/buckets/{site.tag}.policy.json"]["Statement"]
    rules = s3.get_bucket_lifecycle_configuration(Bucket=site.tag)["Rules"]
    assert rules[0]["ID"] == "of-somebody-else"
    assert len(rules) == 1 + len(files[f"aws/buckets/{site.tag}.lifecycle.json"]["Rules"])
    block = s3.get_public_access_block(Bucket=site.tag)["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    for alias in (f"alias/{site.tag}", f"alias/{site.tag}-sales"):
        key = kms.describe_key(KeyId=alias)["KeyMetadata"]["Arn"]
        document = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
        assert document == files[f"aws/keys/{alias.replace('/', '~')}.json"]
        assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    code, record = site.run()
    assert (code, states(record)) == (0, {"there"})


@pytest.fixture
def proxy(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Between the command and the account."""
    with faulty_proxy(site.endpoint) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
        yield found


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        *(("drop", write) for write in WRITES),
        ("lose", "CreatePolicy&"),
        ("lose", "CreateKey"),
        ("lose", "CreateAlias"),
    ],
)
def test_it_goes_on_after_a_failure_in_the_middle(site: Site, proxy: FaultyProxy, kind: Any, write: str) -> None:
    """A write that fails, or whose answer is lost, ends the run; the next run does the rest, and nothing twice."""
    given = {"path": write, "method": "PUT"} if write.startswith("?") else {"holds": write}
    proxy.faults.append(Fault(kind, **given))  # type: ignore[arg-type]  # one dict for two fields of text
    code, record = site.run()
    assert (code, record["error"]) == (2, "AwsUnreachable")
    assert proxy.faults == []
    assert site.run()[0] == 0
    assert states(site.run()[1]) == {"there"}
    assert len(site.keys()) == 2


def test_the_sixth_version_of_a_managed_policy_takes_the_place_of_the_oldest(site: Site) -> None:
    """IAM keeps five: a policy that changes for the sixth time is still brought there."""
    texts = [site.file.read_text().replace("fin_daily", f"fin_daily_{number}") for number in range(6)]
    for text in texts:
        site.file.write_text(text)
        assert site.run("--to", "iam")[0] == 0
    versions = site.client("iam").list_policy_versions(
        PolicyArn=f"arn:aws:iam::{ACCOUNT}:policy/secure-xcom-sales-worker"
    )["Versions"]
    assert len(versions) == 5
    assert states(site.run("--to", "iam")[1]) == {"there"}


def test_what_was_edited_is_shown_and_mended(site: Site) -> None:
    """A statement that somebody made wider is in the diff and is set right; a foreign one beside it stays."""
    assert site.run()[0] == 0
    s3 = site.client("s3")
    policy = json.loads(s3.get_bucket_policy(Bucket=site.tag)["Policy"])
    policy["Statement"][-1]["Action"] = ["s3:*"]
    del policy["Statement"][1]
    s3.put_bucket_policy(Bucket=site.tag, Policy=json.dumps(policy))
    record = site.run()[1]
    changed = [step for step in record["steps"] if step["state"] != "there"]
    assert [step["step"] for step in changed] == [f"bucket {site.tag}: policy"]
    assert any(line.startswith("-") and '"s3:*"' in line for line in changed[0]["diff"])
    assert states(site.run()[1]) == {"there"}
    kept = json.loads(s3.get_bucket_policy(Bucket=site.tag)["Policy"])["Statement"]
    assert [one["Sid"] for one in kept if not one["Sid"].startswith("SecureXcom")] == ["Auditors"]


def test_a_compartment_that_is_gone_takes_its_statements_along(site: Site) -> None:
    """Only ours go: those of a compartment that the file has no more."""
    assert site.run()[0] == 0
    text = (
        site.file.read_text()
        .replace("sales_*", "sold_*")
        .replace(f"s3://a@{site.tag}/xcom", f"s3://a@{site.tag}/y")
    )
    site.file.write_text(text)
    site.run()
    policy = site.client("s3").get_bucket_policy(Bucket=site.tag)["Policy"]
    assert f"{site.tag}/xcom/" not in policy
    assert f"{site.tag}/y/finance/" in policy
    assert "Auditors" in policy


def test_a_policy_of_our_name_that_is_not_ours_is_refused(site: Site) -> None:
    """It is left, and nothing at all is done."""
    iam = site.client("iam")
    foreign = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]}
    name = {"RoleName": f"{site.tag}-fin", "PolicyName": "secure-xcom-finance-worker"}
    iam.put_role_policy(**name, PolicyDocument=json.dumps(foreign))
    code, record = site.run()
    assert (code, record["error"]) == (2, "AwsRefused")
    assert iam.get_role_policy(**name)["PolicyDocument"] == foreign
    assert site.keys() == []


@pytest.mark.parametrize("missing", ["role", "bucket", "user of another path"])
def test_what_is_missing_is_named_before_anything_is_done(site: Site, missing: str) -> None:
    """Roles, users and buckets are not made here; without one the plan ends, and no policy was written."""
    old = {"role": f"{site.tag}-fin", "bucket": f"@{site.tag}/", "user of another path": "user/team/"}[missing]
    new = {"role": "nobody", "bucket": "@no-such-bucket-here/", "user of another path": "user/"}[missing]
    site.file.write_text(site.file.read_text().replace(old, new))
    code, record = site.run()
    assert (code, record["error"]) == (2, "AwsRefused")
    assert site.keys() == []


def test_a_policy_that_locks_the_account_out_is_not_put(site: Site) -> None:
    """A foreign denial of PutKeyPolicy beside ours would be for ever, so the plan ends before anything is done."""
    kms = site.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=f"alias/{site.tag}", TargetKeyId=key)
    locked = {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "x", "Effect": "Deny", "Principal": "*", "Action": "kms:Put*", "Resource": "*"}],
    }
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(locked))
    code, record = site.run()
    assert (code, record["error"]) == (2, "AwsRefused")
    assert "nobody in the account could change" in record["what"]
    assert json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]) == locked


def test_a_foreign_statement_on_a_key_stays_and_is_said(site: Site) -> None:
    """AWS's own first statement lets IAM give the use of the key away: it is not ours to take, and it is named."""
    kms = site.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=f"alias/{site.tag}", TargetKeyId=key)
    before = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])["Statement"]
    code, record = site.run()
    assert code == 1
    assert any(before[0]["Sid"] in note for note in record["notes"])
    after = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])["Statement"]
    assert after[: len(before)] == before
    assert len(after) > len(before)
