"""Each leaf of a value and whether it is secret, in order; and the shorter way through plain values."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from secure_xcom.core.codecs.plain_json import plain_parts
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from secure_xcom.core.masking.suspects import suspects
from secure_xcom.core.masking.walk import holds_sensitive, leaves, plain_leaves

NAMES = SensitiveNames(DEFAULT_NAMES)
DAY = dt.date(2026, 12, 3)
MOMENT = dt.datetime(2026, 12, 3, 10, 30, tzinfo=dt.timezone.utc)


def every(value: object, *, sensitive: bool = False) -> list[Any]:
    """All leaves; secret ones in a tuple."""
    found = leaves(value, names=NAMES, sensitive=sensitive)
    return [(leaf.value,) if leaf.sensitive else leaf.value for leaf in found]


def secret(value: object, *, sensitive: bool = False) -> list[Any]:
    """The secret leaves."""
    found = list(leaves(value, names=NAMES, sensitive=sensitive, only_sensitive=True))
    assert all(leaf.sensitive for leaf in found)
    return [leaf.value for leaf in found]


def wrapped(classname: str, data: object, **more: object) -> dict[str, object]:
    """An object as Airflow's serialization writes it."""
    return {"__classname__": classname, "__version__": 1, "__data__": data, **more}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("text", ["text"]),
        (b"bytes", [b"bytes"]),
        (bytearray(b"bytes"), [b"bytes"]),
        (7, [7]),
        (1.5, [1.5]),
        ([True, False, None, ...], []),
        ([1, ["a", (2, {3})], frozenset({4})], [1, "a", 2, 3, 4]),
        ({"user": "anna", "password": "sword"}, ["user", "anna", ("sword",)]),
        ({"password": {"a": 1, "value": "b"}}, [("a",), (1,), ("b",)]),
        ({"b": {"tokens": 12, "token": 13}}, ["b", "tokens", 12, "token", (13,)]),
        # Keys that tell nothing are no leaves.
        (
            {"https": "a", "value": "b", "username": "c", "DataFrame": "d", "columns": "e"},
            ["a", "b", "c", "d", "e"],
        ),
        (dict.fromkeys(("Series", "Table", "RecordBatch", "ndarray"), 1), [1] * 4),
        (dict.fromkeys(("index", "attributes", "column_levels"), 1), [1] * 3),
        ({"indexes": 1}, ["indexes", 1]),
        ([["token", "a"], ["user", "b"]], ["token", ("a",), "user", "b"]),
        ([("token", "a")], ["token", ("a",)]),
        ([["token", "a"], ["user"]], ["token", "a", "user"]),
        ({"name": "password", "value": "a", "other": "b"}, ["name", "password", ("a",), "other", "b"]),
        ({"key": "password", "default": "a"}, ["key", "password", "default", ("a",)]),
        # What lies behind a secret is not secret itself.
        ([{"password": "a"}, "b"], [("a",), "b"]),
        ([{"password": ["a", {"x": "b"}]}, {"y": "c"}], [("a",), ("x",), ("b",), "y", "c"]),
    ],
)
def test_leaves_in_order(value: object, found: list[Any]) -> None:
    """With keys, without booleans; and of the secret ones alone the same, without the others."""
    assert every(value) == found
    assert secret(value) == [leaf[0] for leaf in found if isinstance(leaf, tuple)]


def test_a_value_that_is_secret_as_a_whole() -> None:
    """By its key, so every leaf is."""
    assert secret({"a": [1, "b"]}, sensitive=True) == ["a", 1, "b"]
    assert every(["a"], sensitive=True) == [("a",)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"password": "sword"}', ["sword"]),
        ('  [{"a": {"token": "x"}}]  ', ["x"]),
        (b'{"password": "sword"}', ["sword"]),
        ("password=sword-fish", ["sword-fish", "sword-fish"]),
        (b"password=sword-fish", ["sword-fish", "sword-fish"]),
        # Shorter than this no text holds a secret that could be masked.
        ("dsn=abcd", ["abcd", "abcd"]),
        ("dsn=abc", []),
        ('{"dsn":1', []),
    ],
)
def test_what_texts_hold(text: Any, found: list[str]) -> None:
    """JSON is walked, and anything else searched."""
    assert secret([text]) == found
    assert every(text)[0] == text


def test_a_secret_text_is_not_searched_for_others() -> None:
    """JSON in it is walked, because its parts stand in logs by themselves."""
    assert secret({"password": "token=sword-fish"}) == ["token=sword-fish"]
    assert secret({"password": '{"a": "sword-fish"}'}) == ['{"a": "sword-fish"}', "a", "sword-fish"]


def test_texts_within_texts_end() -> None:
    """Four levels of JSON are read, where a number is one; what is deeper is searched as a text."""

    def within(times: int) -> str:
        text = '{"token": 12345678}'
        for _ in range(times):
            text = json.dumps([text])
        return text

    assert [12345678 in secret([within(times)]) for times in range(6)] == [True] * 4 + [False] * 2


def test_of_bytes_the_first_mebibyte_is_searched() -> None:
    """More is a file's content."""
    text = b"password=sword-fish"
    assert secret([b" " * ((1 << 20) - len(text)) + text]) == ["sword-fish"] * 2
    assert secret([b" " * (1 << 20) + text]) == []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (Decimal("12345678.5"), ["12345678.5"]),
        (DAY, ["2026-12-03"]),
        (MOMENT, ["2026-12-03 10:30:00+00:00", "2026-12-03T10:30:00+00:00"]),
        (dt.time(10, 30), ["10:30:00"]),
        (dt.timedelta(days=1), ["1 day, 0:00:00"]),
        (UUID(int=1), ["00000000-0000-0000-0000-000000000001"]),
    ],
)
def test_cells_of_frames_are_told_as_they_are_printed(value: object, found: list[str]) -> None:
    """Where they are secret, each form once."""
    assert secret({"password": value}) == found
    assert every([value]) == []


def test_objects_of_the_serialization() -> None:
    """A class's name may be sensitive, a moment is told in both forms, and packed bytes are in no log."""
    assert secret(wrapped("my.Token", "a")) == ["a"]
    assert every(wrapped("my.Thing", {"password": "a"}, note="b", token="c")) == [
        ("a",),
        "note",
        "b",
        "token",
        ("c",),
    ]
    assert every(wrapped("my.Token", "a", note="b", value="c")) == [("a",), ("note",), ("b",), ("c",)]
    at = {"timestamp": MOMENT.timestamp(), "tz": "UTC"}
    assert every(wrapped("datetime.datetime", at)) == ["2026-12-03T10:30:00+00:00", "2026-12-03 10:30:00+00:00"]
    assert secret({"password": wrapped("datetime.datetime", at)}) == [
        "2026-12-03T10:30:00+00:00", "2026-12-03 10:30:00+00:00",
    ]  # fmt: skip
    assert every(wrapped("pandas.core.frame.DataFrame", "packed", note="b")) == ["note", "b"]
    assert secret(wrapped("builtins.tuple", ["token", "a"])) == []
    assert secret([wrapped("builtins.tuple", ["token", "a"])]) == ["a"]


@pytest.mark.parametrize(
    ("value", "key", "held"),
    [
        ("x", "password", True),
        ({"password": "x"}, "return_value", True),
        ({"user": "password"}, "return_value", False),
        ("password=sword-fish", "return_value", True),
        (1, "tokens", True),
    ],
)
def test_what_holds_something_sensitive(value: object, key: str, held: bool) -> None:
    """By its key, or anywhere in it."""
    assert holds_sensitive(value, names=NAMES, key=key) is held


@pytest.mark.parametrize(
    "value",
    [
        {"password": "a", "b": {"token": ["x", {"y": 1}], "c": "d"}},
        {"password": '{"a": "b"}', "x": [1]},
        {"tokens": 5, "token": 5},
        [["token", "a"], ["user", "b"], "c"],
        [["token", "a"], ["user", "b"]],
        {"rows": [["token", "a"]], "more": {"password": "x"}},
        [{"name": "password", "value": "a", "secret": "b"}, {"name": "user", "value": "c", "token": "d"}],
        ["x", "password=sword-fish", {"deep": ['{"token": "y"}']}],
        {"password": [], "secret": {}, "token": None, "dsn": True},
        "password=sword-fish",
        {"a": "token=sword-fish", "b": "token=sword-fish"},
    ],
)
def test_the_shorter_way_finds_the_same(value: Any) -> None:
    """In the same order, of what may be secret alone."""
    parts = plain_parts(value)
    assert parts is not None
    found = suspects(parts, NAMES)
    assert found is not None
    short = [leaf.value for leaf in plain_leaves(value, found, NAMES)]
    assert short == secret(value)
    assert all(leaf.sensitive for leaf in plain_leaves(value, found, NAMES))
