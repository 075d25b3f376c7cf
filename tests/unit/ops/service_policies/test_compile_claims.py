"""What is compiled for claims: who may make them, and that nobody but maintenance takes them away."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from tests.support.iam_evaluator import Request, evaluate

POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["fin_*"]
    key_uris: ["vault://v/transit/keys/xcom-finance?grant=scoped"]
    store_uri: s3://a@pay/xcom
    former_store_uris: ["gs://g@gpay/xcom", "abfs://z@zpay/xcom?account=acct"]
    routes: [{keys: [small], store_uri: "vault-kv://v/secret/xcom"}]
    readers: [{compartment: sales, of_dags: [fin_daily]}]
    exclusive: ["*_token"]
    retention: 30d
  - name: sales
    dags: ["sales_*"]
    key_uris: ["vault://v/transit/keys/xcom-sales"]
    store_uri: s3://a@pay/xcom
identities:
  - name: finance-worker
    workers_of: [finance]
    vault: {auth: approle}
    aws: {principal: "arn:aws:iam::111122223333:role/finance"}
    google: {member: "serviceAccount:fin@x.iam.gserviceaccount.com"}
    azure: {principal_id: "11111111-2222-3333-4444-555555555555"}
  - name: sales-worker
    workers_of: [sales]
    vault: {auth: approle}
    aws: {principal: "arn:aws:iam::111122223333:role/sales"}
    google: {member: "serviceAccount:sal@x.iam.gserviceaccount.com"}
    azure: {principal_id: "11111111-2222-3333-4444-666666666666"}
  - name: pusher
    grants: [{compartment: finance, as: writer}]
    vault: {auth: approle}
    aws: {principal: "arn:aws:iam::111122223333:role/pusher"}
  - name: caretaker
    grants: [{compartment: finance, as: maintenance}]
    vault: {auth: approle}
    aws: {principal: "arn:aws:iam::111122223333:role/care"}
    google: {member: "serviceAccount:care@x.iam.gserviceaccount.com"}
    azure: {principal_id: "11111111-2222-3333-4444-777777777777"}
"""
FILES = compile_policy(AccessPolicy.parse(POLICY.encode(), where="policy.yaml")).files
WHO = {
    "finance-worker": "finance", "sales-worker": "sales", "pusher": "pusher", "caretaker": "care",
    "stranger": "other",
}  # fmt: skip
PLACES = {
    "daily": "xcom/~claims/finance/fin_daily/r/t/-1/u",
    "other": "xcom/~claims/finance/fin_other/r/t/-1/u",
    "sales": "xcom/~claims/sales/sales_x/r/t/-1/u",
}
CREATE = {"s3:if-none-match": "*", "s3:ObjectCreationOperation": "true", "aws:SecureTransport": "true"}
ACTIONS = ("s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:DeleteObjectVersion")
WANTED = {
    ("finance-worker", "s3:PutObject", "daily"), ("finance-worker", "s3:PutObject", "other"),
    ("finance-worker", "s3:GetObject", "daily"), ("finance-worker", "s3:GetObject", "other"),
    ("sales-worker", "s3:PutObject", "daily"), ("sales-worker", "s3:GetObject", "daily"),
    ("caretaker", "s3:GetObject", "daily"), ("caretaker", "s3:GetObject", "other"),
    ("caretaker", "s3:DeleteObject", "daily"), ("caretaker", "s3:DeleteObject", "other"),
}  # fmt: skip


def load(path: str) -> Any:
    """A compiled JSON file."""
    return json.loads(FILES[path])


def request(who: str, action: str, place: str, **changes: str) -> Request:
    """A request as our stores make it."""
    principal = f"arn:aws:iam::111122223333:role/{WHO[who]}"
    context = {**CREATE, "aws:PrincipalArn": principal, **changes}
    return Request(principal, action, f"arn:aws:s3:::pay/{PLACES[place]}", context)


def test_identities_of_aws() -> None:
    """Who pulls makes and reads claims, in its DAGs; maintenance reads and removes them; who pushes may not."""
    allowed = {
        (who, action, place)
        for who, action, place in product(WHO, ACTIONS, PLACES)
        if f"aws/identities/{who}.json" in FILES
        and evaluate(load(f"aws/identities/{who}.json"), request(who, action, place)) == "allow"
    }
    assert allowed == WANTED


def test_the_bucket_denies_everybody_else() -> None:
    """The bucket's own policy allows exactly that, and denies the rest whatever another policy says."""
    bucket = load("aws/buckets/pay.policy.json")
    found = {key: evaluate(bucket, request(*key)) for key in product(WHO, ACTIONS, ("daily", "other"))}
    assert {key for key, effect in found.items() if effect == "allow"} == WANTED
    narrow = {("sales-worker", action, "other") for action in ("s3:PutObject", "s3:GetObject")}
    # Versions go by rights that are given elsewhere, and denied here to everybody else.
    versions = {("caretaker", "s3:DeleteObjectVersion", place) for place in ("daily", "other")}
    assert {key for key, effect in found.items() if effect == "none"} == narrow | versions


def test_a_claim_is_never_overwritten() -> None:
    """A put without the condition is denied to whoever may put with it."""
    bucket = load("aws/buckets/pay.policy.json")
    plain = request("finance-worker", "s3:PutObject", "daily")
    context = {name: value for name, value in plain.context.items() if name != "s3:if-none-match"}
    assert evaluate(bucket, Request(plain.principal, plain.action, plain.resource, context)) == "deny"


def test_a_claim_never_goes_before_its_payload() -> None:
    """The bucket's lifecycle gives claims the days of their payloads, which are older."""
    rules = {rule["Filter"]["Prefix"]: rule for rule in load("aws/buckets/pay.lifecycle.json")["Rules"]}
    assert rules["xcom/~claims/finance/"]["Expiration"] == rules["xcom/finance/"]["Expiration"]
    assert "xcom/~claims/sales/" not in rules


@pytest.mark.parametrize(
    ("who", "words"),
    [("finance-worker", '"create", "read"'), ("sales-worker", '"create", "read"'), ("pusher", None)],
)
def test_vault_lets_nobody_change_a_claim(who: str, words: str | None) -> None:
    """In Vault KV whoever pulls creates and reads claims, without a right on their metadata, by which they go."""
    text = FILES[f"vault/policies/secure-xcom-{who}.hcl"]
    claims = [block for block in text.split("path ")[1:] if "~claims" in block]
    assert [block.split("[")[1].split("]")[0] for block in claims] == ([words] if words else [])
    assert not any("metadata" in block for block in claims)
    if who == "sales-worker":
        assert '"secret/data/xcom/~claims/finance/fin_daily/*"' in claims[0]


def test_google_and_azure() -> None:
    """Each has the two rights of who pulls and of who maintains, on the prefix of claims."""
    bindings = [one for one in load("google/gpay.bindings.json") if "~claims" in one["condition"]["expression"]]
    found = {(one["members"][0].split(":")[1][:3], one["role"].rpartition("/")[2]) for one in bindings}
    puller, keeper = ("secureXcomPush", "secureXcomPull"), ("secureXcomDelete", "secureXcomPull")
    assert found == {("fin", role) for role in puller} | {("sal", role) for role in puller} | {
        ("car", role) for role in keeper
    }
    rows = [one for one in load("azure/zpay.assignments.json") if "xcom/~claims/finance/" in one["condition"]]
    roles = {(one["principalId"][-3:], one["roleName"]) for one in rows}
    names = ("secure-xcom push", "secure-xcom pull")
    assert roles == {("555", name) for name in names} | {("666", name) for name in names} | {
        ("777", "secure-xcom maintenance"),
        ("777", "secure-xcom pull"),
    }


def test_without_exclusive_keys_nothing_is_granted() -> None:
    """A compartment that calls no key exclusive has no claims in any compiled file."""
    plain = POLICY.replace('    exclusive: ["*_token"]\n', "")
    files = compile_policy(AccessPolicy.parse(plain.encode(), where="policy.yaml")).files
    assert not any("~claims" in text for text in files.values())
