"""`policy verify` against KMS: a double on loopback that enforces compiled key policies by evaluation.

No emulator enforces KMS's policies. The double speaks KMS's protocol (tests/support/servers/kms_double.py), and
decides by `tests.support.iam_evaluator`, which is held against AWS's documented examples. AWS itself was not
asked.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from secure_xcom.ops.service_policies.rights import Known, rights_of
from secure_xcom.ops.service_policies.verify.aws_kms import KmsVerifier
from tests.support import iam_evaluator
from tests.support.servers.aws_connections import clean_environment
from tests.support.servers.kms_double import KmsDouble, Request
from tests.support.weaken_iam import narrowed, weakened

EXAMPLE = Path(__file__).parents[1] / "unit" / "ops" / "service_policies" / "compiled_policy.yaml"
ALIAS = "alias/xcom-finance"
IDENTITIES = ("finance-worker", "sales-worker", "caretaker")
# What `tests/unit/ops/service_policies/test_compile_aws.py` proves by evaluation, because verify cannot notice it,
# and why.
BY_EVALUATION = {
    "SecureXcomAdministerWithoutUsing": "who administers the account is no identity of the file",
    "SecureXcomNeverOutsideTheCompartment": "it denies what no statement allows: a second lock on the same door",
    "no kms:EncryptionContext:compartment": "that second lock holds",
    "with kms:CreateGrant": "it would change the key if it were let through, so it is not sent",
    "with kms:PutKeyPolicy": "the same",
    "with kms:ScheduleKeyDeletion": "the same",
    "SecureXcomNeverOntoAnotherKey": "it denies what no statement allows: a second lock on the same door",
    "no kms:ReEncryptOnSameKey": "that second lock holds",
    "with kms:ReEncryptFrom": "from this key to another: here is none, see tests/real/test_kms_across.py",
    "with kms:ReEncryptTo": "the same the other way",
    "with kms:DescribeKey": "it gives nothing: the request has no encryption context to meet the condition",
    "with kms:GetKeyRotationStatus": "the same",
}


@dataclass
class Site:
    """A KMS that decides by a key policy, and the identities' ways in."""

    double: KmsDouble
    policy: AccessPolicy
    document: dict[str, Any]
    principals: dict[str, str]
    accounts: dict[str, AwsAccount]

    def allows(self, request: Request) -> bool:
        """Whether the key policy lets a request through: in one account it need only name the principal."""
        body = request.body
        contexts = [body.get("EncryptionContext", {})]
        actions = [f"kms:{request.operation}"]
        if request.operation == "ReEncrypt":
            actions = ["kms:ReEncryptFrom", "kms:ReEncryptTo"]
            contexts = [body.get("SourceEncryptionContext", {}), body.get("DestinationEncryptionContext", {})]
        key = next(iter(self.double.keys))
        return all(
            iam_evaluator.evaluate(
                self.document,
                iam_evaluator.Request(
                    self.principals[request.access_key],
                    action,
                    key,
                    {
                        "kms:ReEncryptOnSameKey": "true",
                        **{f"kms:EncryptionContext:{name}": value for name, value in context.items()},
                    },
                ),
            )
            == "allow"
            for action, context in zip(actions, contexts, strict=True)
        )

    def verify(self) -> Iterator[Any]:
        """The rows."""
        rights = {one.name: rights_of(self.policy, one, Known()) for one in self.policy.identities}
        return KmsVerifier(self.policy, self.accounts, rights).rows()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """One key, the compiled policy of it, a profile for each identity."""
    clean_environment(monkeypatch, tmp_path)
    policy = AccessPolicy.load(str(EXAMPLE))
    documents = compile_policy(policy).files
    with KmsDouble() as double:
        double.alias("xcom-finance", double.create_key())
        monkeypatch.setenv("AWS_ENDPOINT_URL", double.endpoint)
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        lines = [
            f"[{name}]\naws_access_key_id = {name}\naws_secret_access_key = of-the-tests" for name in IDENTITIES
        ]
        (tmp_path / "credentials").write_text("\n".join(lines))
        found = Site(
            double,
            policy,
            json.loads(documents["aws/keys/alias~xcom-finance.json"]),
            {one.name: one.aws.principal for one in policy.identities if one.aws},
            {name: AwsAccount(name) for name in IDENTITIES},
        )
        double.allows = found.allows
        yield found


def test_the_compiled_key_policy_is_as_the_file_says(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every identity is allowed something and denied something on the key, and nothing is a surprise."""
    for name in IDENTITIES:
        monkeypatch.setenv(f"SECURE_XCOM_VERIFY_{name.upper().replace('-', '_')}_AWS", name)
    result = CliRunner().invoke(app, ["policy", "verify", str(EXAMPLE), "--on", "kms", "--json"])
    record = json.loads(result.stdout)
    assert [row for row in record["matrix"] if row["surprise"]] == []
    assert (result.exit_code, record["left_out"], record["notes"]) == (0, [], [])
    for name in IDENTITIES:
        rows = [row for row in record["matrix"] if row["identity"] == name]
        assert {row["allowed"] for row in rows} == {True, False}


def test_every_weakened_statement_is_a_surprise(site: Site) -> None:
    """Each action, resource, principal and condition is noticed, but for what evaluation alone can prove."""
    whole, counts, missed, reasons = site.document, Counter[str](), [], Counter[str]()
    for kind, ways in (("weakened", weakened), ("narrowed", narrowed)):
        for what, changed in ways(whole):
            site.document = changed
            counts[kind] += 1
            if not any(row.surprise for row in site.verify()):
                missed.append(f"{kind}: {what}")
    for what in missed:
        reasons[next((reason for reason in BY_EVALUATION if reason in what), what)] += 1
    print(f"{counts['weakened']} weakened and {counts['narrowed']} narrowed, not noticed: {dict(reasons)}")
    assert set(reasons) <= set(BY_EVALUATION)
    assert counts["weakened"] - len([one for one in missed if one.startswith("weakened")]) >= 25
