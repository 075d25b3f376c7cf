"""What `policy lint` says of services' policies: what was compiled is silent, each weakness is seen in place."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.ops.service_policies.lint import hcl_reader, json_reader
from secure_xcom.ops.service_policies.lint.document_rules import DOCUMENT_RULES
from secure_xcom.ops.service_policies.lint.documents import lint_documents

COMPILED = Path(__file__).parents[1] / "compiled"
SCOPE = "A" * 64
HCL = f"""\
# Push.
path "transit/encrypt/finance" {{
  capabilities        = ["update"]
  required_parameters = ["plaintext", "context"]
  allowed_parameters  = {{ "plaintext" = [], "context" = ["{SCOPE}*"] }}
}}

/* Pull. */
path "transit/decrypt/finance" {{
  capabilities = ["update"]
}}
path "kv/data/xcom/finance/*" {{
  capabilities = ["create", "read"]
}}
"""
CONTEXT = {"StringEquals": {"kms:EncryptionContext:compartment": "finance"}}
USE = {"Effect": "Allow", "Action": ["kms:Decrypt"], "Resource": ["arn:aws:kms:eu:1:key/k"], "Condition": CONTEXT}
COMPARTMENT = "kms:EncryptionContext:compartment"
SALES = {"StringEquals": {COMPARTMENT: "sales"}}
STAY = {"Bool": {"kms:ReEncryptOnSameKey": "true"}}
MOVE = {**USE, "Action": ["kms:ReEncryptFrom", "kms:ReEncryptTo"]}
BUCKET = [
    {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
     "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
    {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": ["s3:PutObject"], "Resource": "*",
     "Condition": {"Null": {"s3:if-none-match": "true"}}},
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:role/w"}, "Action": ["s3:GetObject"],
     "Resource": ["arn:aws:s3:::xcom/sealed/finance/*"]},
]  # fmt: skip
ROLE = {"path": "auth/kubernetes/role/x", "body": {"bound_service_account_names": ["x"]}}
KEY = {"path": "transit/keys/x", "create": {"derived": True}, "config": {}}
PUBLIC = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
BINDING = {
    "role": "r",
    "members": ["user:a@b.example"],
    "condition": {"expression": 'resource.name.startsWith("projects/_/buckets/b/objects/p/")'},
}
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
ASSIGNMENT = {"principalId": "p", "condition": f"@Resource[{BLOBS}:path] StringStartsWith 'p/'"}


def said(folder: Path, name: str, text: str) -> list[str]:
    """Each remark about one file, as ``status rule line:column``."""
    (folder / name).write_text(text)
    return [f"{one.status} {one.rule} {one.line}:{one.column}" for one in lint_documents(folder / name)]


def policy(*statements: dict[str, Any]) -> str:
    """A policy document with one statement in a line, from line 2."""
    return '{"Statement": [\n' + ",\n".join(json.dumps(one) for one in statements) + "\n]}"


def test_what_was_compiled_is_silent() -> None:
    """Nothing is said of the compiled files."""
    assert list(lint_documents(COMPILED)) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.hcl", HCL),
        ("a.hcl", 'path "auth/token/renew-self" { capabilities = ["update"] }\n' + HCL),
        ("a.hcl", 'path "transit/*" { capabilities = ["deny"] }'),
        ("a.json", policy(USE)),
        ("a.json", policy(MOVE, {**USE, "Condition": SALES})),
        (
            "a.json",
            policy(
                {**MOVE, "Condition": {**CONTEXT, **STAY}},
                {**MOVE, "Resource": "k2", "Condition": {**SALES, **STAY}},
            ),
        ),
        ("a.json", policy(*BUCKET)),
        ("a.json", json.dumps(ROLE)),
        ("a.json", json.dumps(KEY)),
        ("a.json", json.dumps(PUBLIC)),
        ("a.json", json.dumps([BINDING])),
        ("a.json", json.dumps([ASSIGNMENT])),
        ("a.json", '{"path": {"transit/decrypt/x": {"capabilities": ["update"]}}}'),
        ("a.json", '{"Rules": [{"Status": "Enabled"}]}'),
    ],
)
def test_what_is_sound_is_silent(tmp_path: Path, name: str, text: str) -> None:
    """Nothing is said of a document that grants what it should."""
    assert said(tmp_path, name, text) == []


HCL_CASES = [
    (
        '  capabilities        = ["update"]',
        '  capabilities = ["create", "update"]',
        "vault-create-on-encrypt 3:18",
    ),
    ('  capabilities        = ["update"]', '  policy = "write"', "vault-create-on-encrypt 2:1"),
    ('  capabilities        = ["update"]', '  capabilities = ["update", "sudo"]', "vault-sudo 3:18"),
    ('  capabilities        = ["update"]', '  capabilities = ["update", "list"]', "vault-needless 3:18"),
    ('["create", "read"]', '["create", "read", "update"]', "vault-needless 13:18"),
    ("transit/encrypt/finance", "transit/encrypt/*", "vault-wildcard 2:1"),
    ("transit/decrypt/finance", "transit/+/finance", "vault-wildcard 9:1"),
    ("transit/decrypt/finance", "*", "vault-wildcard 9:1"),
    ("kv/data/xcom/finance/*", "kv/data/*", "vault-wildcard 12:1"),
    ("kv/data/xcom/finance/*", "kv/data/xcom/*", "vault-wildcard 12:1"),
    ('"plaintext" = []', '"plaintext" = [], "batch_input" = []', "vault-batch 5:25"),
    ('"plaintext" = []', '"*" = []', "vault-batch 5:25"),
    (f'"context" = ["{SCOPE}*"]', '"context" = []', "vault-context 5:25"),
    (f'"context" = ["{SCOPE}*"]', '"context" = ["*"]', "vault-context 5:25"),
    (f'"context" = ["{SCOPE}*"]', f'"context" = ["{SCOPE[2:]}*"]', "vault-context 5:25"),
    ('["plaintext", "context"]', '["plaintext"]', "vault-context 5:25"),
    (f'  allowed_parameters  = {{ "plaintext" = [], "context" = ["{SCOPE}*"] }}\n', "", "vault-context 4:25"),
    ("transit/decrypt/finance", "transit/encrypt/finance", "vault-repeated-path 9:1"),
    (
        "# Push.\n",
        'path "transit/keys/finance" { capabilities = ["update"] }\n',
        "vault-reads-and-administers 1:1",
    ),
    ("# Push.\n", 'path "sys/policies/acl/x" { capabilities = ["update"] }\n', "vault-reads-and-administers 1:1"),
    (
        "# Push.\n",
        'path "transit/export/encryption-key/x" { capabilities = ["read"] }\n',
        "vault-key-material 1:1",
    ),
    ("capabilities = [", "capabilities = ", "unreadable 10:26"),
    ("# Push.\n", "\t}", "unreadable 1:2"),
]


@pytest.mark.parametrize(("old", "new", "expected"), HCL_CASES)
def test_each_weakness_of_a_vault_policy_is_seen(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """A policy of Vault with one thing wrong gets that remark, at its line and column."""
    assert old in HCL
    found = said(tmp_path, "a.hcl", HCL.replace(old, new, 1))
    assert expected in {one.partition(" ")[2] for one in found}


ALLOW = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::xcom/sealed/finance/*"]}
JSON_CASES: list[tuple[str, str]] = [
    (policy({**ALLOW, "NotAction": "s3:PutObject"}), "error aws-not 2:"),
    (policy({**ALLOW, "NotResource": "x"}), "error aws-not 2:"),
    (policy({**ALLOW, "Effect": "Deny", "NotPrincipal": "x"}), "warning aws-not 2:"),
    (policy({**ALLOW, "Action": "s3:*"}), "error aws-wildcard-action 2:"),
    (policy(ALLOW, {**USE, "Action": "kms:*"}), "error aws-wildcard-action 3:"),
    (policy({**ALLOW, "Resource": "*"}), "error aws-wildcard-resource 2:"),
    (policy({**ALLOW, "Resource": "arn:aws:s3:::xcom/*"}), "error aws-wildcard-resource 2:"),
    (policy({**USE, "Resource": "arn:aws:kms:eu:1:key/*"}), "error aws-wildcard-resource 2:"),
    (policy(*BUCKET[:2], {**BUCKET[2], "Principal": "*"}), "error aws-wildcard-principal 4:"),
    (policy(*BUCKET[:2], {**BUCKET[2], "Principal": {"AWS": ["*"]}}), "error aws-wildcard-principal 4:"),
    (policy({**USE, "Condition": {}}), "error aws-context 2:"),
    (policy({**USE, "Condition": {"StringLike": CONTEXT["StringEquals"]}}), "error aws-context 2:"),
    (policy({**USE, "Condition": {"StringEqualsIfExists": CONTEXT["StringEquals"]}}), "error aws-context 2:"),
    (policy(MOVE, {**MOVE, "Resource": "k2", "Condition": SALES}), "error aws-re-encrypt 2:"),
    (
        policy({**MOVE, "Action": "kms:ReEncryptFrom"}, {**MOVE, "Action": "kms:ReEncryptTo", "Condition": SALES}),
        "error aws-re-encrypt 2:",
    ),
    (
        policy({**MOVE, "Condition": {"StringEquals": {COMPARTMENT: ["finance", "sales"]}}}),
        "error aws-re-encrypt 2:",
    ),
    # On one key: the pair is of one key there, and of two compartments all the same.
    (
        policy({**MOVE, "Condition": {**CONTEXT, **STAY}}, {**MOVE, "Condition": {**SALES, **STAY}}),
        "error aws-re-encrypt 2:",
    ),
    (policy({**USE, "Action": ["kms:Decrypt", "kms:CreateGrant"]}), "error aws-reads-and-administers 2:"),
    (policy(USE, {**USE, "Action": "kms:PutKeyPolicy"}), "error aws-reads-and-administers 3:"),
    (policy({**USE, "Action": ["kms:PutKeyPolicy", "kms:CreateGrant"]}), "error aws-reads-and-administers 2:"),
    (policy({**USE, "Principal": {"AWS": "arn:aws:iam::1:role/w"}}), "warning aws-key-open 1:15"),
    (policy(BUCKET[1], BUCKET[2]), "error aws-no-tls 1:15"),
    (policy(BUCKET[0], BUCKET[2]), "warning aws-overwrite 1:15"),
    (json.dumps({**PUBLIC, "BlockPublicPolicy": False}), "error aws-public 1:"),
    (json.dumps({**ROLE, "body": {"bound_service_account_names": ["*"]}}), "error vault-role-open 1:"),
    (json.dumps({**ROLE, "body": {"bind_secret_id": False}}), "error vault-role-open 1:"),
    (json.dumps({**ROLE, "body": {"role_type": "jwt"}}), "error vault-role-open 1:"),
    (json.dumps({**ROLE, "body": {"token_policies": ["root"]}}), "error vault-role-open 1:"),
    (json.dumps({**KEY, "create": {"derived": False}}), "error vault-key-weak 1:"),
    (json.dumps({**KEY, "create": {}}), "error vault-key-weak 1:"),
    (json.dumps({**KEY, "config": {"deletion_allowed": True}}), "error vault-key-weak 1:"),
    (json.dumps([BINDING, {**BINDING, "members": ["allUsers"]}]), "error google-public 1:"),
    (json.dumps([{**BINDING, "condition": None}]), "error google-no-condition 1:2"),
    (json.dumps([{**ASSIGNMENT, "condition": None}]), "error azure-no-condition 1:2"),
    ('{"path": {"transit/encrypt/x":\n{"capabilities": ["create"]}}}', "error vault-create-on-encrypt 2:18"),
    ('{"Statement": [],\n "Statement": []}', "error duplicate-key 2:"),
    ('{"a": 1}', "ok unknown-document 1:1"),
    ("{", "error unreadable 1:2"),
    ("[" * 100_000, "error unreadable 1:"),
]


@pytest.mark.parametrize(("text", "expected"), JSON_CASES)
def test_each_weakness_of_a_document_is_seen(tmp_path: Path, text: str, expected: str) -> None:
    """A document with one thing wrong gets that remark, at its line."""
    found = said(tmp_path, "a.json", text)
    assert any(one.startswith(expected) for one in found), found


def test_all_of_a_key_beside_a_part_of_it_is_to_be_known(tmp_path: Path) -> None:
    """Where one policy is limited by context and another has the whole key, that is said of the latter."""
    (tmp_path / "reader.hcl").write_text(HCL)
    (tmp_path / "worker.hcl").write_text('path "transit/encrypt/finance" {\n  capabilities = ["update"]\n}\n')
    found = [(Path(one.subject).name, one.status, one.rule) for one in lint_documents(tmp_path)]
    assert found == [("worker.hcl", "ok", "vault-whole-beside-limited")]


def test_a_folder_without_policies_is_refused(tmp_path: Path) -> None:
    """A folder that holds nothing to look at, and a file that is not there, are errors and not a clean bill."""
    for path in (tmp_path, tmp_path / "missing.hcl"):
        with pytest.raises(PolicyInvalid):
            list(lint_documents(path))


def test_a_file_that_is_no_text_or_too_large_is_said(tmp_path: Path) -> None:
    """Bytes that are not UTF-8, and files beyond the limit, are remarks like any other."""
    (tmp_path / "a.hcl").write_bytes(b"\xff")
    (tmp_path / "b.json").write_bytes(b" " * (5 << 20))
    assert [one.rule for one in lint_documents(tmp_path)] == ["unreadable", "unreadable"]


def test_every_rule_is_listed_and_tried(tmp_path: Path) -> None:
    """Each rule about documents has its line in the list, and a document of these tests that it fires for."""
    given_out = set()
    for path in Path(hcl_reader.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("lint_finding", "_block_finding")
            ):
                given_out |= {one.value for one in node.args[:2] if isinstance(one, ast.Constant)} & set(
                    DOCUMENT_RULES
                )
    assert given_out == set(DOCUMENT_RULES)
    tried = {expected.split()[0] for _, _, expected in HCL_CASES} | {case[1].split()[1] for case in JSON_CASES}
    assert tried | {"vault-whole-beside-limited"} == given_out


@given(st.text(alphabet='path"{}[]=,#/*\\\n ab', max_size=60) | st.text(max_size=20))
@example('path "a" {')
@example('path "\\')
@example('path "a" { x = ' + "[" * 60)
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    """No text makes the reader of HCL raise, and a refusal lies within the text."""
    blocks, trouble = hcl_reader.read(text)
    if trouble is not None:
        assert blocks == []
        assert 1 <= trouble[0] <= text.count("\n") + 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_places_of_json_are_where_the_values_are(data: Any, indent: int | None, escaped: bool) -> None:
    """Each value's place is where its text begins, however the document is laid out."""
    text = json.dumps(data, indent=indent, ensure_ascii=escaped)
    document = json_reader.read(text)
    marks = document.marks
    assert (document.data, document.twice, document.fault) == (data, [], None)
    lines = text.split("\n")

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        line, column = marks[path]
        begin = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        assert json.JSONDecoder().raw_decode(begin)[0] == value
        if isinstance(value, dict):
            for name, child in value.items():
                walk(child, (*path, name))
        elif isinstance(value, list):
            for number, child in enumerate(value):
                walk(child, (*path, number))

    walk(data, ())


# Names that lint looks for, so that values of the wrong type stand behind them.
NAMES = st.sampled_from(
    [
        "Statement", "Effect", "Action", "NotAction", "Principal", "Resource", "Condition", "Bool", "StringEquals",
        "path", "body", "create", "config", "members", "condition", "expression", "principalId", "capabilities",
        "allowed_parameters", "required_parameters", "context", "token_policies", "bound_service_account_names",
        "transit/encrypt/x", "BlockPublicAcls", "includedPermissions",
    ]
)  # fmt: skip
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["Allow", "*", "kms:Decrypt", "s3:PutObject"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=4),
    max_leaves=12,
)


@settings(max_examples=500)
@given(ODD)
def test_any_document_is_looked_at(data: Any) -> None:
    """No JSON of any shape makes lint raise."""
    from secure_xcom.ops.service_policies.lint.documents import findings_of_json

    for document in (
        data,
        {"Statement": data},
        {"Statement": [data]},
        [data],
        {"path": data},
        {"path": "x", "body": data},
    ):
        findings_of_json(json.dumps(document))


MANY_DIGITS = "9" * 5000
"""Python reads no number of so many: its own limit of 4,300 digits raises a plain ValueError."""


def test_numbers_of_many_digits_are_unreadable(tmp_path: Path) -> None:
    """In HCL and in JSON they are a fault with its place."""
    for name, text in (("a.hcl", f'path "x" {{\n a = -{MANY_DIGITS} }}'), ("a.json", f'{{"a": {MANY_DIGITS}}}')):
        (tmp_path / name).write_text(text)
        (finding,) = lint_documents(tmp_path / name)
        assert (finding.rule, finding.line) == ("unreadable", 2 if name == "a.hcl" else 1)
        assert "digits" in finding.text
