"""What is compiled for viewers and the reveal service: as little as they need, at each service."""

from __future__ import annotations

import json
import re

import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.keys.aws_kms_format import kms_context
from secure_xcom.keys.vault_context import transit_scope
from secure_xcom.ops.service_policies.compile.all_services import Compiled, compile_policy
from secure_xcom.ops.service_policies.lint import hcl_reader, vault
from secure_xcom.ops.service_policies.reveal_names import viewers_name
from tests.support.iam_evaluator import Request, evaluate
from tests.unit.ops.service_policies.test_compile import HCL

POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["vault://v/transit/keys/finance", "aws-kms://a/alias/finance"]
    store_uri: s3://a@bucket/xcom
    former_store_uris: ["gs://g@bucket/xcom", "abfs://z@bucket/xcom", "vault-kv://v/secret/xcom"]
    exclusive: [otp]
    viewers:
      - {group: finance-oncall, dags: [finance_daily], tasks: [extract, load]}
      - {group: finance-oncall, dags: [finance_weekly]}
      - {group: Finance Leads}
  - name: tax
    dags: ["tax_*"]
    key_uris: ["vault://v/transit/keys/finance"]
    store_uri: s3://a@bucket/xcom
    viewers: [{group: finance-oncall}]
reveal:
  origin: https://reveal.example.com
  airflow_origin: https://airflow.example.com
  vault: {address: "https://vault.example.com:8200", mount: company/oidc}
identities:
  - name: reveal-service
    grants: [{compartment: finance, as: fetcher}]
    vault: {auth: approle}
    aws: {principal: "arn:aws:iam::111122223333:role/reveal"}
    google: {member: "serviceAccount:a@b.iam.gserviceaccount.com"}
    azure: {principal_id: "11111111-2222-3333-4444-555555555555"}
"""


def compiled(*changes: tuple[str, str], dags: tuple[str, ...] = ()) -> Compiled:
    """The policy with texts replaced, compiled."""
    text = POLICY
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return compile_policy(AccessPolicy.parse(text.encode(), where="policy.yaml"), dags)


def paths(hcl: str) -> dict[str, dict[str, object]]:
    """The blocks of a Vault policy by their paths."""
    assert HCL.fullmatch(hcl), hcl
    blocks, trouble = hcl_reader.read(hcl)
    assert trouble is None
    assert [finding for finding in vault.of_policy(blocks) if finding.status != "ok"] == []
    return {block.path: dict(block.fields) for block in blocks}


def test_a_group_may_unwrap_within_its_contexts_and_nothing_else() -> None:
    """One block for a key that compartments share, always single, and what ends or shows the session."""
    blocks = paths(compiled().files["vault/policies/secure-xcom-viewers-finance-oncall.hcl"])
    assert set(blocks) == {
        "transit/decrypt/finance",
        "identity/oidc/token/secure-xcom-reveal",
        "auth/token/revoke-self",
        "sys/capabilities-self",
    }
    decrypt = blocks["transit/decrypt/finance"]
    assert decrypt["capabilities"] == ["update"]
    assert decrypt["required_parameters"] == ["ciphertext", "context"]
    assert decrypt["allowed_parameters"] == {
        "ciphertext": [],
        "context": [
            f"{transit_scope('finance', 'finance_daily', 'extract')}*",
            f"{transit_scope('finance', 'finance_daily', 'load')}*",
            f"{transit_scope('finance', 'finance_weekly')}*",
            f"{transit_scope('tax')}*",
        ],
    }


def test_all_of_a_compartment_is_limited_to_it_as_well() -> None:
    """A whole compartment is a prefix of contexts, with the compiler's known DAGs or without: never a batch."""
    name = viewers_name("Finance Leads")
    assert re.fullmatch(r"secure-xcom-viewers-finance-leads-[0-9a-f]{12}", name)
    for dags in ((), ("finance_daily",)):
        blocks = paths(compiled(dags=dags).files[f"vault/policies/{name}.hcl"])
        allowed = blocks["transit/decrypt/finance"]["allowed_parameters"]
        assert allowed == {"ciphertext": [], "context": [f"{transit_scope('finance')}*"]}


def test_names_of_groups_never_meet() -> None:
    """Vault writes names in lower case, so a group with other characters has a digest in its name."""
    groups = ["finance", "Finance", "fin ance", "fin-ance", "/finance", "finance/x", "é", "a" * 200, "a" * 201]
    # Somebody names a group as another one's names at Vault end.
    groups += [viewers_name(group).removeprefix("secure-xcom-viewers-") for group in groups[1:3]]
    names = [viewers_name(group) for group in groups]
    assert len(set(names)) == len(groups)
    assert all(re.fullmatch(r"[a-z0-9_.-]{1,128}", name) for name in names)


def test_how_people_log_in() -> None:
    """The role brings no policy, the token is short and never longer, and only the origin's pages may ask."""
    objects = {each["path"]: each for each in json.loads(compiled().files["vault/reveal.json"])["reveal"]}
    role = objects["auth/company/oidc/role/secure-xcom-reveal"]["body"]
    assert (role["token_policies"], role["token_no_default_policy"]) == ([], True)
    assert role["token_ttl"] == role["token_max_ttl"] == 600
    assert role["allowed_redirect_uris"] == ["https://reveal.example.com/callback"]
    assert objects["sys/config/cors"]["body"]["allowed_origins"] == ["https://reveal.example.com"]
    token = objects["identity/oidc/role/secure-xcom-reveal"]["body"]
    assert token["ttl"] == 120
    filled = re.sub(r"\{\{[^}]*(?:\{ACCESSOR\})?[^}]*\}\}", '"x"', token["template"])
    assert json.loads(filled) == {"person": "x", "groups": "x"}
    group = objects["identity/group/name/secure-xcom-viewers-finance-oncall"]
    assert (group["alias"], group["body"]["type"]) == ("finance-oncall", "external")
    assert group["body"]["policies"] == ["secure-xcom-viewers-finance-oncall"]


@pytest.mark.parametrize(
    ("more", "login", "headers"),
    [
        ("", {"user_claim": "email", "groups_claim": "groups", "oidc_scopes": ["email", "profile"]}, []),
        (
            ", namespace: team, user_claim: upn, groups_claim: roles, scopes: [groups], token_ttl: 5m",
            {"user_claim": "upn", "groups_claim": "roles", "oidc_scopes": ["groups"]}
            | {"token_ttl": 300, "token_max_ttl": 300},
            ["X-Vault-Namespace"],
        ),
    ],
    ids=["default", "all options"],
)
def test_what_is_made_at_vault_is_this_and_nothing_else(
    more: str, login: dict[str, object], headers: list[str]
) -> None:
    """Under Vault's names for it: Vault ignores a field that it does not know."""
    files = compiled(("mount: company/oidc}", f"mount: company/oidc{more}}}")).files
    made = json.loads(files["vault/reveal.json"])["reveal"]
    name, group, origin = "secure-xcom-reveal", "secure-xcom-viewers-finance-oncall", "https://reveal.example.com"
    template = (
        '{"person": {{identity.entity.aliases.{ACCESSOR}.name}}, "groups": {{identity.entity.groups.names}}}'
    )
    assert {each["path"]: each["body"] for each in made if "Leads" not in each["about"]} == {
        f"identity/oidc/key/{name}": {
            "algorithm": "ES256",
            "allowed_client_ids": [name],
            "rotation_period": 86_400,
            "verification_ttl": 86_400,
        },
        f"identity/oidc/role/{name}": {"key": name, "client_id": name, "ttl": 120, "template": template},
        f"auth/company/oidc/role/{name}": {
            "role_type": "oidc",
            "allowed_redirect_uris": [f"{origin}/callback"],
            "token_policies": [],
            "token_no_default_policy": True,
            "token_type": "service",
            "token_ttl": 600,
            "token_max_ttl": 600,
            **login,
        },
        "sys/config/cors": {"allowed_origins": [origin], "allowed_headers": headers},
        f"identity/group/name/{group}": {
            "type": "external",
            "policies": [group],
            "metadata": {"made_by": "secure_xcom", "reveal_origin": origin},
        },
    }


def test_without_vault_nobody_logs_in_there() -> None:
    """With the company's provider, people have no rights at Vault at all."""
    made = compiled(
        (
            'vault: {address: "https://vault.example.com:8200", mount: company/oidc}',
            'oidc: {issuer: "https://login.example.com", client_id: reveal}',
        )
    )
    assert [path for path in made.files if "viewers" in path or "vault/reveal" in path] == []


def test_a_fetcher_reads_payloads_and_has_no_key() -> None:
    """At no service may it unwrap, write, list or claim."""
    files = compiled().files
    assert set(paths(files["vault/policies/secure-xcom-reveal-service.hcl"])) == {"secret/data/xcom/finance/*"}
    document = json.loads(files["aws/identities/reveal-service.json"])
    actions = {action for statement in document["Statement"] for action in statement["Action"]}
    assert actions == {"s3:GetObject"}
    assert not any("_claims" in str(statement["Resource"]) for statement in document["Statement"])
    assert not [path for path in files if path.startswith("aws/keys/")]
    roles = {binding["role"] for binding in json.loads(files["google/bucket.bindings.json"])}
    assert roles == {"projects/PROJECT/roles/secureXcomPull"}
    assigned = {each["roleName"] for each in json.loads(files["azure/bucket.assignments.json"])}
    assert assigned == {"secure-xcom pull"}


def test_a_revealer_also_unwraps_and_never_claims() -> None:
    """It has a reader's right to the key, at Vault and at KMS, and no right to write anywhere."""
    files = compiled(("as: fetcher", "as: revealer, dags: [finance_daily]")).files
    blocks = paths(files["vault/policies/secure-xcom-reveal-service.hcl"])
    assert {path.split("/")[0] for path in blocks} == {"transit", "secret"}
    assert set(blocks["transit/decrypt/finance"]["capabilities"]) == {"update"}  # type: ignore[call-overload]
    assert all("create" not in str(fields["capabilities"]) for fields in blocks.values())
    document = json.loads(files["aws/identities/reveal-service.json"])
    actions = {action for statement in document["Statement"] for action in statement["Action"]}
    assert actions == {"kms:Decrypt", "s3:GetObject"}
    key = json.loads(files["aws/keys/alias~finance.json"])
    granted = [each for each in key["Statement"] if each["Principal"] != {"AWS": "*"} and "Condition" in each]
    assert [each["Action"] for each in granted] == [["kms:Decrypt"]]
    roles = {binding["role"] for binding in json.loads(files["google/bucket.bindings.json"])}
    assert roles == {"projects/PROJECT/roles/secureXcomPull"}


def test_kms_opens_for_a_revealer_within_its_dags() -> None:
    """AWS's rules say of its IAM policy and of the key's: these DAGs, no other compartment, and no other act."""
    files = compiled(("as: fetcher", "as: revealer, dags: [finance_daily]")).files
    documents = [
        json.loads(files[f"aws/{name}.json"]) for name in ("identities/reveal-service", "keys/alias~finance")
    ]
    key = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

    def allowed(action: str, compartment: str, dag_id: str) -> set[str]:
        coordinate = Coordinate(dag_id, "run", "extract", -1, "return_value")
        shown = kms_context(encryption_context(compartment, coordinate))
        context: dict[str, str | list[str]] = {"kms:ResourceAliases": ["alias/finance"]}
        context |= {f"kms:EncryptionContext:{name}": value for name, value in shown.items()}
        request = Request("arn:aws:iam::111122223333:role/reveal", action, key, context)
        return {evaluate(document, request) for document in documents}

    assert allowed("kms:Decrypt", "finance", "finance_daily") == {"allow"}
    assert allowed("kms:Decrypt", "finance", "finance_weekly") == {"none"}
    assert "allow" not in allowed("kms:Decrypt", "tax", "finance_daily")
    for action in ("kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:DescribeKey"):
        assert "allow" not in allowed(action, "finance", "finance_daily")


def test_an_identity_cannot_take_a_groups_policy() -> None:
    """Two policies of one name at Vault are refused."""
    with pytest.raises(PolicyInvalid, match="one policy in Vault") as caught:
        compiled(("name: reveal-service", "name: viewers-finance-oncall"))
    assert caught.value.where == "identities"
