"""The shortcuts past the walk for secrets find what the walk finds: exactly, and in its order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secure_xcom.core.codecs import Codecs
from secure_xcom.core.codecs.plain_json import from_json, plain_parts, to_json
from secure_xcom.core.masking.secrets_in_text import secrets_in_text
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from secure_xcom.core.masking.suspects import suspects
from secure_xcom.core.masking.walk import Leaf, leaves, plain_leaves
from tests.support import masking_before

NAMES = SensitiveNames(DEFAULT_NAMES)
# A deployment's own names: of one word and several, with digits, underscores and what looks like JSON's escapes.
CHOICES: tuple[dict[str, Any], ...] = (
    {"names": DEFAULT_NAMES},
    {"names": {"pin", "pass_code_2", "_tan_", "u00e9_key", "not_for_all"}, "not_sensitive": {"*_pin"}},
    {"names": {"pin", "nur_b\u00fcro", "_tan_"}, "listed": {"batch", "total_tokens"}, "not_sensitive": {"*_pin"}},
)
SPELLINGS = st.sampled_from(
    [
        "password",
        "passWord",
        "api-key",
        "API key",
        "api_key",
        "api--key",
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
        "to\u212aen",
        "pr\u0130vate_key",
        "pr\u0131vate_key",
        "pa\u017f\u017fword",
        "\uff54\uff4f\uff4b\uff45\uff4e",
        "pass\u200bword",
        "pass\u00adword",
        "api\u2014key",
        "password\u00b2",
        "next_page_token",
        "total_tokens",
        "apiKeys",
        "Secrets",
        "toKens",
        "TOKENS",
        "records_now",
        "pin",
        "passCode2",
        "tan",
        "NUR B\u00dcRO",
        "u00e9 key",
        "\\\\n not for all",
        "value",
        "name",
        "x" * 63 + "token",
    ]
)
# What the search turns on: signs, quotes, blanks, escapes and brackets, around names.
SIGNS = (
    "= : => -- :// @ / \" ' \\ \\\\ [ ] { } , < ? # . - _ \\n \\u0070 \\u00e9 \\/ ab swordfish-1 Bearer 12345678"
)
BLANKS = ["\n", "\t", " ", "\x1c", "\x85", "\xa0", "\u3000", "\ud800", "\0", "\xe9", "\u0307"]
HOSTILE = st.lists(SPELLINGS | st.sampled_from([*SIGNS.split(" "), "12", *BLANKS]), max_size=12).map("".join)
# What JSON writes without escapes, most of it as names are spelled and broken.
WORDS = "password api key to ken private d s n tan pin code b\u00dcro nur swordfish-1 -- :// \u212a \u0130 \xe9"
PLAIN = st.lists(st.sampled_from([*WORDS.split(), *" _-.:,[]{}=@12/a"]), min_size=1, max_size=6).map("".join)
TEXTS = st.one_of(
    st.text(max_size=12),
    SPELLINGS,
    HOSTILE,
    HOSTILE.map(json.dumps),
    HOSTILE.map("[{}]".format),
    st.builds(lambda text, plain: json.dumps({"a": [text]}, ensure_ascii=plain, indent=1), HOSTILE, st.booleans()),
    st.builds("{}{}{}".format, SPELLINGS, st.sampled_from(["=", ": ", '\\": ', " => "]), st.text(max_size=8)),
    st.builds("--{} {}".format, SPELLINGS, st.text(max_size=8)),
    st.builds("X-Header: {}\r\n{}: {}".format, st.text(max_size=4), SPELLINGS, st.text(max_size=12)),
    st.builds("https://{}:{}@host/{}".format, st.text(max_size=4), st.text(max_size=8), st.text(max_size=4)),
    st.builds(lambda name, value: json.dumps({name: value}), SPELLINGS, st.text(max_size=8)),
    st.builds(lambda name, value: json.dumps(json.dumps({name: [value]})), SPELLINGS, st.text(max_size=8)),
    st.builds(lambda name, value: json.dumps([json.dumps({name: [value]})]), SPELLINGS, st.text(max_size=8)),
    st.builds('{{"a": [["{}", "swordfish-1"]], "a": {}}}'.format, SPELLINGS, st.just("[]") | st.text(max_size=3)),
    st.builds(
        lambda value: json.dumps({"at": f"https://anna:{value}@host/"}).replace("/", "\\/"), st.text(max_size=8)
    ),
    st.builds(lambda value: '{"\\u0070assword": ' + json.dumps(value) + "}", st.text(max_size=8)),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda below: (
        st.lists(below, max_size=12)
        | st.dictionaries(TEXTS, below, max_size=4)
        | st.lists(st.tuples(TEXTS, below).map(list), max_size=12)
    ),
    max_leaves=16,
)


EACH = tuple(SensitiveNames(**choice) for choice in CHOICES)


def within(text: str, times: int) -> str:
    """JSON in a text in a text."""
    return text if times == 0 else json.dumps([within(text, times - 1)])


@given(VALUES)
@example({"name": "password", "value": "swordfish-1"})
@example([["token", "swordfish-1"], ["user", "anna"]])
@example([1] * 7 + [["token", "swordfish-1"]] * 8)
@example({"rows": [["token", "swordfish-1"]] * 20, "name": "x"})
@example({"API\nKey": "swordfish-1"})
@example({"within": '{"private\\nkey": "swordfish-1"}'})
@example({"within": '{"at": "https:\\/\\/anna:swordfish-1@host"}'})
@example({"K": "x", "to\u212aen": "swordfish-1"})
@example({"password": "token=swordfish-1", "note": "token=swordfish-1"})
@example({"a": {"password": {"secret": ["x", {"token": "y"}]}, "b": [1, {"dsn": 2.5}]}})
@example({"within": '{"__classname__": "my.Token", "__data__": "swordfish-1"}'})
@example({"within": '{"a": ["token", "swordfish-1"], "a": ["b", "c"]}'})
@example({"within": ' {"a\\"": {"token": "swordfish-1"}, "a\\u0022": "\\\\"} '})
@example(['[["x"]', '["token", "swordfish-1"]],["y"]', '{"a": NaN, "token": "swordfish-1"}'])
@example(["[1]", '[{"token": "swordfish-1"}]', "[2], [3]"])
@example(["--api--key swordfish-1", "a: b"])
@example([within('{"token": "swordfish-1"}', times) for times in range(7)])
@example([within("token: swordfish-1", times) for times in range(7)])
@example("[" * 2000 + '"token=swordfish-1"' + "]" * 2000)
@example("\ud800 password=swordfish-1")
@settings(max_examples=1000)
def test_exactly_what_was_found_before_is_found(value: Any) -> None:
    """The sensitive leaves of a plain value are those of the walk, today's and the frozen one, in its order."""
    parts = plain_parts(value)
    for names in EACH:
        before = list(masking_before.leaves(value, names=names, sensitive=False, only_sensitive=True))
        assert list(leaves(value, names=names, sensitive=False, only_sensitive=True)) == before
        if parts is not None:
            assert found_in(value, names) == before


@given(HOSTILE)
@example("password:two words")
@example("--api-key  swordfish-1")
@settings(max_examples=500)
def test_a_text_holds_exactly_what_it_held_before(text: str) -> None:
    """What is registered of a free text is what the frozen search finds, and none is passed by."""
    for names in EACH:
        before = list(masking_before.secrets_in_text(text, names))
        assert list(secrets_in_text(text, names)) == before
        assert before == [] or not clean(text, names)


@given(
    st.lists(
        st.builds(
            lambda value, plain, indent: json.dumps(value, ensure_ascii=plain, indent=indent),
            st.recursive(
                st.integers(0, 10**9) | PLAIN,
                lambda below: (
                    st.lists(below, min_size=1, max_size=4)
                    | st.dictionaries(PLAIN, below, min_size=1, max_size=4)
                    | st.tuples(PLAIN, below).map(lambda pair: [list(pair)])
                    | st.fixed_dictionaries({"name": PLAIN, "value": below})
                    | st.fixed_dictionaries({"header": PLAIN, "default": below, "__data__": below})
                ),
                max_leaves=8,
            ),
            st.booleans(),
            st.sampled_from([None, 1]),
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(EACH),
)
@example(['{"api:key": "swordfish-1"}', '[["private,key", "swordfish-1"]]'], EACH[0])
@example(['{"key": "pass: word", "value": "swordfish-1"}', '["a", ":", "b"]'], EACH[0])
@example(['{"records now": {"d s n": "swordfish-1"}}', '{"a": ":", "d.s.n": 1}'], EACH[0])
@settings(max_examples=600)
def test_json_that_is_not_parsed_holds_what_it_held(texts: list[str], names: SensitiveNames) -> None:
    """JSON whose letters tell that nothing in it has a sensitive name, between JSON that has to be parsed."""
    assert found_in(texts, names) == [
        leaf for leaf in leaves(texts, names=names, sensitive=False, only_sensitive=True) if leaf.sensitive
    ]


@given(
    st.lists(TEXTS | st.sampled_from(["total_tokens=12", "see https://host/a", "[1]"]), min_size=2, max_size=30)
)
@example(["total_tokens=12"] * 20 + ["toKens=swordfish-1", "tokens=12.", "tokens=12\x00ab", "tokens:=5"])
@example(["tokens=12", "password=tokens=12", "secret keys=1", "--token keys=5", "x" * 70 + "_tokens=1"])
@example(["a@b", "https://anna", ":swordfish-1@host", "https://anna:swordfish-1@host"] * 5)
@example(["--", "token swordfish-1", "--api-token swordfish-1"] * 5)
@settings(max_examples=200)
def test_texts_that_are_searched_as_one_hold_what_each_held(texts: list[str]) -> None:
    """No name, sign or value is found across two texts of a list, and none in one is passed by for the others."""
    for names in EACH:
        before = list(masking_before.leaves(texts, names=names, sensitive=False, only_sensitive=True))
        assert found_in(texts, names) == before


@given(
    # Airflow's serialization gives a meaning to two underscores, so such a value is not plain.
    st.lists((SPELLINGS | st.text(max_size=12) | HOSTILE).filter(lambda key: not key.startswith("__")), max_size=6)
)
@example(["password", "_"])
def test_no_name_among_many_is_passed_by(keys: list[str]) -> None:
    """A sensitive key is found among so many that they are looked through as one text."""
    for names in EACH:
        if any(map(names.matches, keys)):
            assert not clean({**{f"field {number}": 1 for number in range(80)}, **dict.fromkeys(keys, 1)}, names)


def test_only_these_are_capitals_of_ascii() -> None:
    """No other character becomes an ASCII letter in lower case: the search knows the two that do."""
    others = map(chr, range(128, 0x110000))
    capitals = [other for other in others if any(map(str.isascii, other.lower()))]
    assert capitals == ["\u0130", "\u212a"]


def test_both_ends_of_a_text_of_any_length_are_judged_as_before() -> None:
    """Assignments count within the first MiB of a text only; JSON is read whole up to 16 MiB."""
    filling = "a b " * (1 << 18)
    long = json.dumps({"filling": filling, "token": "swordfish-1"})
    for text in (f"password=swordfish-1 {filling}", f"{filling} password=swordfish-1", f"[{filling}]", long):
        before = list(masking_before.leaves([text], names=NAMES, sensitive=False, only_sensitive=True))
        assert found_in([text, "x"]) == before


def test_the_shortcut_is_taken() -> None:
    """A value without names, as most are, is called clean."""
    row = {
        "id": 1,
        "text": "the secret reads now",
        "value": "10:00",
        "mail": "anna@example.org",
        "at": "https://a",
        "note": "[10:00] API key or token? total_tokens=99999999, see https://host/path.",
        "within": '{"created": "10:00", "mail": "anna@example.org", "tags": ["to\\"ken", "[1]"], "at": "[x]"}',
    }
    many = {f"field {number}": "kept secret, records_now" for number in range(200)}
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
        ["x", '\n {"password": 1}'],
        ["x", '{"a": "\\u0061", "a": 2}'],
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
    assert found_in("meine breite=9 aus 10", names) == []


def found_in(value: object, names: SensitiveNames = NAMES) -> list[Leaf]:
    """What is found in a plain value without walking most of it."""
    parts = plain_parts(value)
    assert parts is not None
    found = suspects(parts, names)
    return [] if found is None else list(plain_leaves(value, found, names))


def clean(value: object, names: SensitiveNames = NAMES) -> bool:
    """Whether a plain value is called clean."""
    parts = plain_parts(value)
    assert parts is not None
    return suspects(parts, names) is None


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
    """Only JSON's own types, and no key that Airflow's serialization gives a meaning to, pass it by."""
    assert (plain_parts(value) is not None) is plain


def test_deep_values_are_left_to_airflow() -> None:
    """How deep a value may be is for Airflow's serialization to say."""
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
