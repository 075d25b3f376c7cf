"""The shortcut past the walk for secrets: it may only be taken where the walk would find nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secure_xcom.codecs import Codecs, is_plain
from secure_xcom.masking import DEFAULT_NAMES, SensitiveNames
from secure_xcom.masking.leaves import leaves

NAMES = SensitiveNames(DEFAULT_NAMES)
SPELLINGS = st.sampled_from(
    [
        "password",
        "passWord",
        "api-key",
        "API key",
        "api_key",
        "ApiKey",
        "toKen",
        "T O K E N",
        "s.e.c.r.e.t",
        "dsn",
        "api\nkey",
        "private\tkey",
        "service\r\nkey",
        "access\\key",
        "api\\\nkey",
    ]
)
TEXTS = st.one_of(
    st.text(max_size=12),
    SPELLINGS,
    st.builds("{}={}".format, SPELLINGS, st.text(max_size=8)),
    st.builds("--{} {}".format, SPELLINGS, st.text(max_size=8)),
    st.builds("https://{}:{}@host/{}".format, st.text(max_size=4), st.text(max_size=8), st.text(max_size=4)),
    st.builds(lambda name, value: json.dumps({name: value}), SPELLINGS, st.text(max_size=8)),
    st.builds(lambda name, value: json.dumps(json.dumps({name: [value]})), SPELLINGS, st.text(max_size=8)),
    st.builds(
        lambda value: json.dumps({"at": f"https://anna:{value}@host/"}).replace("/", "\\/"), st.text(max_size=8)
    ),
    st.builds(lambda value: '{"\\u0070assword": ' + json.dumps(value) + "}", st.text(max_size=8)),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXTS, below, max_size=4),
    max_leaves=12,
)


@given(VALUES)
@example({"name": "password", "value": "swordfish-1"})
@example([["token", "swordfish-1"], ["user", "anna"]])
@example({"API\nKey": "swordfish-1"})
@example({"within": '{"private\\nkey": "swordfish-1"}'})
@example({"within": '{"at": "https:\\/\\/anna:swordfish-1@host"}'})
@example({"K": "x", "to\u212aen": "swordfish-1"})
@settings(max_examples=400)
def test_nothing_secret_is_called_clean(value: Any) -> None:
    """A value in whose JSON no name may be has no leaf that the walk would call secret."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if not NAMES.may_be_in(text):
        assert not list(leaves(value, names=NAMES, sensitive=False, only_sensitive=True))


def test_the_shortcut_is_taken() -> None:
    """A value without names, as most are, is called clean."""
    assert not NAMES.may_be_in(json.dumps([{"id": 1, "name": "anna", "mail": "anna@example.org"}] * 9).encode())
    assert NAMES.may_be_in(b'{"passWord": 1}')


def test_names_of_other_alphabets_are_walked_for() -> None:
    """With a sensitive name that is not ASCII every value is walked."""
    assert SensitiveNames({"größe"}).may_be_in(b"{}")


class Text(str):
    """A string of another type."""


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"a": [1, 2.5, None, True, "x", {"b": []}]}, True),
        ("x", True),
        ({1: "x"}, False),
        ((1,), False),
        ([Text("x")], False),
        ({Text("x"): 1}, False),
        ({"__classname__": "x"}, False),
        ([{"__type": "x"}], False),
        ([b"x"], False),
    ],
)
def test_plain_values(value: object, plain: bool) -> None:
    """Only JSON's own types, and no key that Airflow's serialisation gives a meaning to, pass it by."""
    assert is_plain(value) is plain


def test_deep_values_are_left_to_airflow() -> None:
    """How deep a value may be is for Airflow's serialisation to say."""
    value: Any = 1
    for _ in range(40):
        value = [value]
    assert not is_plain(value)


def test_plain_values_pass_airflows_serialisation_by() -> None:
    """A plain value is encoded and decoded without it, to an equal value that is not the same one."""

    def never(value: Any) -> Any:
        raise AssertionError(type(value))

    codecs, value = Codecs(never, never), {"rows": [{"id": 1}]}
    encoded = codecs.encode(value)
    back, _ = codecs.decode(encoded.codec, encoded.data, max_bytes=100)
    assert back == value
    assert back is not value
