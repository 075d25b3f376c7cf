"""One maintenance identity over two compartments against KMS: it tries to wrap what is of one for the other.

KMS permits a ReEncrypt in two halves, ReEncryptFrom on one key and ReEncryptTo on the other. No emulator enforces
its policies: the double speaks KMS's protocol and asks the compiled key policies and identity policies, both
halves of each request, by `tests.support.iam_evaluator`, which is held against AWS's documented examples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.operator_errors import AwsDenied
from secure_xcom.keys.aws_kms_format import kms_context
from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.compile.all_services import Compiled, compile_policy
from secure_xcom.ops.service_policies.rights import Known, rights_of
from secure_xcom.ops.service_policies.verify.aws_kms import KmsVerifier
from tests.support import iam_evaluator
from tests.support.servers.aws_connections import clean_environment
from tests.support.servers.kms_double import KmsDouble, Request

POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["aws-kms://a/alias/finance", "aws-kms://a/alias/finance-next?wrap=optional"]
    store_uri: s3://a@xcom/sealed
  - name: sales
    dags: ["sales_*"]
    key_uris: ["aws-kms://a/alias/sales"]
    store_uri: s3://a@xcom/sealed
  - name: left
    dags: ["left_*"]
    key_uris: ["aws-kms://a/alias/both"]
    store_uri: s3://a@xcom/sealed
  - name: right
    dags: ["right_*"]
    key_uris: ["aws-kms://b/alias/both"]
    store_uri: s3://a@xcom/sealed
identities:
  - name: workers
    workers_of: [finance, sales, left, right]
    aws: {principal: "arn:aws:iam::111122223333:role/workers"}
  - name: sales-worker
    workers_of: [sales, right]
    aws: {principal: "arn:aws:iam::111122223333:role/sales"}
  - name: keeper-of-two
    grants: [{compartment: finance, as: maintenance}, {compartment: sales, as: maintenance}]
    aws: {principal: "arn:aws:iam::111122223333:role/keeper-of-two"}
  - name: keeper-of-finance
    grants: [{compartment: finance, as: maintenance}]
    aws: {principal: "arn:aws:iam::111122223333:role/keeper-of-finance"}
  - name: one-role
    grants: [{compartment: finance, as: maintenance}]
    aws: {principal: "arn:aws:iam::111122223333:role/twice"}
  - name: one-role-again
    grants: [{compartment: sales, as: maintenance}]
    aws: {principal: "arn:aws:iam::111122223333:role/twice"}
  - name: keeper-of-a-shared-key
    grants: [{compartment: left, as: maintenance}, {compartment: right, as: maintenance}]
    aws: {principal: "arn:aws:iam::111122223333:role/keeper-of-both"}
  - name: keeper-of-left
    grants: [{compartment: left, as: maintenance}]
    aws: {principal: "arn:aws:iam::111122223333:role/keeper-of-left"}
"""
ALIASES = ("finance", "finance-next", "sales", "both")
NAMES = tuple(one.name for one in AccessPolicy.parse(POLICY.encode(), where="f").identities)
DATA_KEY = bytes(range(32))


@dataclass
class Site:
    """A KMS with four keys that decides by compiled policies, and every identity's way in."""

    double: KmsDouble
    policy: AccessPolicy
    compiled: Compiled
    documents: dict[str, Any]
    accounts: dict[str, AwsAccount]
    arns: dict[str, str] = field(default_factory=dict)

    def allows(self, request: Request) -> bool:
        """Whether the key policy and some identity policy of the principal let every half of a request through."""
        body = request.body
        if request.operation != "ReEncrypt":
            return self._half(
                request, f"kms:{request.operation}", body["KeyId"], body.get("EncryptionContext"), {}
            )
        ends = {end: self._arn(body[f"{end}KeyId"]) for end in ("Source", "Destination")}
        same = {"kms:ReEncryptOnSameKey": str(ends["Source"] == ends["Destination"]).lower()}
        return all(
            self._half(request, action, ends[end], body.get(f"{end}EncryptionContext"), same)
            for end, action in (("Source", "kms:ReEncryptFrom"), ("Destination", "kms:ReEncryptTo"))
        )

    def _half(
        self, request: Request, action: str, key: str, context: dict[str, str] | None, more: dict[str, str]
    ) -> bool:
        arn = self._arn(key)
        alias = next(name for name, there in self.arns.items() if there == arn)
        principal = self._principal(request.access_key)
        about = {f"kms:EncryptionContext:{name}": value for name, value in (context or {}).items()}
        about["aws:PrincipalArn"] = principal
        asked = iam_evaluator.Request(
            principal, action, arn, {**about, **more, "kms:ResourceAliases": [f"alias/{alias}"]}
        )
        attached = [
            self.documents[f"aws/identities/{one.name}.json"]
            for one in self.policy.identities
            if one.aws and one.aws.principal == principal
        ]
        said = [iam_evaluator.evaluate(document, asked) for document in attached]
        said_of_key = iam_evaluator.evaluate(self.documents[f"aws/keys/alias~{alias}.json"], asked)
        return "deny" not in (*said, said_of_key) and "allow" in said and said_of_key == "allow"

    def _arn(self, key: str) -> str:
        return self.arns[key.removeprefix("alias/")] if key.startswith("alias/") else key

    def _principal(self, name: str) -> str:
        return next(one.aws.principal for one in self.policy.identities if one.name == name and one.aws)

    def wrap(self, alias: str, compartment: str) -> bytes:
        """A data key of a compartment, wrapped as a worker does."""
        answer = self.accounts["workers"].ask(
            "kms", "encrypt", KeyId=f"alias/{alias}", Plaintext=DATA_KEY, EncryptionContext=context(compartment)
        )
        assert answer is not None
        return bytes(answer["CiphertextBlob"])

    def move(self, who: str, source: tuple[str, str], target: tuple[str, str]) -> bytes:
        """Wrap anew, each end an alias and a compartment.

        :raises AwsDenied: KMS refuses it.
        """
        answer = self.accounts[who].ask(
            "kms",
            "re_encrypt",
            CiphertextBlob=self.wrap(*source),
            SourceKeyId=f"alias/{source[0]}",
            SourceEncryptionContext=context(source[1]),
            DestinationKeyId=f"alias/{target[0]}",
            DestinationEncryptionContext=context(target[1]),
        )
        assert answer is not None
        return bytes(answer["CiphertextBlob"])

    def opened(self, who: str, alias: str, compartment: str, wrapped: bytes) -> bytes:
        """What an identity gets of a wrap."""
        answer = self.accounts[who].ask(
            "kms",
            "decrypt",
            KeyId=f"alias/{alias}",
            CiphertextBlob=wrapped,
            EncryptionContext=context(compartment),
        )
        assert answer is not None
        return bytes(answer["Plaintext"])

    def surprises(self) -> set[tuple[str, str, str, str]]:
        """What `policy verify` finds that is not as the file says."""
        rights = {one.name: rights_of(self.policy, one, Known()) for one in self.policy.identities}
        rows = KmsVerifier(self.policy, self.accounts, rights).rows()
        return {(row.identity, row.action, row.compartment, row.place) for row in rows if row.surprise}


def context(compartment: str) -> dict[str, str]:
    """The encryption context of a task of a compartment, as KMS is shown it."""
    ids = {"dag_id": f"{compartment}_daily", "task_id": "load", "run_id": "r", "map_index": "-1"}
    return kms_context({"compartment": compartment, **ids})


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """Everything compiled from the access policy, enforced."""
    clean_environment(monkeypatch, tmp_path)
    policy = AccessPolicy.parse(POLICY.encode(), where="access_policy.yaml")
    compiled = compile_policy(policy)
    documents = {path: json.loads(text) for path, text in compiled.files.items() if path.endswith(".json")}
    with KmsDouble() as double:
        monkeypatch.setenv("AWS_ENDPOINT_URL", double.endpoint)
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        lines = [f"[{name}]\naws_access_key_id = {name}\naws_secret_access_key = of-the-tests" for name in NAMES]
        (tmp_path / "credentials").write_text("\n".join(lines))
        found = Site(double, policy, compiled, documents, {name: AwsAccount(name) for name in NAMES})
        for name in ALIASES:
            key = double.create_key()
            double.alias(name, key)
            found.arns[name] = key.arn
        double.allows = found.allows
        yield found


def without(document: Any, key: str) -> Any:
    """A document as it was compiled before: without one condition, and the statements that only it made."""
    if isinstance(document, list):
        return [without(one, key) for one in document if not (isinstance(one, dict) and _denies_by(one, key))]
    if not isinstance(document, dict):
        return document
    return {name: without(value, key) for name, value in document.items() if not _is_of(value, key)}


def _is_of(value: Any, key: str) -> bool:
    return isinstance(value, dict) and list(value) == [key]


def _denies_by(one: dict[str, Any], key: str) -> bool:
    return one.get("Effect") == "Deny" and key in one.get("Condition", {}).get("Bool", {})


ATTACKS = [
    ("keeper-of-two", ("finance", "finance"), ("sales", "sales")),
    ("keeper-of-two", ("sales", "sales"), ("finance", "finance")),
    ("keeper-of-two", ("finance-next", "finance"), ("sales", "sales")),
    # One role under two names of the file has the policies of both.
    ("one-role", ("finance", "finance"), ("sales", "sales")),
    ("one-role-again", ("finance", "finance"), ("sales", "sales")),
]
OTHERS = [
    # No right on the other key at all.
    ("keeper-of-finance", ("finance", "finance"), ("sales", "sales")),
    ("keeper-of-left", ("both", "left"), ("both", "right")),
    ("workers", ("finance", "finance"), ("sales", "sales")),
    # In the other's context on one's own key.
    ("keeper-of-two", ("finance", "finance"), ("finance", "sales")),
    ("keeper-of-two", ("finance", "finance"), ("sales", "finance")),
    # One key for two compartments.
    ("keeper-of-a-shared-key", ("both", "left"), ("both", "right")),
    ("keeper-of-a-shared-key", ("both", "right"), ("both", "left")),
    ("keeper-of-a-shared-key", ("both", "left"), ("both", "left")),
]


def test_no_data_key_gets_to_another_compartment(site: Site) -> None:
    """KMS refuses the request, whichever half it looks at first."""
    for attack in (*ATTACKS, *OTHERS):
        with pytest.raises(AwsDenied):
            site.move(*attack)


def test_without_the_condition_it_gets_there(site: Site) -> None:
    """The attacks are real ones: but for the condition on the pair, KMS does it, and the other team opens it."""
    site.documents = {
        path: without(document, "kms:ReEncryptOnSameKey") for path, document in site.documents.items()
    }
    for who, source, target in ATTACKS:
        reader = "sales-worker" if target[1] == "sales" else "workers"
        assert site.opened(reader, *target, site.move(who, source, target)) == DATA_KEY, (who, source, target)


def test_maintenance_goes_on(site: Site) -> None:
    """A key's own wraps are renewed by each, and a compartment's wraps moved by whoever maintains nothing else."""
    for who, source, target in (
        ("keeper-of-two", ("finance", "finance"), ("finance", "finance")),
        ("keeper-of-two", ("sales", "sales"), ("sales", "sales")),
        ("one-role", ("sales", "sales"), ("sales", "sales")),
        ("keeper-of-left", ("both", "left"), ("both", "left")),
        # From one key of a compartment to the next.
        ("keeper-of-finance", ("finance", "finance"), ("finance-next", "finance")),
        ("keeper-of-finance", ("finance-next", "finance"), ("finance", "finance")),
    ):
        assert site.opened("workers", *target, site.move(who, source, target)) == DATA_KEY, (who, source, target)


def test_who_maintains_several_compartments_moves_nothing_between_the_keys_of_one(site: Site) -> None:
    """No condition tells the keys of one compartment from those of another, so that is the other identity's."""
    with pytest.raises(AwsDenied):
        site.move("keeper-of-two", ("finance", "finance"), ("finance-next", "finance"))


def test_the_compiler_says_what_it_left_out(site: Site) -> None:
    """A key of two compartments that one identity maintains: nobody rewraps with it, and the notes say why."""
    notes = [note for note in site.compiled.notes if "keeper-of-a-shared-key" in note]
    assert len(notes) == 2
    assert all("no rewrap in" in note and "alias/both" in note for note in notes)


def test_verify_finds_nothing_in_what_was_compiled(site: Site) -> None:
    """Each pair of keys is tried by each identity, and is allowed where the file says."""
    # Of two names for one role verify finds that each may do what the other may, as lint does (shared-principal);
    # and who may look at a key that two compartments have looks at it for both.
    known = {one for one in site.surprises() if one[0].startswith("one-role") or one[3] == "the key"}
    assert site.surprises() - known == set()
    assert not {one for one in known if one[1] == "rewrap to another key"}
    moves = [one for one in site.double.requests if one.operation == "ReEncrypt"]
    assert len({(one.body["SourceKeyId"], one.body["DestinationKeyId"]) for one in moves}) > 10


def test_verify_finds_the_way_across(site: Site) -> None:
    """A KMS whose policies were compiled before, or edited: the pair is a surprise, with both keys named."""
    site.documents = {
        path: without(document, "kms:ReEncryptOnSameKey") for path, document in site.documents.items()
    }
    found = site.surprises()
    action = "rewrap to another key"
    assert ("keeper-of-two", action, "finance", "with alias/sales of sales") in found
    assert ("keeper-of-two", action, "sales", "with alias/finance of finance") in found
    assert not {one for one in found if one[0] == "keeper-of-finance"}
