"""Conditions for Google and Azure, by evaluation: what they let through is what the access policy says.

Neither cloud can be had here, and no emulator heeds these conditions. What is evaluated is their documented
language, as far as it is used: an attribute that a request does not have makes its test false.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.compile.all_services import compile_policy

BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
POLICY = """
version: 1
compartments:
  - name: one
    dags: ["one_*"]
    key_uris: ["vault://v/transit/keys/one"]
    store_uri: abfs://z@box/xcom?account=acct
    former_store_uris: ["gs://g@bucket/xcom"]
    readers: [{compartment: two, of_dags: [one_a]}]
  - name: two
    dags: ["two_*"]
    key_uris: ["vault://v/transit/keys/two"]
    store_uri: abfs://z@box/xcom?account=acct
    former_store_uris: ["gs://g@bucket/xcom"]
identities:
  - name: two-worker
    workers_of: [two]
    google: {member: "user:two@x.example"}
    azure: {principal_id: "11111111-2222-3333-4444-555555555555"}
  - name: caretaker
    grants: [{compartment: one, as: maintenance}, {compartment: two, as: maintenance}]
    google: {member: "user:care@x.example"}
    azure: {principal_id: "11111111-2222-3333-4444-777777777777"}
"""
FILES = compile_policy(AccessPolicy.parse(POLICY.encode(), where="policy.yaml")).files
ASSIGNMENTS = json.loads(FILES["azure/box.assignments.json"])
BINDINGS = json.loads(FILES["google/bucket.bindings.json"])
TWO, CARE = "11111111-2222-3333-4444-555555555555", "11111111-2222-3333-4444-777777777777"


def _truth(expression: str) -> bool:
    """An expression of True, False, and, or, not and brackets."""
    assert re.fullmatch(r"(?:True|False|and|or|not|[() ])+", expression)
    return bool(eval(expression))  # noqa: S307 - nothing but the words above is in it


def holds(condition: str, action: str, *, path: str | None = None, listed: str | None = None) -> bool:
    """Whether Azure's condition holds for a request: of a blob's path, or a listing below a prefix."""
    text = re.sub(r"SubOperationMatches\{'Blob\.List'\}", str(listed is not None), condition)
    text = re.sub(r"ActionMatches\{'([^']+)'\}", lambda found: str(found[1] == f"{BLOBS}/{action}"), text)
    for attribute, value in (("@Resource", path), ("@Request", listed)):
        name = "path" if attribute == "@Resource" else "prefix"
        text = re.sub(
            rf"{attribute}\[{BLOBS}:{name}\] StringStartsWith '([^']+)'",
            lambda found, value=value: str(value is not None and value.startswith(found[1])),  # type: ignore[misc]
            text,
        )
    return _truth(text.replace("!", " not ").replace("AND", "and").replace("OR", "or").replace("NOT", "not"))


def azure(principal: str, action: str, **request: str) -> bool:
    """Whether any of a principal's assignments allows a request."""
    roles = {
        one["roleName"]: one["permissions"][0]["dataActions"] for one in json.loads(FILES["azure/roles.json"])
    }
    mine = [one for one in ASSIGNMENTS if one["principalId"] == principal]
    return any(
        f"{BLOBS}/{action}" in roles[one["roleName"]] and holds(one["condition"], action, **request)
        for one in mine
    )


@pytest.mark.parametrize(
    ("principal", "action", "path", "expected"),
    [
        (TWO, "read", "xcom/two/two_x/r/t/-1/o", True),
        (TWO, "write", "xcom/two/two_x/r/t/-1/o", True),
        (TWO, "add/action", "xcom/two/two_x/r/t/-1/o", True),
        (TWO, "read", "xcom/one/one_a/r/t/-1/o", True),
        (TWO, "read", "xcom/one/one_ab/r/t/-1/o", False),
        (TWO, "write", "xcom/one/one_a/r/t/-1/o", False),
        (TWO, "add/action", "xcom/one/one_a/r/t/-1/o", False),
        (TWO, "delete", "xcom/two/two_x/r/t/-1/o", False),
        (TWO, "read", "xcom/two2/o", False),
        (TWO, "read", "elsewhere/xcom/two/o", False),
        (CARE, "delete", "xcom/one/one_a/r/t/-1/o", True),
        (CARE, "delete", "xcom/two/two_a/r/t/-1/o", True),
        (CARE, "delete", "xcom/three/o", False),
        (CARE, "read", "xcom/one/one_a/r/t/-1/o", False),
        (CARE, "write", "xcom/one/one_a/r/t/-1/o", False),
    ],
)
def test_azure_allows_what_the_policy_says(principal: str, action: str, path: str, expected: bool) -> None:
    """Each blob operation is allowed below the prefixes of the principal's rights, and nowhere else."""
    assert azure(principal, action, path=path) is expected


@pytest.mark.parametrize(
    ("principal", "prefix", "expected"),
    [(CARE, "xcom/one/", True), (CARE, "xcom/two/two_a/", True), (CARE, "xcom/", False), (CARE, "", False),
     (TWO, "xcom/two/", False), (TWO, "", False)],
)  # fmt: skip
def test_azure_lets_maintenance_alone_list(principal: str, prefix: str, expected: bool) -> None:
    """Names are listed by maintenance below its compartments; a reader lists none."""
    assert azure(principal, "read", listed=prefix) is expected


def test_azure_has_one_assignment_for_each_scope_role_and_principal() -> None:
    """A second one would be refused as RoleAssignmentExists, and a compartment would go without."""
    keys = [(one["scope"], one["roleName"], one["principalId"]) for one in ASSIGNMENTS]
    assert len(keys) == len(set(keys)) == 3
    assert next(one for one in ASSIGNMENTS if one["principalId"] == CARE)["description"].endswith(
        "caretaker in two"
    )


@given(st.text("ab/", max_size=12))
def test_azure_reads_nothing_outside_its_prefixes(tail: str) -> None:
    """No path outside the prefixes is read, whatever follows."""
    path = f"xcom/{tail}"
    assert azure(TWO, "read", path=path) is path.startswith(("xcom/two/", "xcom/one/one_a/"))


def google(member: str, permission: str, resource: str) -> bool:
    """Whether any binding of a member allows a permission on a resource of Cloud Storage."""
    roles = json.loads(FILES["google/roles.json"])

    def true(binding: dict[str, Any]) -> bool:
        text = binding["condition"]["expression"]
        text = re.sub(r'resource\.name\.startsWith\("([^"]+)"\)', lambda f: str(resource.startswith(f[1])), text)
        text = re.sub(r'resource\.name == "([^"]+)"', lambda found: str(resource == found[1]), text)
        return _truth(text.replace("||", "or"))

    return any(
        f"user:{member}@x.example" in one["members"]
        and permission in roles[one["role"].rpartition("/")[2]]["includedPermissions"]
        and true(one)
        for one in BINDINGS
    )


OBJECTS = "projects/_/buckets/bucket/objects"


@pytest.mark.parametrize(
    ("member", "permission", "resource", "expected"),
    [
        ("two", "storage.objects.get", f"{OBJECTS}/xcom/two/two_x/o", True),
        ("two", "storage.objects.get", f"{OBJECTS}/xcom/one/one_a/o", True),
        ("two", "storage.objects.get", f"{OBJECTS}/xcom/one/one_b/o", False),
        ("two", "storage.objects.delete", f"{OBJECTS}/xcom/two/two_x/o", False),
        ("two", "storage.objects.list", "projects/_/buckets/bucket", False),
        # A former store is no longer written to.
        ("two", "storage.objects.create", f"{OBJECTS}/xcom/two/two_x/o", False),
        ("care", "storage.objects.delete", f"{OBJECTS}/xcom/one/one_a/o", True),
        ("care", "storage.objects.delete", f"{OBJECTS}/xcom/three/o", False),
        ("care", "storage.objects.get", f"{OBJECTS}/xcom/one/one_a/o", False),
        ("care", "storage.objects.list", "projects/_/buckets/bucket", True),
        ("care", "storage.objects.list", "projects/_/buckets/other", False),
    ],
)
def test_google_allows_what_the_policy_says(member: str, permission: str, resource: str, expected: bool) -> None:
    """Each permission holds below the prefixes of the member's rights; listing is of the bucket as a whole."""
    assert google(member, permission, resource) is expected


def test_google_takes_the_conditions() -> None:
    """Titles, numbers of operators and the roles' form are within what Google documents."""
    many = POLICY.replace("of_dags: [one_a]", f"of_dags: [{', '.join(f'one_{n}' for n in range(45))}]")
    files = compile_policy(AccessPolicy.parse(many.encode(), where="p")).files
    bindings = json.loads(files["google/bucket.bindings.json"])
    assert max(one["condition"]["expression"].count("||") for one in bindings) == 9
    assert all(0 < len(one["condition"]["title"]) <= 100 for one in bindings)
    for name, role in json.loads(files["google/roles.json"]).items():
        assert re.fullmatch(r"[A-Za-z0-9_.]{3,64}", name)
        assert {"title", "description", "stage", "includedPermissions"} == set(role)


def test_the_evaluation_notices_a_weakened_condition() -> None:
    """The evaluator is not one that says yes: each clause left out of Azure's conditions opens something."""
    for one in ASSIGNMENTS:
        clauses = one["condition"].split(") AND (")
        assert len(clauses) > 1
    read = next(one for one in ASSIGNMENTS if one["principalId"] == TWO and one["roleName"].endswith("pull"))
    without_list = read["condition"].rpartition(" AND (!(")[0]
    assert holds(without_list, "read", listed="")
    assert not holds(read["condition"], "read", listed="")
    opened = re.sub(r"StringStartsWith '[^']+'", "StringStartsWith 'x'", read["condition"])
    assert holds(opened, "read", path="xcom/three/o")
