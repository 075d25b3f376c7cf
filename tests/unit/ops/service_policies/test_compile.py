"""Compiled policies: the same bytes every time, nothing that an id can break out of, no grant that is wider."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import path_segment
from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.keys.vault_context import transit_scope
from secure_xcom.ops.service_policies.compile.all_services import Compiled, compile_policy, write
from secure_xcom.ops.service_policies.compile.aws_iam import identity_policy
from secure_xcom.ops.service_policies.compile.aws_s3 import bucket_policies
from secure_xcom.ops.service_policies.rights import Known, rights_of

HERE = Path(__file__).parent
EXAMPLE = HERE / "compiled_policy.yaml"
# The second one has exclusive keys, keys by ARN and id, another partition, many DAGs, and several maintainers.
EXAMPLES = {"compiled": EXAMPLE, "compiled_exclusive": HERE / "compiled_policy_exclusive.yaml"}

POLICY = """
version: 1
compartments:
  - name: one
    dags: ["*"]
    key_uris: ["vault://v/transit/keys/one?grant=scoped", "aws-kms://a/alias/one"]
    store_uri: s3://a@bucket/xcom
    former_store_uris: ["gs://g@bucket/xcom", "abfs://z@bucket/xcom", "vault-kv://v/secret/xcom"]
identities:
  - name: some-reader
    grants: [{compartment: one, as: reader, dags: ["fin*"]}, {compartment: one, as: maintenance, dags: ["fin*"]}]
    vault: {auth: approle}
    aws: {principal: "arn:aws:iam::111122223333:role/reader"}
    google: {member: "serviceAccount:a@b.iam.gserviceaccount.com"}
    azure: {principal_id: "11111111-2222-3333-4444-555555555555"}
"""
# The whole of what a compiled policy may look like: comments and blocks, nothing before, between or behind.
_LIST = r'\["[a-z]+"(?:, "[a-z]+")*\]'
_BLOCK = (
    r'path "[\w/.~%-]+?(?:/\*)?" \{\n'
    rf"  capabilities +=\ {_LIST}\n"
    r'(?:  required_parameters = \["(?:plaintext|ciphertext)", "context"\]\n'
    r'  allowed_parameters  = \{ "(?:plaintext|ciphertext)" = \[\], '
    r'"context" = \["[A-Za-z0-9+/]{64,192}\*"(?:, "[A-Za-z0-9+/]{64,192}\*")*\] \}\n)?\}\n'
)
HCL = re.compile(rf"(?:# [ -~]*\n|{_BLOCK}|\n)*".replace(r"=\ ", "= "), re.ASCII)
ARN = re.compile(r"arn:aws:s3:::bucket(?:/xcom/one(?:/[A-Za-z0-9_.~%-]+)?/\*)?|arn:aws:kms:\*:111122223333:key/\*")
CEL = re.compile(
    r'resource\.name == "projects/_/buckets/bucket"'
    r'|resource\.name\.startsWith\("projects/_/buckets/bucket/objects/xcom/one/[A-Za-z0-9_.~%-]+/"\)'
)


def compiled(text: str, *dags: str) -> Compiled:
    """A policy's text, compiled."""
    return compile_policy(AccessPolicy.parse(text.encode(), where="policy.yaml"), dags)


@pytest.mark.parametrize("folder", EXAMPLES)
def test_the_same_policy_gives_the_same_files(folder: str) -> None:
    """What is compiled is what is stored beside this test, byte for byte and file for file."""
    made = compile_policy(AccessPolicy.load(str(EXAMPLES[folder])))
    golden = HERE / folder
    stored = {
        path.relative_to(golden).as_posix(): path.read_text() for path in golden.rglob("*") if path.is_file()
    }
    assert made.files == stored


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=240))
def test_no_dag_id_breaks_out(tail: str) -> None:
    """Whatever a DAG is called, the files keep their grammar and name that DAG alone."""
    dag = "fin" + tail
    if not dag.isprintable():
        with pytest.raises(PolicyInvalid):
            compiled(POLICY, dag)
        return
    files = compiled(POLICY, dag).files
    hcl = files["vault/policies/secure-xcom-some-reader.hcl"]
    assert HCL.fullmatch(hcl)
    assert set(re.findall(r'"([A-Za-z0-9+/]{64,192})\*"', hcl)) == {transit_scope("one", dag)}
    assert set(re.findall(r'"secret/data/xcom/one/([^"]*)/\*"', hcl)) == {path_segment(dag)}
    document = json.loads(files["aws/identities/some-reader.json"])
    for statement in document["Statement"]:
        assert all(ARN.fullmatch(resource) for resource in statement["Resource"])
        shown = statement.get("Condition", {}).get("StringEquals", {}).get("kms:EncryptionContext:dag_id", [])
        assert not re.search(r"[*?$\"'\\]", "".join(shown))
    for binding in json.loads(files["google/bucket.bindings.json"]):
        assert CEL.fullmatch(binding["condition"]["expression"])
    for assignment in json.loads(files["azure/bucket.assignments.json"]):
        prefixes = re.findall(r"StringStartsWith '([^']*)'", assignment["condition"])
        assert set(prefixes) == {f"xcom/one/{path_segment(dag)}/"}
        assert assignment["condition"].count("'") % 2 == 0


@pytest.mark.parametrize("bad", ['x"', "x\\n", "x${aws:username}", "x}", "x/../y", "x\\u0000", "x y", "x'", "x`"])
def test_no_name_of_the_file_breaks_out(bad: str) -> None:
    """A name that could end a string of a policy is refused before anything is compiled."""
    for good in ("name: one", "name: some-reader", "compartment: one"):
        key = good.split(":")[0]
        with pytest.raises(PolicyInvalid):
            compiled(POLICY.replace(good, f"{key}: {json.dumps(bad)}"))


def test_a_glob_without_known_ids_is_widened_and_said() -> None:
    """A digest knows no globs: the whole compartment is granted, and a note says so."""
    made = compiled(POLICY)
    assert any("'fin*'" in note and "whole compartment" in note for note in made.notes)
    assert f'"{transit_scope("one")}*"' in made.files["vault/policies/secure-xcom-some-reader.hcl"]


def test_a_limited_grant_asks_for_single_requests() -> None:
    """A grant that is limited by context is of no use to who sends batches, and a note says what to change."""
    made = compiled(POLICY.replace("?grant=scoped", ""), "fin_a")
    assert any("?grant=scoped" in note for note in made.notes)


def test_compartments_that_share_a_key_are_kept_apart() -> None:
    """A grant on a shared key is limited to its own compartment's context, even for the compartment's workers."""
    text = """
version: 1
compartments:
  - {name: one, dags: [a], key_uris: ["vault://v/transit/keys/k"], store_uri: "file:///x"}
  - {name: two, dags: [b], key_uris: ["vault://v/transit/keys/k"], store_uri: "file:///x"}
identities:
  - {name: worker, workers_of: [one], vault: {auth: approle}}
"""
    hcl = compiled(text).files["vault/policies/secure-xcom-worker.hcl"]
    assert hcl.count(f'"context" = ["{transit_scope("one")}*"]') == hcl.count("path ") == 2


def test_a_key_that_only_opens_is_not_given_for_wrapping() -> None:
    """`wrap=never` gives no encrypt."""
    hcl = compiled(POLICY.replace("as: reader", "as: both").replace("?grant=scoped", "?wrap=never"), "fin")
    text = hcl.files["vault/policies/secure-xcom-some-reader.hcl"]
    assert "transit/decrypt/one" in text
    assert "transit/encrypt/" not in text


def test_writing_again_changes_what_changed(tmp_path: Path) -> None:
    """A second run writes nothing; another policy's run takes away what it has no more."""
    made = compile_policy(AccessPolicy.load(str(EXAMPLE)))
    assert set(write(made, tmp_path / "out")) == set(made.files)
    assert write(made, tmp_path / "out") == ()
    other = compiled(POLICY, "fin")
    changed = write(other, tmp_path / "out")
    left = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert left == set(other.files)
    assert "aws/identities/caretaker.json" in changed


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """Files that were not compiled are neither overwritten nor joined."""
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(PolicyInvalid, match="contains other files"):
        write(compiled(POLICY, "fin"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


ROLES = """
version: 1
compartments:
  - {{name: one, dags: ["*"], key_uris: ["vault://v/transit/keys/one"], store_uri: "file:///x"}}
identities:
  - {{name: worker, workers_of: [one], vault: {vault}}}
"""
TOKENS = {"token_policies": ["secure-xcom-worker"], "token_type": "service"}
HOUR_AND_DAY = {"token_ttl": 3600, "token_max_ttl": 86_400}


@pytest.mark.parametrize(
    ("vault", "path", "body"),
    [
        (
            "{auth: approle, secret_id_ttl: 2h, secret_id_num_uses: 3, token_ttl: 2d}",
            "auth/approle/role/worker",
            {"token_ttl": 172_800, "token_max_ttl": 172_800, "bind_secret_id": True}
            | {"secret_id_ttl": 7200, "secret_id_num_uses": 3},
        ),
        (
            (
                "{auth: approle, mount: other, role: named, bound_cidrs: [10.0.0.0/8], token_ttl: 1m, "
                "token_max_ttl: 1h}"
            ),
            "auth/other/role/named",
            {"token_ttl": 60, "token_max_ttl": 3600, "token_bound_cidrs": ["10.0.0.0/8"]}
            | {"bind_secret_id": True, "secret_id_ttl": 7_776_000, "secret_id_num_uses": 0},
        ),
        (
            "{auth: kubernetes, service_accounts: [sa], namespaces: [ns], audience: vault}",
            "auth/kubernetes/role/worker",
            {**HOUR_AND_DAY, "bound_service_account_names": ["sa"]}
            | {"bound_service_account_namespaces": ["ns"], "audience": "vault"},
        ),
        (
            "{auth: jwt, bound_audiences: [xcom], user_claim: email, bound_claims: {b: 2, a: 1}}",
            "auth/jwt/role/worker",
            {**HOUR_AND_DAY, "role_type": "jwt", "user_claim": "email"}
            | {"bound_audiences": ["xcom"], "bound_claims": {"a": "1", "b": "2"}},
        ),
    ],
    ids=["approle", "cidrs", "kubernetes", "jwt"],
)
def test_a_role_has_every_limit_that_the_policy_names(vault: str, path: str, body: dict[str, object]) -> None:
    """Under Vault's names for them: Vault ignores a field that it does not know."""
    files = compiled(ROLES.format(vault=vault.replace("b: 2, a: 1", "b: '2', a: '1'"))).files
    made = json.loads(files["vault/roles/worker.json"])
    assert made == {"path": path, "body": {**TOKENS, **body}}


SHARED = """
version: 1
compartments:
  - {name: one, dags: ["one_*"], key_uris: ["vault://v/transit/keys/shared"], store_uri: "file:///x"}
  - name: two
    dags: ["two_*"]
    key_uris: ["vault://v/transit/keys/two", "vault://v/transit/keys/shared?wrap=never"]
    store_uri: "file:///y"
identities:
  - {name: worker, workers_of: [one], vault: {auth: approle}}
  - {name: caretaker, grants: [{compartment: one, as: maintenance}], vault: {auth: approle}}
"""


def test_a_key_that_another_compartment_only_opens_with_is_shared() -> None:
    """Identities of both are limited to their own contexts, and the notes tell of it; looking is not."""
    made = compiled(SHARED)
    hcl = made.files["vault/policies/secure-xcom-worker.hcl"]
    assert "required_parameters" in hcl
    assert json.loads(made.files["vault/transit/transit~shared.json"])["compartments"] == ["one", "two"]
    limited = [note for note in made.notes if "is limited by context" in note]
    assert [note.partition(" in ")[0] for note in limited] == ["worker: push", "worker: pull", "caretaker: rewrap"]


def test_without_a_principal_the_partition_is_awss_own() -> None:
    """Documents are made of whatever rights are given, also of an identity that is managed elsewhere."""
    policy = AccessPolicy.load(str(EXAMPLES["compiled_exclusive"]))
    nobody = policy.identities[-1]
    assert nobody.aws is None
    made = identity_policy(rights_of(policy, nobody, Known()))
    assert made is not None
    resources = {resource for statement in made["Statement"] for resource in statement["Resource"]}
    assert {resource for resource in resources if ":s3:" in resource} == {
        *("arn:aws:s3:::one/pay/*", "arn:aws:s3:::two/xcom/pay/*"),
        *("arn:aws:s3:::one/~claims/pay/*", "arn:aws:s3:::two/xcom/~claims/pay/*"),
    }
    assert "arn:aws:kms:*:*:key/99999999-8888-7777-6666-555555555555" in resources


AWS = """
version: 1
compartments:
  - name: one
    dags: ["one_*"]
    key_uris: ["aws-kms://a/key/1234abcd-12ab-34cd-56ef-1234567890ab", "aws-kms://a/alias/old?wrap=never"]
    store_uri: s3://a@bucket/xcom
  - name: two
    dags: ["two_*"]
    key_uris: ["aws-kms://a/arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"]
    store_uri: s3://a@bucket/xcom
"""
WORKER = """
identities:
  - {name: worker, workers_of: [one], aws: {principal: "arn:aws:iam::111122223333:role/worker"}}
"""
KEEPER = """
identities:
  - name: keeper
    grants: [{compartment: one, as: maintenance}, {compartment: two, as: maintenance}]
    aws: {principal: "arn:aws:iam::111122223333:role/keeper"}
"""


def statements(files: dict[str, str], path: str) -> list[tuple[list[str], list[str]]]:
    """The actions and resources of each statement that allows a use in KMS."""
    return [
        (one["Action"], one["Resource"])
        for one in json.loads(files[path])["Statement"]
        if one["Effect"] == "Allow" and one["Action"][0].startswith("kms:") and "Administer" not in one["Sid"]
    ]


def test_a_kms_key_that_only_opens_is_not_given_for_wrapping() -> None:
    """Nobody encrypts with it, and whoever pulls decrypts; its key policy says the same on its own."""
    files = compiled(AWS + WORKER).files
    alias, key = (
        "arn:aws:kms:*:111122223333:key/*",
        "arn:aws:kms:*:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    )
    assert statements(files, "aws/identities/worker.json") == [
        (["kms:Encrypt"], [key]),
        (["kms:Decrypt"], [key]),
        (["kms:Decrypt"], [alias]),
    ]
    assert statements(files, "aws/keys/alias~old.json") == [(["kms:Decrypt"], ["*"])]
    root = json.loads(files["aws/keys/alias~old.json"])["Statement"][0]["Principal"]
    assert root == {"AWS": "arn:aws:iam::111122223333:root"}


def test_a_key_by_id_and_by_arn_may_be_the_same() -> None:
    """So whoever maintains both compartments gets no rewrap with it, only with the other key, and a note."""
    made = compiled(AWS + KEEPER)
    rewraps = [one for one in statements(made.files, "aws/identities/keeper.json") if "kms:ReEncryptTo" in one[0]]
    assert [resources for _, resources in rewraps] == [["arn:aws:kms:*:111122223333:key/*"]]
    assert [note.partition(" with ")[0] for note in made.notes if "no rewrap" in note] == [
        "keeper: no rewrap in one",
        "keeper: no rewrap in two",
    ]


def test_without_identities_everybody_is_denied_in_awss_own_partition() -> None:
    """No principal names another partition, and nobody is spared."""
    policy = AccessPolicy.parse(AWS.encode(), where="policy.yaml")
    statements = bucket_policies(policy, ())["bucket"]["Statement"]
    resources = {resource for one in statements for resource in one["Resource"]}
    assert all(resource.startswith("arn:aws:s3:::bucket") for resource in resources)
    assert {one["Effect"] for one in statements} == {"Deny"}
