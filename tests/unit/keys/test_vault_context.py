"""How encryption contexts are laid out for transit, and what policies are made of it."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.core.errors import KeyServiceError
from secure_xcom.keys.vault_context import transit_context, transit_scope
from secure_xcom.ops.service_policies.vault_grants import ROLES, kv_grant, transit_grant

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
CONTEXTS = st.fixed_dictionaries(
    {
        "compartment": TEXT,
        "dag_id": TEXT,
        "task_id": TEXT,
        "run_id": TEXT,
        "map_index": st.integers(-1, 10**6).map(str),
    }
)
CONTEXT = {"compartment": "finance", "dag_id": "invoices", "task_id": "extract", "run_id": "r", "map_index": "-1"}


def _digest(text: str) -> bytes:
    return hashlib.sha384(text.encode()).digest()


def test_the_layout_is_the_one_that_is_written_down() -> None:
    """Four SHA-384 digests in order; whoever reads an old reference needs exactly these bytes."""
    parts = [_digest("finance"), _digest("invoices"), _digest("extract"), _digest("-1\nr")]
    assert transit_context(CONTEXT) == b"".join(parts)
    assert hashlib.sha256(transit_context(CONTEXT)).hexdigest() == (
        "4d626a59e1b9f6e34b1400ac124d9831a82e822c0c65c6cfeaec14d24f50e3db"
    )


@given(CONTEXTS)
def test_each_part_is_64_characters(context: dict[str, str]) -> None:
    """In base64 every part ends at a character's end, so a scope is a prefix of every context in it."""
    encoded = base64.b64encode(transit_context(context)).decode()
    assert len(encoded) == 256
    assert "=" not in encoded
    compartment, dag_id, task_id = context["compartment"], context["dag_id"], context["task_id"]
    assert transit_scope(compartment) == encoded[:64]
    assert transit_scope(compartment, dag_id) == encoded[:128]
    assert transit_scope(compartment, dag_id, task_id) == encoded[:192]


@given(CONTEXTS, CONTEXTS)
def test_two_contexts_have_two_layouts(one: dict[str, str], other: dict[str, str]) -> None:
    """Different contexts never have the same bytes."""
    assert (transit_context(one) == transit_context(other)) == (one == other)


def test_a_run_id_cannot_stand_for_a_map_index() -> None:
    """Map index and run id share a part, and no run id with a line end in it passes for another pair."""
    one = {**CONTEXT, "map_index": "1", "run_id": "2\nr"}
    other = {**CONTEXT, "map_index": "1\n2", "run_id": "r"}
    assert transit_context(one) == transit_context(
        other
    )  # A map index is a number: coordinate refuses the second.
    assert transit_context(one) != transit_context({**CONTEXT, "map_index": "2", "run_id": "r"})


@pytest.mark.parametrize("names", [{}, {"compartment": "x"}, {**CONTEXT, "key": "k"}])
def test_other_names_are_refused(names: dict[str, str]) -> None:
    """A context with a name too many or too few wraps nothing."""
    with pytest.raises(KeyServiceError, match="must have the names"):
        transit_context(names)


@pytest.mark.parametrize("role", ROLES)
def test_no_policy_grants_more_than_update(role: str) -> None:
    """On a key's operations no role holds anything but `update`, scoped or not."""
    for scopes in ([], [transit_scope("finance")]):
        text = transit_grant(role, "team/transit", "xcom", scopes)  # type: ignore[arg-type]
        operations = [block for block in text.split("path ") if "crypt/" in block or "rewrap/" in block]
        assert operations
        for block in operations:
            assert block.count('["update"]') == 1
            assert "create" not in block
            assert ("required_parameters" in block) == bool(scopes)


def test_a_scoped_policy_names_its_scopes() -> None:
    """Several DAGs of a compartment are several prefixes of one list."""
    scopes = [transit_scope("finance", name) for name in ("a", "b")]
    text = transit_grant("reader", "transit", "xcom", scopes)
    assert f'"context" = ["{scopes[0]}*", "{scopes[1]}*"]' in text
    assert 'required_parameters = ["ciphertext", "context"]' in text


def test_a_store_policy_of_a_compartment() -> None:
    """A path below the prefix narrows every line of a store's policy."""
    for role in ROLES:
        for line in kv_grant(role, "kv", "xcom", "finance").splitlines():
            if line.startswith("path "):
                assert "/xcom/finance" in line
