"""deploy/terraform and deploy/cloudformation: by Terraform and cfn-lint, against what the compiler writes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.compile.all_services import compile_policy, write
from tests.support.deployed import DEPLOY, HELM, ROOT

TERRAFORM = DEPLOY / "terraform"
FILES = sorted(TERRAFORM.rglob("*.tf"))
TOOL = shutil.which("tofu") or shutil.which("terraform")
STACK = DEPLOY / "cloudformation/secure-xcom.yaml"
POLICIES = [
    ROOT / "tests/unit/ops/service_policies/compiled_policy.yaml",
    HELM / "access_policy_vault.yaml",
    HELM / "access_policy_irsa.yaml",
    ROOT / "policies/examples/celery-queues.yaml",
]


def run(*words: str, cwd: Path, data: Path) -> str:
    """Terraform, with its own files elsewhere than in the checkout."""
    assert TOOL
    env = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    env |= {"TF_DATA_DIR": str(data), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    done = subprocess.run([TOOL, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A copy of the module that reads compiled files, made ready. It has no provider, so nothing is downloaded."""
    folder = tmp_path_factory.mktemp("module")
    shutil.copy(TERRAFORM / "modules/compiled/main.tf", folder)
    run("init", "-no-color", "-input=false", cwd=folder, data=folder / "data")
    return folder, folder / "data"


@pytest.mark.on_request
@pytest.mark.skipif(TOOL is None, reason="neither tofu nor terraform on PATH")
def test_every_file_is_in_terraforms_own_form(tmp_path: Path) -> None:
    """Terraform reads each file and would write it as it stands."""
    assert run("fmt", "-check", "-recursive", "-list=true", cwd=TERRAFORM, data=tmp_path) == ""


@pytest.mark.on_request
@pytest.mark.skipif(TOOL is None, reason="neither tofu nor terraform on PATH")
@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_the_modules_get_what_the_compiler_wrote(path: Path, module: tuple[Path, Path], tmp_path: Path) -> None:
    """Each policy, role, bucket and key comes through with its very text, and nothing is left out."""
    folder, data = module
    made = compile_policy(AccessPolicy.load(str(path)))
    write(made, tmp_path / "compiled")
    state = tmp_path / "state"
    run(
        *("apply", "-auto-approve", "-no-color", "-input=false", f"-state={state}"),
        *("-var", f"folder={tmp_path / 'compiled'}"),
        cwd=folder,
        data=data,
    )
    outputs = {name: one["value"] for name, one in json.loads(state.read_text())["outputs"].items()}
    files = made.files

    def named(prefix: str, suffix: str) -> dict[str, str]:
        return {
            name.removeprefix(prefix).removesuffix(suffix): text
            for name, text in files.items()
            if name.startswith(prefix) and name.endswith(suffix)
        }

    assert outputs["aws_identities"] == named("aws/identities/", ".json")
    assert outputs["vault_policies"] == named("vault/policies/", ".hcl")
    assert outputs["aws_keys"] == named("aws/keys/alias~", ".json")
    roles = {name: json.loads(text) for name, text in named("vault/roles/", ".json").items()}
    assert outputs["vault_roles"] == roles
    buckets = named("aws/buckets/", ".policy.json")
    assert {name: bucket["policy"] for name, bucket in outputs["aws_buckets"].items()} == buckets
    for name, bucket in outputs["aws_buckets"].items():
        assert bucket["lifecycle"] == json.loads(files[f"aws/buckets/{name}.lifecycle.json"])["Rules"]
        assert bucket["public_access"] == json.loads(files[f"aws/buckets/{name}.public-access.json"])
    transit = [json.loads(text) for text in named("vault/transit/", ".json").values()]
    read = {
        f"{mount}/keys/{name}": key
        for mount, keys in outputs["vault_transit"].items()
        for name, key in keys.items()
    }
    assert set(read) == {key["path"] for key in transit}
    for key in transit:
        own = read[key["path"]]
        assert {name: own[name] for name in key["create"]} == key["create"]
        assert own["deletion_allowed"] is key["config"]["deletion_allowed"]
        assert f"{own['auto_rotate_seconds'] // 3600}h" == key["config"]["auto_rotate_period"]


def outline(text: str) -> tuple[list[str], list[str]]:
    """The heads of a file's blocks, and the faults of its brackets: a reader of HCL that knows no more than that.

    It is for machines without Terraform, so that a file that was cut or mangled is noticed on each of them.
    """
    text = re.sub(
        r'"(?:\\.|\$\{[^}]*\}|[^"\\])*"', lambda match: '"' + re.sub(r"[^\w./-]", "", match[0]) + '"', text
    )
    text = re.sub(r"#.*", "", text)
    open_: list[str] = []
    faults: list[str] = []
    heads: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not open_ and (match := re.match(r'([a-z_]+(?: "[\w./-]+")*) \{', line)):
            heads.append(match[1].replace('"', ""))
        for sign in re.sub(r'"[^"]*"', "", line):
            if sign in "([{":
                open_.append(sign)
            elif sign in ")]}" and (not open_ or open_.pop() != {")": "(", "]": "[", "}": "{"}[sign]):
                faults.append(f"line {number}: {sign}")
    return heads, faults + [f"left open: {sign}" for sign in open_]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_the_blocks_of_a_file_are_whole_and_named_once(path: Path) -> None:
    """Brackets close, no block stands twice, and a file with a bracket less is noticed."""
    text = path.read_text()
    heads, faults = outline(text)
    assert faults == []
    assert len(heads) == len(set(heads)) > 2
    assert outline(text.rstrip().removesuffix("}"))[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_what_a_file_refers_to_is_there(path: Path) -> None:
    """What is named is declared, outputs of modules exist, and their inputs are all said."""
    text = path.read_text()
    heads, _ = outline(text)
    assert set(re.findall(r"\bvar\.(\w+)", text)) == {
        head.split()[1] for head in heads if head.startswith("variable ")
    }
    declared = {tuple(head.split()[1:]) for head in heads if head.startswith("resource ")}
    assert set(re.findall(r"(?<![\w.\"])((?:aws|vault)_\w+)\.(\w+)", text.replace("data.aws", '"'))) <= declared
    for name in re.findall(r"^module \"(\w+)\"", text, re.MULTILINE):
        source = re.search(rf'module "{name}" \{{\n  source\s*= "([^"]+)"', text)
        assert source
        other = (path.parent / source[1] / "main.tf").read_text()
        outputs = set(re.findall(r'^output "(\w+)"', other, re.MULTILINE))
        assert set(re.findall(rf"module\.{name}\.(\w+)", text)) <= outputs
        required = {
            match[1]
            for match in re.finditer(r'^variable "(\w+)" \{\n(.*?)^\}', other, re.MULTILINE | re.DOTALL)
            if "default " not in match[2]
        }
        block = text[source.start() :]
        assert required <= set(re.findall(r"^  (\w+)\s*=", block[: block.index("\n}")], re.MULTILINE))


def test_providers_are_pinned_to_majors_and_no_secret_is_made() -> None:
    """Providers have a lower and an upper bound, no plan destroys a key, and no state holds a secret."""
    everything = "\n".join(path.read_text() for path in FILES)
    bounds = re.findall(r'^ +version = "([^"]+)"', everything, re.MULTILINE)
    assert len(bounds) == 4
    assert all(re.fullmatch(r">= [\d.]+, < [\d.]+", bound) for bound in bounds)
    assert everything.count("prevent_destroy = true") == 2
    assert not re.search(r"secret_id\b|password|access_key", everything)


def test_the_example_is_for_an_access_policy_that_is_here() -> None:
    """Its identities, roles and service accounts are those of the one that it names."""
    text = (TERRAFORM / "example/main.tf").read_text()
    named = re.search(r"^# (\S+\.yaml)", text)
    assert named
    pods = re.findall(r'"([\w-]+)"\s*= \{ role = "([\w-]+)", service_account = "([\w-]+)" \}', text)
    found = yaml.safe_load((ROOT / named[1]).read_text())["identities"]
    assert pods == [
        (one["name"], one["aws"]["principal"].split("/")[-1], one["vault"]["service_accounts"][0])
        for one in found
        if "workers_of" in one
    ]


def test_cloudformation_is_valid() -> None:
    """cfn-lint, which knows AWS's own schemas of resources, has nothing to say."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "cfn-lint"), str(STACK)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


class _Loader(yaml.SafeLoader):
    """With CloudFormation's short forms of functions, which are not looked into."""


_Loader.add_multi_constructor("!", lambda loader, _, node: getattr(node, "value", None))


def test_the_stack_makes_what_the_access_policy_names() -> None:
    """Aliases and roles are the access policy's; keys outlive the stack, and nobody may use them yet."""
    stack: dict[str, Any] = yaml.load(STACK.read_text(), _Loader)  # noqa: S506  # a safe loader with tags
    resources = stack["Resources"].values()

    def of(kind: str) -> list[dict[str, Any]]:
        return [one["Properties"] for one in resources if one["Type"] == f"AWS::{kind}"]

    policy = AccessPolicy.load(str(HELM / "access_policy_irsa.yaml"))
    aliases = {uri.split("/", 3)[3] for own in policy.compartments for uri in own.key_uris}
    assert {one["AliasName"] for one in of("KMS::Alias")} == aliases
    principals = {identity.aws.principal.split("/")[-1] for identity in policy.identities if identity.aws}
    assert {one["RoleName"] for one in of("IAM::Role")} == principals
    compiled = json.loads(compile_policy(policy).files["aws/keys/alias~xcom-risk.json"])["Statement"][0]
    for key in of("KMS::Key"):
        (statement,) = key["KeyPolicy"]["Statement"]
        assert (statement["Sid"], statement["Action"]) == (compiled["Sid"], compiled["Action"])
    for one in resources:
        kept = one["Type"] in ("AWS::KMS::Key", "AWS::S3::Bucket")
        assert (one.get("DeletionPolicy") == "Retain") == kept
