"""The reference: dump and strict parse."""

from __future__ import annotations

import base64
import copy
from dataclasses import FrozenInstanceError, fields, replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.core.attempt import Attempt
from secure_xcom.core.branch_routes import routes_of
from secure_xcom.core.errors import ReferenceMalformed, ReferenceRefused, ReferenceVersionUnknown
from secure_xcom.core.reference import (
    HEAD_OPTIONAL,
    HEAD_REQUIRED,
    TIME_FORMAT,
    Head,
    Reference,
    WrappedKey,
    is_reference,
    is_time,
    parse,
)

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


def test_an_inline_payload_stands_in_the_record() -> None:
    """As base64, in place of an object, and it is read back as it was."""
    inline = replace(REFERENCE, head=replace(HEAD, object=None), payload=bytes(range(72)), preview=None)
    assert base64.b64decode(inline.dump()["payload"]) == bytes(range(72))
    assert parse(inline.dump()) == inline


def test_a_preview_is_put_beside_the_rest() -> None:
    """Nothing else changes, and the reference without it stays as it was."""
    bare = parse(REFERENCE.dump())
    assert bare.with_preview({"a": "int"}) == REFERENCE
    assert bare.preview is None


@pytest.mark.parametrize("index", ["-1", "0", "7", "10", "1234567890"])
def test_the_index_of_a_mapped_task_is_read(index: str) -> None:
    """Minus one for a task that is not mapped, and otherwise a number without leading zeros."""
    assert parse(record(head__map_index=index)).head.coordinate.map_index == int(index)


def test_a_time_is_written_as_it_is_read() -> None:
    """RFC 3339, in UTC and whole seconds; anything else is none."""
    assert datetime(2028, 2, 29, 23, 59, 59, tzinfo=timezone.utc).strftime(TIME_FORMAT) == "2028-02-29T23:59:59Z"
    assert is_time("2028-02-29T23:59:59Z") is True
    for other in ("2028-02-30T00:00:00Z", "2028-02-29T23:59:59", "2028-02-29T23:59:59+00:00", ""):
        assert is_time(other) is False


def test_what_the_scheduler_reads_stands_beside_the_value() -> None:
    """A branching task's XCom shows the tasks' ids as Airflow's scheduler looks for them; others show nothing."""
    chosen = {"followed": ["one", "two"]}
    assert routes_of("skipmixin_key", chosen) == chosen
    assert routes_of("skipmixin_key", {"skipped": ["three"]}) == {"skipped": ["three"]}
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


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"secure_xcom": "1"}, "secure_xcom"),
        ({"secure_xcom": 2}, "secure_xcom"),
        ({"extra": 1}, "the record"),
        ({"head": "text"}, "head"),
        ({"head__codec": None}, "head"),
        ({"head__more": "x"}, "head"),
        ({"head__codec": "JSON"}, "head.codec"),
        ({"head__compression": "ZSTD"}, "head.compression"),
        ({"head__dag_id": ""}, "head.dag_id"),
        ({"head__dag_id": "\ud800"}, "head.dag_id"),
        ({"head__dag_id": "d" * 4097}, "head.dag_id"),
        ({"head__dag_id": "d" * 251}, "head"),
        ({"head__exclusive": "store", "head__object": None, "payload": "AAAA"}, "head.object"),
        ({"keys": {}}, "keys"),
        ({"keys": []}, "keys"),
        ({"keys": ["text"]}, "keys[0]"),
        ({"keys__0__wrapped": None}, "keys[0]"),
        ({"keys__0__more": "x"}, "keys[0]"),
        ({"keys__0__uri": 7}, "keys[0].uri"),
        ({"keys__0__wrapped": ""}, "keys[0].wrapped"),
        ({"seal": 1}, "seal"),
        ({"seal__size": None}, "seal"),
        ({"seal__more": 1}, "seal"),
        ({"seal__size": 71}, "seal.size"),
        ({"seal__header": 7}, "seal.header"),
        ({"seal__header": "AAAA"}, "seal.header"),
        ({"seal__header": "!" * 76}, "seal.header"),
        ({"seal__header": REFERENCE.dump()["seal"]["header"][:-2] + "B="}, "seal.header"),
        ({"head__object": None, "payload": "!"}, "payload"),
    ],
)
def test_an_error_names_the_field(change: dict[str, Any], where: str) -> None:
    """Whoever looks at a damaged row is told which field it is, and never what it holds."""
    with pytest.raises(ReferenceRefused) as refused:
        parse(record(**change))
    assert refused.value.where == where


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


def shredded_record(**changes: Any) -> dict[str, Any]:
    """The record of a shredded XCom, with some fields changed."""
    exclusive = replace(REFERENCE, head=replace(HEAD, exclusive="store"))
    return {**exclusive.without_keys("2026-01-02T00:00:00Z").dump(), **changes}


def test_a_shredded_reference_keeps_its_head_and_no_key() -> None:
    """It is written and read back with the time of its end, and has nothing that opens it."""
    parsed = parse(shredded_record())
    assert (parsed.shredded, parsed.keys, parsed.payload) == ("2026-01-02T00:00:00Z", (), None)
    assert parsed.dump() == shredded_record()
    assert (parsed.head.exclusive, parsed.header, parsed.size) == ("store", bytes(56), 72)


@pytest.mark.parametrize(
    "changes",
    [
        {"shredded": "soon"},
        {"shredded": 7},
        {"shredded": ""},
        {"keys": [{"uri": "local:///k", "wrapped": "w"}]},
        {"head": HEAD.dump()},
        {"payload": "AAAA"},
        {"seal": {"size": 72}},
    ],
    ids=str,
)
def test_a_shredded_reference_is_parsed_strictly(changes: dict[str, Any]) -> None:
    """Only an exclusive XCom is shredded, at a time, and then has neither keys nor a payload."""
    with pytest.raises(ReferenceMalformed):
        parse(shredded_record(**changes))


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"shredded": "soon"}, "shredded"),
        ({"shredded": 7}, "shredded"),
        ({"keys": [{"uri": "local:///k", "wrapped": "w"}]}, "shredded"),
        ({"head": HEAD.dump()}, "shredded"),
        ({"payload": "AAAA"}, "the record"),
        ({"head": 1}, "head"),
        ({"seal": 1}, "seal"),
    ],
    ids=str,
)
def test_an_error_of_a_shredded_reference_names_the_field(changes: dict[str, Any], where: str) -> None:
    """As that of any other."""
    with pytest.raises(ReferenceMalformed) as refused:
        parse(shredded_record(**changes))
    assert refused.value.where == where


ATTEMPT = {
    "attempt": "019be2a1-0000-7000-8000-000000000001",
    "region": "019be2a1-0000-7000-8000-0000000000f0",
    "region_index": "7",
    "iteration": "10",
}


def test_the_attempt_of_a_head() -> None:
    """What a head says of its attempt is read, and a head that says nothing has none."""
    head = parse(record(**{f"head__{name}": text for name, text in ATTEMPT.items()})).head
    assert head.coordinate.attempt == Attempt(ATTEMPT["attempt"], ATTEMPT["region"], 7, 10)
    assert head.dump() == {**HEAD.dump(), **ATTEMPT}
    assert HEAD.coordinate.attempt is None
    assert parse(record(head__iteration="0")).head.coordinate.attempt == Attempt(iteration=0)
    assert parse(record(head__attempt=ATTEMPT["attempt"])).head.coordinate.attempt == Attempt(ATTEMPT["attempt"])


@pytest.mark.parametrize("name", ["region_index", "iteration"])
@pytest.mark.parametrize("text", ["01", "-1", "+1", "1 ", "12345678901", "2147483648"])
def test_an_index_is_parsed_strictly(name: str, text: str) -> None:
    """Only the canonical form of a number that Airflow's columns hold is taken."""
    with pytest.raises(ReferenceMalformed):
        parse(record(**{f"head__{field}": known for field, known in {**ATTEMPT, name: text}.items()}))


def test_only_an_object_is_exclusive() -> None:
    """A claim is on an object; the payload of an exclusive XCom never lies in the row."""
    for ledger in ("store", "database"):
        assert parse(record(head__exclusive=ledger)).head.exclusive == ledger
        with pytest.raises(ReferenceMalformed, match="never inline"):
            parse(record(head__exclusive=ledger, head__object=None, payload="AAAA"))


@pytest.mark.parametrize("changes", [{"payload": "AAAA"}, {"head__object": None}])
def test_a_payload_is_in_one_place(changes: dict[str, Any]) -> None:
    """Both places or none are refused, and the error names the field."""
    with pytest.raises(ReferenceMalformed, match="either inline or an object") as refused:
        parse(record(**changes))
    assert refused.value.where == "payload"


def test_the_limits_themselves_are_accepted() -> None:
    """Each limit of the format is the largest that is read, and one more is refused."""
    # C2SP chunked-encryption: at most 2**52 - 1 bytes, in 2**38 chunks with a tag of 16 bytes each.
    largest = 56 + 4_503_599_627_370_495 + 4_398_046_511_104
    key = {"uri": "local:///k", "wrapped": "w"}
    payload = {"head__object": None, "payload": "A" * 93_332}
    for accepted, refused in (
        ({"seal__size": largest}, {"seal__size": largest + 1}),
        ({"keys__0__uri": "u" * 512}, {"keys__0__uri": "u" * 513}),
        ({"keys__0__wrapped": "w" * 4096}, {"keys__0__wrapped": "w" * 4097}),
        ({"keys": [key] * 8}, {"keys": [key] * 9}),
        (payload, {**payload, "payload": "A" * 93_336}),
    ):
        parse(record(**accepted))
        with pytest.raises(ReferenceMalformed):
            parse(record(**refused))


@pytest.mark.parametrize("changes", [{"seal__size": "80"}, {"seal__size": 80.0}, {"seal__more": 1}])
def test_a_seal_is_parsed_strictly(changes: dict[str, Any]) -> None:
    """A size is a whole number, and a seal has no other fields."""
    with pytest.raises(ReferenceMalformed):
        parse(record(**changes))


def test_an_unknown_version_is_named_if_it_can_be_printed() -> None:
    """A person learns which release wrote it; a number of many digits is not printed."""
    with pytest.raises(ReferenceVersionUnknown, match="is of version 2, this release reads 1"):
        parse(record(secure_xcom=2))
    with pytest.raises(ReferenceVersionUnknown, match=f"is of version {2**64 - 1}, this release reads 1"):
        parse(record(secure_xcom=2**64 - 1))
    for number in (2**64, 10**5000):
        with pytest.raises(ReferenceVersionUnknown, match="is of version of many digits"):
            parse(record(secure_xcom=number))


def test_each_field_of_a_head_is_required_or_optional() -> None:
    """What a head without it cannot be sealed for is required: those that a `Head` has to be made with."""
    optional = {each.name for each in fields(Head) if each.default is None}
    assert set(HEAD_OPTIONAL) == optional
    assert set(HEAD_REQUIRED) == {each.name for each in fields(Head)} - optional


def test_nothing_in_a_reference_changes() -> None:
    """What was parsed and checked stays as it was."""
    for part, name in ((HEAD, "object"), (REFERENCE, "size"), (REFERENCE.keys[0], "uri")):
        with pytest.raises(FrozenInstanceError):
            setattr(part, name, "other")
