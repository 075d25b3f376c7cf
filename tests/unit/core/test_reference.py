"""The reference: dump and strict parse."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.core.branch_routes import routes_of
from secure_xcom.core.errors import ReferenceMalformed, ReferenceRefused, ReferenceVersionUnknown
from secure_xcom.core.reference import Head, Reference, WrappedKey, is_reference, parse

HEAD = Head(
    dag_id="orders",
    run_id="manual__1",
    task_id="extract",
    map_index="-1",
    key="return_value",
    compartment="default",
    codec="json",
    compression="none",
    created="2026-01-01T00:00:00Z",
    object="file:///sealed/default/orders/manual__1/extract/-1/00000000-0000-7000-8000-000000000000",
)
REFERENCE = Reference(
    HEAD, (WrappedKey("local:///keyring.json", "local:v1:AAAA"),), bytes(56), 72, preview={"a": "int"}
)


def record(**changes: Any) -> dict[str, Any]:
    """The record with fields changed, or deleted by None; ``__`` goes into a field."""
    dumped = copy.deepcopy(REFERENCE.dump())
    for path, value in changes.items():
        *folders, name = path.split("__")
        place: Any = dumped
        for folder in folders:
            place = place[int(folder) if folder.isdigit() else folder]
        if value is None:
            del place[name]
        else:
            place[name] = value
    return dumped


def test_dump_and_parse() -> None:
    """A dumped reference parses to the same one, but for the preview, which is never read back."""
    parsed = parse(REFERENCE.dump())
    assert parsed.dump() == {name: value for name, value in REFERENCE.dump().items() if name != "preview"}
    assert parsed.preview is None


def test_what_the_scheduler_reads_stands_beside_the_value() -> None:
    """A branching task's XCom shows the tasks' ids as Airflow's scheduler looks for them; others show nothing."""
    chosen = {"followed": ["one", "two"]}
    assert routes_of("skipmixin_key", chosen) == chosen
    assert routes_of("return_value", chosen) is None
    for other in (
        {},
        ["followed"],
        {"followed": "one"},
        {"followed": [1]},
        {"followed": [""]},
        {"followed": ["x" * 251]},
        {"followed": ["one"], "more": ["two"]},
    ):
        assert routes_of("skipmixin_key", other) is None
    branching = replace(REFERENCE, head=replace(HEAD, key="skipmixin_key"), routes=chosen)
    assert branching.dump()["followed"] == ["one", "two"]
    assert parse(branching.dump()).routes is None


@pytest.mark.parametrize("ids", ["one", [""], [1], ["x" * 251], {"one": 1}])
def test_what_the_scheduler_reads_is_parsed_strictly(ids: object) -> None:
    """Only lists of ids are taken, and only of a branching task's XCom."""
    with pytest.raises(ReferenceMalformed, match="skipped"):
        parse(record(head__key="skipmixin_key", skipped=ids))
    with pytest.raises(ReferenceMalformed, match="skipped"):
        parse(record(skipped=["one"]))


def test_the_head_is_canonical_json() -> None:
    """The context of the seal is RFC 8785: sorted names, no spaces, strings only."""
    canonical = HEAD.canonical()
    assert canonical.startswith(b'{"codec":"json","compartment":"default"')
    assert b": " not in canonical
    assert b"null" not in canonical


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"secure_xcom": 2}, ReferenceVersionUnknown),
        ({"secure_xcom": "1"}, ReferenceMalformed),
        ({"secure_xcom": True}, ReferenceMalformed),
        ({"extra": 1}, ReferenceMalformed),
        ({"head": "text"}, ReferenceMalformed),
        ({"head__codec": None}, ReferenceMalformed),
        ({"head__codec": "JSON"}, ReferenceMalformed),
        ({"head__codec": 7}, ReferenceMalformed),
        ({"head__unknown": "x"}, ReferenceMalformed),
        ({"head__map_index": "01"}, ReferenceMalformed),
        ({"head__map_index": "-2"}, ReferenceMalformed),
        ({"head__dag_id": ""}, ReferenceMalformed),
        ({"head__dag_id": "d" * 251}, ReferenceMalformed),
        ({"head__dag_id": "\ud800"}, ReferenceMalformed),
        ({"head__created": "2026-01-01 00:00:00"}, ReferenceMalformed),
        ({"head__expires": "soon"}, ReferenceMalformed),
        ({"head__expires": "2026-02-30T00:00:00Z"}, ReferenceMalformed),
        ({"head__created": "0000-01-01T00:00:00Z"}, ReferenceMalformed),
        ({"head__created": "2026-01-01T24:00:00Z"}, ReferenceMalformed),
        ({"head__object": None}, ReferenceMalformed),
        ({"payload": "AAAA"}, ReferenceMalformed),
        ({"keys": []}, ReferenceMalformed),
        ({"keys": [{"uri": "local:///k", "wrapped": "w"}] * 9}, ReferenceMalformed),
        ({"keys__0__wrapped": "w" * 4097}, ReferenceMalformed),
        ({"keys__0__more": "x"}, ReferenceMalformed),
        ({"seal__size": 71}, ReferenceMalformed),
        ({"seal__size": True}, ReferenceMalformed),
        ({"seal__size": 1 << 53}, ReferenceMalformed),
        ({"seal__header": "AAAA"}, ReferenceMalformed),
        ({"seal__header": "!" * 76}, ReferenceMalformed),
    ],
)
def test_strict(change: dict[str, Any], error: type[ReferenceRefused]) -> None:
    """Unknown, missing, over-long and non-canonical fields are refused."""
    with pytest.raises(error):
        parse(record(**change))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    )
)
def test_anything_else_is_refused(value: Any) -> None:
    """Whatever carries the tag but is not a reference is refused with an error of our tree."""
    if isinstance(value, dict):
        value = {"secure_xcom": 1, **value}
        assert is_reference(value)
    else:
        assert not is_reference(value)
    with pytest.raises(ReferenceRefused):
        parse(value)


def test_no_key_in_the_repr() -> None:
    """Neither wrapped keys nor payloads are printed with a reference."""
    secret = Reference(HEAD, (WrappedKey("local:///k", "WRAPPED"),), b"HEADER", 72, b"PAYLOAD", preview="PREVIEW")
    for word in ("WRAPPED", "HEADER", "PAYLOAD", "PREVIEW"):
        assert word not in repr(secret)
