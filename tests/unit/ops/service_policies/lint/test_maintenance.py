"""What `policy lint` says of maintenance identities: each service in words of its own, and no other."""

from __future__ import annotations

import pytest

from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.lint.access_policy import lint

POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["{finance}"]
    store_uri: "{store}"
  - name: sales
    dags: ["sales_*"]
    key_uris: ["{sales}"]
    store_uri: "{store}"
identities:
  - name: keeper
    grants:
{grants}
    {principal}
"""
BOTH = """\
      - {compartment: finance, as: maintenance}
      - {compartment: sales, as: maintenance}"""
VAULT = "vault: {auth: approle}"
AWS = 'aws: {principal: "arn:aws:iam::111122223333:role/keeper"}'
GOOGLE = 'google: {member: "serviceAccount:keeper@x.iam.gserviceaccount.com"}'
AZURE = 'azure: {principal_id: "11111111-2222-3333-4444-555555555555"}'
RULES = ("shared-maintenance", "rewrap-shared-key", "rewrap-changes-context")


def remarks(
    principal: str,
    key: str = "vault://v/transit/keys/{}",
    store: str = "s3://xcom/sealed",
    grants: str = BOTH,
    text: str = POLICY,
) -> list[Finding]:
    """What lint says of maintenance in a file with these parts."""
    made = text.format(
        finance=key.format("finance"), sales=key.format("sales"), store=store, grants=grants, principal=principal
    )
    return [one for one in lint(made.encode(), where="policy.yaml") if one.rule in RULES]


@pytest.mark.parametrize(
    ("principal", "key", "store", "said", "unsaid"),
    [
        (
            VAULT,
            "vault://v/transit/keys/{}",
            "file:///srv/xcom",
            ["Vault: a rewrap keeps key and context"],
            ["KV", "S3"],
        ),
        (
            VAULT,
            "vault://v/transit/keys/{}",
            "vault-kv://v/kv/xcom",
            ["Vault:", "Vault KV: it lists and destroys"],
            [],
        ),
        (
            AWS,
            "aws-kms://a/alias/{}",
            "s3://xcom/sealed",
            ["kms:ReEncryptOnSameKey", "S3: it lists"],
            ["Vault", "Google"],
        ),
        (
            GOOGLE,
            "vault://v/transit/keys/{}",
            "gs://xcom/sealed",
            ["Google:", "names of all objects"],
            ["Vault:", "S3"],
        ),
        (
            AZURE,
            "vault://v/transit/keys/{}",
            "abfs://xcom/sealed",
            ["Azure: it lists and deletes"],
            ["Vault:", "S3"],
        ),
        (f"{VAULT}\n    {AWS}", "vault://v/transit/keys/{}", "s3://xcom/sealed", ["Vault:", "S3:"], ["KMS"]),
    ],
)
def test_one_identity_over_two_compartments_means_something_on_each_service(
    principal: str, key: str, store: str, said: list[str], unsaid: list[str]
) -> None:
    """The remark names the compartments, and each service that the identity is a principal of and they use."""
    (remark,) = remarks(principal, key, store)
    assert (remark.rule, remark.status, remark.path) == ("shared-maintenance", "ok", ("identities", 0, "grants"))
    assert "maintains finance, sales" in remark.text
    assert all(text in remark.text for text in said)
    assert not any(text in remark.text for text in unsaid)


def test_one_compartment_is_no_remark() -> None:
    """The way to keep two apart."""
    assert remarks(AWS, "aws-kms://a/alias/{}", grants="      - {compartment: finance, as: maintenance}") == []


@pytest.mark.parametrize(
    "keys",
    [
        ("aws-kms://a/alias/xcom", "aws-kms://a/alias/xcom"),
        # Whether two connections lead to one account and region is not known here.
        ("aws-kms://a/alias/xcom", "aws-kms://b/alias/xcom?wrap=optional"),
        ("aws-kms://a/alias/xcom", "aws-kms://a/arn:aws:kms:eu-west-1:111122223333:alias/xcom"),
        ("aws-kms://a/key/1234abcd", "aws-kms://a/arn:aws:kms:eu-west-1:111122223333:key/1234abcd"),
    ],
)
def test_a_shared_kms_key_is_not_to_be_maintained_by_one(keys: tuple[str, str]) -> None:
    """KMS compares no contexts, so the compiler gives no right to rewrap, and lint says what to do."""
    text = POLICY.replace("{finance}", keys[0]).replace("{sales}", keys[1])
    found = [one for one in remarks(AWS, text=text) if one.rule == "rewrap-shared-key"]
    assert [one.status for one in found] == ["warning"]
    assert "no right to rewrap" in found[0].text
    assert "a maintenance identity of its own" in found[0].remedy
    # Vault's rewrap keeps the context, whoever asks.
    assert not [one for one in remarks(VAULT, "vault://v/transit/keys/xcom") if one.rule == "rewrap-shared-key"]


def test_a_reader_of_a_part_relies_on_maintenance_with_kms() -> None:
    """Within one compartment KMS lets maintenance choose the new context; Vault does not."""
    reader = (
        'store_uri: "{store}"\n    readers: [{{compartment: sales, of_dags: [finance_daily]}}]\n  - name: sales'
    )
    text = POLICY.replace('store_uri: "{store}"\n  - name: sales', reader)
    one = "      - {compartment: finance, as: maintenance}"
    assert [r.rule for r in remarks(AWS, "aws-kms://a/alias/{}", grants=one, text=text)] == [
        "rewrap-changes-context"
    ]
    assert remarks(VAULT, grants=one, text=text) == []
    grant = one + "\n      - {compartment: finance, as: reader, dags: [finance_daily]}"
    assert "rewrap-changes-context" in [r.rule for r in remarks(AWS, "aws-kms://a/alias/{}", grants=grant)]
