"""The shortcut past the walk for secrets: it may only be taken where the walk would find nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secure_xcom.core.codecs import Codecs
from secure_xcom.core.codecs.plain_json import from_json, plain_parts, to_json
from secure_xcom.core.masking.clean_check import is_clean
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from secure_xcom.core.masking.walk import leaves

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
    """A value that is called clean has no leaf that the walk would call secret."""
    parts = plain_parts(value)
    if parts is not None and is_clean(parts, NAMES):
        assert not list(leaves(value, names=NAMES, sensitive=False, only_sensitive=True))


def test_the_shortcut_is_taken() -> None:
    """A value without names, as most are, is called clean."""
    row = {
        "id": 1,
        "text": "the secret reads now",
        "value": "10:00",
        "mail": "anna@example.org",
        "at": "https://a",
    }
    many = {f"field {number}": "kept secret" for number in range(200)}
    for value in ([row] * 9, many, [["a", 1], ["b", 2]], "no token", {"a": {"b": [None, 1.5, True]}}):
        assert clean(value)


@pytest.mark.parametrize(
    "value",
    [
        {"passWord": 1},
        {f"field {number}": 1 for number in range(200)} | {"private\nkey": "x"},
        {"name": "password", "value": "x"},
        [["token", "x"]],
        "password=x",
        "see https://a:b@c",
        ["  " * (1 << 20) + '{"password": 1}'],
        ["x", "\n [1]"],
    ],
)
def test_what_may_be_secret_is_walked(value: object) -> None:
    """A name in a key, label, pair or assignment, a URL's password and JSON in a text are not called clean."""
    assert not clean(value)


def test_names_of_other_alphabets_are_walked_for() -> None:
    """A sensitive name that is not ASCII is found as any other, and nothing else is for its sake."""
    names = SensitiveNames({"größe"})
    assert not clean("meine größe=9 aus 10", names)
    assert not clean({f"größe {number}": 1 for number in range(200)}, names)
    assert clean("meine breite=9 aus 10", names)


def clean(value: object, names: SensitiveNames = NAMES) -> bool:
    """Whether a plain value is called clean."""
    parts = plain_parts(value)
    assert parts is not None
    return is_clean(parts, names)


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
    assert (plain_parts(value) is not None) is plain


def test_deep_values_are_left_to_airflow() -> None:
    """How deep a value may be is for Airflow's serialisation to say."""
    value: Any = 1
    for _ in range(40):
        value = [value]
    assert plain_parts(value) is None


def test_plain_values_pass_airflows_serialisation_by() -> None:
    """A plain value is encoded and decoded without it, to an equal value that is not the same one."""

    def never(value: Any) -> Any:
        raise AssertionError(type(value))

    codecs, value = Codecs(never, never), {"rows": [{"id": 1}]}
    encoded = codecs.encode(value)
    back, *_ = codecs.decode(encoded.codec, encoded.data, max_bytes=100)
    assert back == value
    assert back is not value


@given(
    VALUES | st.just(10**400) | st.sampled_from([float("nan"), float("-inf"), 1e16, -0.0, "null", "\ud800", 2**64])
)
@example({"a": [float("nan"), "null", None]})
@example({"a": [1.5, "null", None]})
def test_json_is_read_as_it_was_written(value: Any) -> None:
    """JSON of the fast encoder, and from the fast decoder, is what Python's own make of it."""
    written = to_json(value, plain_parts(value))
    slow = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    expected = json.loads(slow.decode("utf-8", "surrogatepass"))
    for found in (from_json(written), from_json(slow), json.loads(written.decode("utf-8", "surrogatepass"))):
        assert repr(found) == repr(expected)


@given(st.text(st.sampled_from('[]{}",:\\u0123456789eE+-.nulatrfsINty \t\n'), max_size=30))
@example("1e400")
@example('"\\ud800"')
@example('{"a":1,"a":2}')
@example("[1]x")
@example("-0")
@example("\ufeff1")
def test_other_json_is_read_as_python_reads_it(text: str) -> None:
    """Whatever text is given, the fast decoder gives what Python's own gives, and refuses what it refuses."""
    try:
        expected = repr(json.loads(text))
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011  # each decoder has messages of its own
            from_json(text.encode())
    else:
        assert repr(from_json(text.encode())) == expected
