"""Sensitive names, and the strings that Airflow's masker is told of."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.utils import htmlsafe_json_dumps

from secure_xcom.core.masking.secrets_of_value import Secrets, secrets_of_all
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from secure_xcom.core.masking.uninformative import is_uninformative
from tests.support.secrets_of import secrets_of

NAMES = SensitiveNames(DEFAULT_NAMES)
# Jinja's filter `tojson`, which has no types.
TOJSON: Any = htmlsafe_json_dumps


def of(value: object, *, key: str = "return_value", mode: str = "named", cap: int = 1000) -> Secrets:
    """What is registered of a value."""
    return secrets_of(value, names=NAMES, key=key, mode=mode, cap=cap)


def wrapped(classname: str, data: object) -> dict[str, object]:
    """An object as Airflow's serialisation writes it."""
    return {"__classname__": classname, "__version__": 1, "__data__": data}


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PASSWORD",
        " Password ",
        "db_password",
        "db-password",
        "dbPassword",
        "passWord",
        "pass_word",
        "api_key",
        "apiKey",
        "APIKey",
        "api-key",
        "apikey",
        "X-Api-Key",
        "privateKey",
        "PrivateKey",
        "private key",
        "clientSecret",
        "AWSSecretAccessKey",
        "accessToken",
        "access token",
        "accesstoken",
        "tokens",
        "serviceAccountFile",
        "WebhookURL",
        "sslDSN",
        "x" * 300 + "_password",
    ],
)
def test_a_sensitive_name_is_known_in_every_spelling(name: str) -> None:
    """Case, camelCase, acronyms, hyphens, spaces and joined words make no difference."""
    assert NAMES.matches(name)
    assert NAMES.matches(name.encode())


@pytest.mark.parametrize(
    "name",
    [
        "user",
        "amount",
        "monkey",
        "author",
        "records_now",
        "not_okay",
        "key",
        "",
        "_",
        "keyboard_access",
        "Bear erupts",
    ],
)
def test_words_that_only_meet_are_no_sensitive_name(name: str) -> None:
    """Letters of two words that happen to spell a name together are not taken for it."""
    assert not NAMES.matches(name)


@pytest.mark.parametrize("name", [None, 5, 1.5, True, ("password",), ["password"]])
def test_only_text_names_anything(name: object) -> None:
    """A key that is no text is no sensitive name, whatever its type."""
    assert not NAMES.matches(name)


def test_names_of_ones_own_are_taken_in_any_spelling() -> None:
    """Names that a deployment adds match like the built-in ones, and empty ones match nothing."""
    names = SensitiveNames(["patientId", "IBAN", "", "  ", "_"])
    assert all(names.matches(name) for name in ("patient_id", "PATIENT-ID", "patientid", "myIban"))
    assert not names.matches("patient")
    assert not names.matches("anything")


def test_names_do_not_show_in_a_repr() -> None:
    """A repr tells how many names there are."""
    assert repr(SensitiveNames(["iban"])) == "SensitiveNames(1 names)"


# --- what is registered under a name ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"password": "hunter22"}, {"hunter22"}),
        ({"a": [{"b": {"apiKey": "hunter22"}}]}, {"hunter22"}),
        ({"token": {"inner": ["hunter22", {"deep": "hunter33"}]}}, {"inner", "hunter22", "hunter33"}),
        ({"password": 12345678}, {"12345678"}),
        ({"password": -0.123456}, {"-0.123456"}),
        ({"secret": wrapped("decimal.Decimal", "12345.67")}, {"12345.67"}),
        (wrapped("app.ApiToken", {"text": "hunter22"}), {"hunter22"}),
        (wrapped("app.User", {"password": "hunter22", "name": "someone"}), {"hunter22"}),
        ({"secret": wrapped("builtins.set", ["hunter22"])}, {"hunter22"}),
        ({"__classname__": "app.Odd", "__version__": 1, "password": "hunter22"}, {"hunter22"}),
        ({"name": "DB_PASSWORD", "value": "hunter22"}, {"hunter22"}),
        ({"key": "token", "value": {"x": "hunter22"}}, {"hunter22"}),
        ([["Cookie", "plain"], ["Authorization", "hunter22"]], {"hunter22"}),
        ([wrapped("builtins.tuple", ["password", "hunter22"])], {"hunter22"}),
        ({"body": '{"password": "hunter22", "user": "someone"}'}, {"hunter22"}),
        ({"body": json.dumps({"inner": json.dumps({"password": "hunter22"})})}, {"hunter22"}),
        ({"body": ' [{"password": "hunter22"}] '}, {"hunter22"}),
        ({"body": '{"password": "hunter22", "password": "hunter33"}'}, {"hunter22", "hunter33"}),
        ({"url": "postgresql://bob:hunter22@db/app"}, {"hunter22"}),
        ({"url": "redis://:hunter22@db"}, {"hunter22"}),
        ({"url": "amqp://bob:hun/ter?22@db:5672/v"}, {"hun/ter?22"}),
        ({"url": "https://host/x?a=1&token=hunter22&b=2#f"}, {"hunter22"}),
        ({"url": "https://abcdefabcdefabcdef@host/x"}, {"abcdefabcdefabcdef"}),
        ({"dsn_text": "x", "note": "host=db password=hunter22 user=bob"}, {"hunter22"}),
        ({"note": "PGPASSWORD='hun ter 22' psql"}, {"hun ter 22"}),
        ({"note": "run --password hunter22 -v"}, {"hunter22"}),
        ({"note": "Authorization: Bearer hunter22hunter22\nnext: line"}, {"hunter22hunter22"}),
        ({"note": '{"password": "hunter22"}\n{"password": "hunter33"}'}, {"hunter22", "hunter33"}),
        ({"note": 'said "{\\"password\\": \\"hunter22\\"}"'}, {"hunter22"}),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, (dict, list)) else "",
)
def test_what_lies_under_a_sensitive_name_is_registered(value: object, expected: set[str]) -> None:
    """Each way in which a value can carry a named secret gives just the secret."""
    plain = {text for text in of(value).values if "%" not in text}
    assert plain == expected


@pytest.mark.parametrize(
    "value",
    [
        {"user": "someone", "amount": 12345678, "note": "nothing in here"},
        {"url": "http://localhost:8080/path@v1"},
        {"url": "sftp://deploy@host/x"},
        {"when": "2026-01-01T00:00:00+00:00", "ratio": "12:30:45"},
        {"password": True, "token": None, "secret": False},
        {"password": "true", "token": "None", "secret": "airflow"},
        {"secret": {"": {}}, "token": []},
        {"secret": wrapped("pandas.core.frame.DataFrame", "50415231" * 100)},
        {"note": "token: yes"},
        ["password", "username"],
        {"note": "a password is needed"},
    ],
    ids=repr,
)
def test_what_is_no_secret_is_left_in_the_logs(value: object) -> None:
    """Plain values, class names, truth values and common words are not registered."""
    assert of(value) == Secrets((), 0)


def test_a_sensitive_key_makes_the_whole_value_secret() -> None:
    """Under `multiple_outputs` the XCom's own key is the only name that a value has."""
    assert of("hunter22", key="db_password").values == ("hunter22",)
    assert set(of({"a": ["hunter22", 55555555]}, key="token").values) == {"hunter22", "55555555"}


def test_class_names_of_the_serialisation_are_not_registered() -> None:
    """What Airflow's serialisation adds around a value is no part of the value."""
    assert of(wrapped("builtins.tuple", ["hunter22"]), key="secret", mode="all").values == ("hunter22",)


def test_a_moment_is_registered_as_it_is_printed() -> None:
    """A date and time, kept as seconds, is known in the two ways in which Python prints it."""
    value = {"secret": wrapped("datetime.datetime", {"timestamp": 0.0, "tz": None})}
    assert {"1970-01-01T00:00:00+00:00", "1970-01-01 00:00:00+00:00"} <= set(of(value).values)


def test_all_registers_every_string() -> None:
    """With `mask_values = all` every string counts, named ones first, and numbers only under a name."""
    found = of(
        {"user": "someone", "amount": 12345678, "deep": ["elsewhere"], "pin": "abc", "token": "zyxwvu"}, mode="all"
    )
    # Keys are strings as well; `deep` and `user` are shorter than the masker takes.
    assert found.values == ("zyxwvu", "someone", "amount", "elsewhere", "token")


# --- forms --------------------------------------------------------------------------------------------------


def test_bytes_are_registered_in_every_form() -> None:
    """Raw bytes are known as text, repr, hexadecimal and base64."""
    data = b"hunter22\x00'"
    found = of(data, key="secret").values
    assert {data.decode(), repr(data)[2:-1], data.hex(), base64.b64encode(data).decode()} <= set(found)


def test_each_line_of_a_secret_is_registered() -> None:
    """Logs are masked line by line, so a private key is known by its lines, without its common first one."""
    key = "-----BEGIN KEY-----\nfirstline111\n  secondline22\r\nabc\n-----END KEY-----\n"
    found = of({"private_key": key}).values
    assert {"firstline111", "secondline22"} <= set(found)
    assert not {"-----BEGIN KEY-----", "-----END KEY-----", "abc"} & set(found)


def test_a_url_password_is_registered_decoded_too() -> None:
    """Libraries print a password with and without its percent-escapes."""
    found = set(of({"url": "https://bob:hun%40+ter%2F22@host"}).values)
    assert {"hun%40+ter%2F22", "hun@+ter/22", "hun@ ter/22"} <= found


def test_a_long_secret_is_registered_in_pieces() -> None:
    """A string of any length is hidden wherever it is printed whole, by patterns of bounded length."""
    secret = "".join(f"{number:06d}" for number in range(5000))
    found = of({"secret": secret}).values
    assert "".join(found) == secret
    assert max(map(len, found)) <= 4096


def test_a_string_that_is_no_utf8_is_registered_as_logs_show_it() -> None:
    """A lone surrogate cannot be sent to the supervisor; what logs print in its place can."""
    found = of({"secret": "abc\udc80defgh"}).values
    assert {"abc?defgh", "abc\\udc80defgh"} <= set(found)
    assert all(text.encode() for text in found)


@given(st.text(min_size=5, max_size=40))
def test_every_form_that_python_prints_is_among_those_registered(secret: str) -> None:
    """Text, repr, JSON with and without escapes: what `print` shows of a dict holds a registered string."""
    found = of({"secret": secret}).values
    printed = [repr({"k": secret}), json.dumps([secret]), json.dumps([secret], ensure_ascii=False), secret]
    for text in printed:
        if len(secret.strip()) >= NAMES.min_length and not is_uninformative(secret):
            shown = text.encode("utf-8", "replace").decode()
            assert any(known in shown for known in found)


@given(st.text(min_size=8, max_size=40))
def test_what_is_written_twice_is_among_those_registered(secret: str) -> None:
    """A repr or JSON within a repr or JSON, and a template's `tojson`, hold a registered string."""
    found = of({"secret": secret}).values
    inner = [
        repr({"k": secret}),
        repr(["'", '"', secret]),
        json.dumps([secret]),
        str(TOJSON([secret])),
    ]
    outer: list[Callable[[str], str]] = [
        repr,
        lambda text: repr([text, "'", '"']),
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
    ]
    if len(secret.strip()) >= NAMES.min_length and not is_uninformative(secret):
        for text in (*inner, *(write(text) for write in outer for text in inner)):
            shown = text.encode("utf-8", "replace").decode()
            assert any(known in shown for known in found)


def test_a_string_without_escapes_is_registered_once() -> None:
    """Words, spaces and most signs look the same everywhere, so they cost one pattern and not ten."""
    assert of("plain words, (signs) = no escapes", mode="all").values == ("plain words, (signs) = no escapes",)


# --- cap ----------------------------------------------------------------------------------------------------


def test_short_strings_are_not_counted() -> None:
    """What Airflow's masker does not take is neither registered nor missed."""
    assert of({"password": "1234", "token": "12345"}, cap=1) == Secrets(("12345",), 0)
    names = SensitiveNames(DEFAULT_NAMES, min_length=3)
    assert secrets_of({"password": "1234"}, names=names, key="k", mode="named", cap=5).values == ("1234",)


def test_the_cap_is_kept_and_the_rest_counted() -> None:
    """At most `cap` strings are given, and each string over it is counted once."""
    value = {"passwords": [f"hunter{number % 30:03d}" for number in range(90)]}
    assert of(value, cap=10) == Secrets(tuple(f"hunter{number:03d}" for number in range(10)), 20)
    assert of(value, cap=30).dropped == 0


def test_no_more_characters_are_registered_than_the_masker_can_bear() -> None:
    """Of megabytes a quarter of one is registered, what is named first, and the rest is counted."""
    found = of({"all": bytes(range(256)) * 4096, "password": "hunter22"}, mode="all")
    assert found.values[0] == "hunter22"
    assert 200_000 < sum(map(len, found.values)) <= 262_144
    assert found.dropped > 100


def test_named_secrets_come_before_everything_else_under_the_cap() -> None:
    """What has a sensitive name is registered even where other strings, or other values, would fill the cap."""
    crowd = [f"plain{number:04d}" for number in range(50)]
    found = secrets_of_all(
        [(crowd, "return_value", None), ({"password": "hunter22"}, "return_value", None)],
        names=NAMES,
        mode="all",
        cap=3,
    )
    assert found.values == ("hunter22", "plain0000", "plain0001")
    assert found.dropped == 48


def test_secrets_do_not_show_in_a_repr() -> None:
    """The repr of what is registered tells nothing of it."""
    assert "hunter22" not in repr(of({"password": "hunter22"}))


# --- any value ----------------------------------------------------------------------------------------------

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20)
WORDS = st.text(alphabet=string.printable, max_size=12) | st.sampled_from(
    ["password", "name", "value", "__classname__", "__data__", "__version__", "timestamp", "datetime.datetime"]
)
ANY: st.SearchStrategy[Any] = st.recursive(
    LEAVES | WORDS,
    lambda below: st.lists(below, max_size=5) | st.dictionaries(WORDS, below, max_size=5),
    max_leaves=30,
)


@given(ANY, st.sampled_from(["named", "all"]), st.integers(1, 5))
def test_no_value_is_too_odd(value: object, mode: str, cap: int) -> None:
    """Whatever the value is, at most `cap` distinct strings that can be sent come out, the same every time."""
    found = of(value, mode=mode, cap=cap)
    assert len(set(found.values)) == len(found.values) <= cap
    assert all(text.encode() for text in found.values)
    assert found == of(value, mode=mode, cap=cap)


@pytest.mark.parametrize("shape", ["lists", "dicts", "json"])
def test_depth_is_no_danger(shape: str) -> None:
    """A secret 10,000 levels deep is found, and JSON of any depth stops nothing."""
    value: Any = {"password": "hunter22"}
    for _ in range(10_000):
        value = [value] if shape == "lists" else {"a": value}
    if shape == "json":
        value = ["[" * 100_000 + "]" * 100_000, {"password": "hunter22"}]
    assert of(value).values == ("hunter22",)


@pytest.mark.parametrize(
    "text", ["a=", "a:a:", "://a:b@", "password: ", "password=", "token='\\'", 'a="\\"', '{"a":', "eyJ"]
)
@pytest.mark.timeout(30)
def test_hostile_text_costs_linear_time(text: str) -> None:
    """Half a megabyte of what looks like assignments, URLs or JSON is read within seconds."""
    of({"note": text * (500_000 // len(text))}, cap=10)
