"""The examples and templates in `policies/`: each example is read, linted and compiled as its comment says."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies import vault_grants
from secure_xcom.ops.service_policies.compile.all_services import compile_policy, write
from secure_xcom.ops.service_policies.lint.access_policy import lint
from secure_xcom.ops.service_policies.lint.documents import lint_documents

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "policies"
EXAMPLES = sorted((FOLDER / "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_what_its_comment_says(example: Path, tmp_path: Path) -> None:
    """It loads, lint says what the comment names and nothing else, and what is compiled is clean."""
    said = re.search(r"^# lint says: ([a-z, -]+)\.$", example.read_text(), re.MULTILINE)
    assert said
    expected = set() if said[1] == "nothing" else set(said[1].split(", "))
    assert {remark.rule for remark in lint(example.read_bytes(), where=example.name)} == expected
    made = compile_policy(AccessPolicy.load(str(example)))
    assert made.notes == []
    assert len(made.files) > len(AccessPolicy.load(str(example)).identities)
    write(made, tmp_path / "out")
    assert list(lint_documents(tmp_path / "out")) == []


def test_there_is_an_example_for_each_common_set_up() -> None:
    """The set-ups that people come with have an example each, and add-a-team.md leads to all of them."""
    names = {path.name for path in EXAMPLES}
    assert {
        "celery-queues.yaml",
        "kubernetes-service-accounts.yaml",
        "one-shared-worker.yaml",
        "aws-only.yaml",
        "vault-and-any-s3.yaml",
        "secrets-to-vault-kv.yaml",
    } <= names
    for text in ((ROOT / "docs/how-to/add-a-team.md").read_text(), (FOLDER / "README.md").read_text()):
        assert set(re.findall(r"[a-z0-9-]+\.yaml", text)) >= names


def test_the_templates_are_those_of_the_package() -> None:
    """`policies/templates` is the folder that policies are made from, and it is in the wheel."""
    assert (FOLDER / "templates").resolve() == vault_grants.TEMPLATES.resolve()


def test_the_wheel_brings_the_templates_and_the_schema(tmp_path: Path) -> None:
    """What is read at run time beside the code is in the wheel that is built from here."""
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    read = {
        *vault_grants.TEMPLATES.glob("*.hcl"),
        ROOT / "secure_xcom/core/access_policy/access_policy.schema.json",
    }
    assert len(read) > 2
    assert {path.relative_to(ROOT).as_posix() for path in read} <= names


def test_every_block_of_the_templates_is_used() -> None:
    """No block of a template is lost on the way into a policy, and each one has a reason above it."""
    for name in ("transit", "kv"):
        text = (vault_grants.TEMPLATES / f"{name}.hcl").read_text()
        blocks = re.findall(r"^path .*\n(?:  .*\n)+\}$", text, re.MULTILINE)
        reasons = re.findall(r"^# .*\npath ", text, re.MULTILINE)
        assert len(blocks) == len(reasons) == text.count("\npath ")
    scope = "A" * 64
    made = [
        vault_grants.transit_grant(role, "MOUNT", "KEY", scopes)
        for role in vault_grants.ROLES
        for scopes in ((), (scope,))
    ]
    roles: tuple[vault_grants.KvRole, ...] = (*vault_grants.ROLES, "claimant")
    made += [vault_grants.kv_grant(role, "MOUNT", "PREFIX") for role in roles]
    written = "".join(made)
    for name, filled in (("transit", {"key": "KEY", "contexts": f'"{scope}*"'}), ("kv", {"path": "PREFIX"})):
        text = (vault_grants.TEMPLATES / f"{name}.hcl").read_text()
        for variable, value in {"mount": "MOUNT", **filled}.items():
            text = text.replace("${" + variable + "}", value)
        for block in re.findall(r"^# .*\npath .*\n(?:  .*\n)+\}\n", text, re.MULTILINE):
            assert block in written
    assert "$" not in written
