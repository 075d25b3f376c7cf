"""The search mark: a pull of a value in which its push found no secret does not look again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs, Encoded, search_mark
from secure_xcom.core.codecs.search_mark import MARK_BYTES
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import ValueTooLarge
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from secure_xcom.core.masking.suspects import suspects
from secure_xcom.core.pipeline import decode_and_mask
from tests.support.world import World, coordinate, own_task

ROWS: list[Any] = [{"id": number, "customer_code": f"code-{number:08}", "at": "12:30"} for number in range(100)]
SECRET = [*ROWS, {"password": "hunter2-hunter2"}]
NAMES = SensitiveNames(DEFAULT_NAMES)


def objects(structure: Any) -> Any:
    """Stands for Airflow's deserialization: it would make an object of this."""
    raise AssertionError(f"rebuilt: {structure!r:.40}")


def encoded(value: object) -> bytes:
    """The bytes of a value without a mark."""
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is searched for secrets."""
    found: list[object] = []
    search = suspects

    def noted(parts: Any, names: SensitiveNames) -> object:
        if parts.dicts or parts.texts:
            found.append(parts)
        return search(parts, names)

    monkeypatch.setattr(decode_and_mask, "suspects", noted)
    return found


def test_what_was_searched_is_not_searched_again(searches: list[object]) -> None:
    """A clean value of some size is searched by its push only, and comes back the same."""
    world = World()
    reference = world.push(ROWS)
    assert len(searches) == 1
    assert world.pull(reference) == ROWS
    assert (len(searches), world.masked) == (1, [])


@pytest.mark.parametrize("value", [SECRET, ROWS[:3], [("a", 1)] * 900, "x" * 5000], ids=repr)
def test_other_values_are_searched_by_pulls_too(value: Any, searches: list[object]) -> None:
    """A value with a secret, a small one, one that Airflow serializes; and a long text comes back as it was."""
    world = World()
    assert world.pull(world.push(value)) in (value, [list(pair) for pair in value])
    assert set(world.masked) <= {"hunter2-hunter2"}
    if value is SECRET:
        assert len(searches) == 2
        assert len(world.masked) == 2


@pytest.mark.parametrize(
    "names",
    [
        SensitiveNames({"password", "token", "customer_code"}),
        SensitiveNames({"password", "token"}, listed={"customer_code"}),
    ],
    ids=["names", "listed"],
)
def test_other_names_find_what_the_push_did_not(names: SensitiveNames) -> None:
    """A value that was pushed before a name became sensitive is searched by its pulls."""
    world = World()
    reference = world.push(ROWS)
    world.names = names
    world.pull(reference)
    assert set(world.masked) == {row["customer_code"] for row in ROWS}


def test_a_name_that_is_no_longer_excepted_is_found() -> None:
    """The names that a deployment excepts belong to what was looked for."""
    world = World(names=SensitiveNames({"code"}, not_sensitive=["customer_*"]))
    reference = world.push(ROWS)
    assert world.masked == []
    world.names = SensitiveNames({"code"})
    world.pull(reference)
    assert set(world.masked) == {row["customer_code"] for row in ROWS}


def test_all_strings_are_registered_whatever_the_mark_says() -> None:
    """With ``mask_values = all`` a pull registers every string of a value that has a mark."""
    world = World()
    reference = world.push(ROWS)
    world.settings = Settings(mask_values="all")
    world.pull(reference)
    assert {row["customer_code"] for row in ROWS} <= set(world.masked)


def test_a_sensitive_key_hides_all_of_a_value_with_a_mark() -> None:
    """The XCom's own key is no part of what the mark tells."""
    world = World()
    reference = world.push(ROWS, coordinate(key="password"))
    world.masked.clear()
    world.pull(reference)
    assert {row["customer_code"] for row in ROWS} <= set(world.masked)


@pytest.mark.parametrize("room", [0, 1, MARK_BYTES - 1, MARK_BYTES])
@pytest.mark.parametrize("of", ["deployment", "compartment"])
def test_the_limit_is_of_the_value(room: int, of: str) -> None:
    """A value that is as large as is allowed can be pushed and pulled; one byte more is refused."""
    limit = len(encoded(ROWS)) + room
    world = World(settings=Settings(max_bytes=limit if of == "deployment" else limit + 1000))
    if of == "compartment":
        only = {"name": "all", "key_uris": ["memory-key://one"], "store_uri": world.store.uri, "max_bytes": limit}
        file = {"version": 1, "defaults": {"compartment": "all"}, "compartments": [only]}
        world.policy = AccessPolicy.parse(json.dumps(file).encode(), where="policy.yaml")
        world.pipeline = world.process()
    assert world.pull(world.push(ROWS), consumer=own_task(coordinate())) == ROWS
    with pytest.raises(ValueTooLarge):
        world.push([*ROWS, "x" * room])


def test_a_mark_that_just_fits_is_made() -> None:
    """One byte less of room, and there is none."""
    whole = Encoded("json", (encoded(ROWS),), ROWS)
    assert search_mark.marked(whole, NAMES, whole.size + MARK_BYTES).size == whole.size + MARK_BYTES
    assert search_mark.marked(whole, NAMES, whole.size + MARK_BYTES - 1) == whole


def test_what_a_hostile_pusher_marks_is_no_object() -> None:
    """A mark says that a value is plain: what carries it is never rebuilt as an object, whatever it holds."""
    value = {"__classname__": "os.system", "__data__": "true"}
    data = encoded(value) + search_mark.search_mark(NAMES)
    assert Codecs(objects, objects).with_names(NAMES).decode("json", data, max_bytes=1000).value == value


@pytest.mark.parametrize("behind", [b" ", b"\n", b" " * MARK_BYTES, b"\t\n\r " * 8])
def test_other_white_space_says_nothing(behind: bytes) -> None:
    """JSON that some other writer ended with white space is searched, and rebuilt where it has to be."""
    codecs = Codecs(objects, objects).with_names(NAMES)
    parts = codecs.decode("json", encoded(SECRET) + behind, max_bytes=1 << 20).parts
    assert parts is not None
    assert "password" in parts.names
    with pytest.raises(Exception, match="AssertionError while it was rebuilt"):
        codecs.decode("json", encoded({"__classname__": "x.Y"}) + behind, max_bytes=1000)


def test_a_reader_without_names_ignores_marks() -> None:
    """Jobs and tools that mask nothing read a value with a mark as any other."""
    data = encoded(ROWS) + search_mark.search_mark(NAMES)
    assert Codecs(objects, objects).decode("json", data, max_bytes=1 << 20).value == ROWS


@given(
    st.lists(
        st.sets(st.text(st.characters(codec="ascii"), min_size=1), min_size=1),
        min_size=2,
        max_size=2,
        unique_by=frozenset,
    )
)
def test_marks_of_different_names_differ(both: list[set[str]]) -> None:
    """A mark stands for exactly the names, the names that are listed, and the exceptions."""
    first, second = both
    marks = [
        search_mark.search_mark(names)
        for names in (
            SensitiveNames(DEFAULT_NAMES, not_sensitive=sorted(first)),
            SensitiveNames(DEFAULT_NAMES, not_sensitive=sorted(second)),
            NAMES,
        )
    ]
    assert len(set(marks)) == len(marks)
    assert all(len(mark) == MARK_BYTES and not mark.strip(b" \t\n\r") for mark in marks)


def test_the_mark_is_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark of some names is stored here, since values keep it; other rules have another one."""
    names = SensitiveNames({"password", "token"})
    assert (
        search_mark.search_mark(names).translate(bytes.maketrans(b" \t\n\r", b"0123"))
        == b"00012231023131211231213010021031"
    )
    monkeypatch.setattr(search_mark, "RULES", search_mark.RULES + 1)
    again = SensitiveNames({"password", "token"})
    assert search_mark.search_mark(again) != search_mark.search_mark(names)
