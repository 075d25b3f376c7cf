"""The preview: what it shows, what it never shows, and that it always fits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from secure_xcom.core.masking.preview import preview
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from tests.unit.core.masking.test_masking import ANY, wrapped

NAMES = SensitiveNames(DEFAULT_NAMES)
ROOM = 1500


def picture(value: object, mode: str = "shape", *, key: str = "return_value", room: int = ROOM) -> Any:
    """The preview of a value."""
    return preview(value, mode=mode, names=NAMES, key=key, max_bytes=room)


# --- the shape ----------------------------------------------------------------------------------------------


def test_a_shape_has_types_lengths_and_names() -> None:
    """The example of the design: names, types and lengths, and *** under a sensitive name."""
    assert picture({"user": "someone else", "amount": 5, "password": "hunter22"}) == {
        "user": "str(12)",
        "amount": "int",
        "password": "***",
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (True, "bool"),
        (5, "int"),
        (0.5, "float"),
        (float("nan"), "float"),
        ("abc", "str(3)"),
        (b"abc", "bytes(3)"),
        ([], []),
        ([1, "ab"], ["int", "str(2)"]),
        (wrapped("decimal.Decimal", "1.5"), "Decimal"),
        (wrapped("datetime.datetime", {"timestamp": 0.0, "tz": None}), "datetime"),
        (wrapped("builtins.tuple", [1]), {"tuple": ["int"]}),
        (wrapped("app.User", {"name": "x", "token": "y"}), {"User": {"name": "str(1)", "token": "***"}}),
        (wrapped("app.ApiToken", {"text": "y"}), "***"),
        (wrapped("pandas.core.frame.DataFrame", "50415231"), "DataFrame"),
        (wrapped("odd name <b>", 1), "object"),
        ({"name": "TOKEN", "value": 5}, {"name": "str(5)", "value": "***"}),
        ([["Cookie", "a"], ["Authorization", "b"]], [["Cookie", "str(1)"], ["Authorization", "***"]]),
    ],
    ids=repr,
)
def test_a_shape_of_each_type(value: object, expected: object) -> None:
    """Each type that Airflow's serialization leaves has its picture."""
    assert picture(value) == expected


@pytest.mark.parametrize(
    "name", ["a b", "someone@example.com", "1234", "x" * 41, "", "card4111111111", "\x00", "é"]
)
def test_keys_that_are_data_show_their_length_only(name: str) -> None:
    """A dict may be keyed by what is itself a value: only what looks like a field's name is shown."""
    assert picture({name: 1}) == {f"str({len(name)})": "int"}


def test_keys_that_look_the_same_are_told_apart() -> None:
    """Two hidden keys of one length do not overwrite each other."""
    assert picture({"a b": 1, "c d": "x"}) == {"str(3)": "int", "str(3) #2": "str(1)"}


def test_a_secret_that_is_also_a_key_is_hidden() -> None:
    """A dict keyed by a token that lies under a sensitive name elsewhere does not show it."""
    assert picture({"token": "abcdefgh", "abcdefgh": 1}) == {"token": "***", "str(8)": "int"}


@given(st.text(min_size=1), st.integers(10**6, 10**9), st.floats(0.1, 0.9))
def test_a_shape_holds_no_value(text: str, number: int, fraction: float) -> None:
    """Strings, numbers and bytes are nowhere in a shape, whatever their name."""
    shown = json.dumps(
        picture({"field": text, "list": [number, fraction], "more": {"inner": text.encode("utf-8", "replace")}})
    )
    expected = json.dumps(
        {
            "field": f"str({len(text)})",
            "list": ["int", "float"],
            "more": {"inner": f"bytes({len(text.encode('utf-8', 'replace'))})"},
        }
    )
    assert shown == expected


# --- the masked picture -------------------------------------------------------------------------------------


def test_a_masked_picture_has_values() -> None:
    """Values are shown as they are, those under sensitive names as ***."""
    value = {"user": "someone", "amount": 5, "ratio": 0.5, "gone": None, "on": True, "password": ["a", 1]}
    assert picture(value, "masked") == {**value, "password": "***"}


SECRET = "Hunter22x"


@pytest.mark.parametrize(
    "value",
    [
        {"password": SECRET},
        {"token": {"a": [SECRET]}},
        {"apiKey": SECRET.encode()},
        {"name": "password", "value": SECRET},
        [["Authorization", SECRET]],
        wrapped("app.Secret", SECRET),
        {"body": json.dumps({"password": SECRET})},
        {"body": json.dumps({"body": json.dumps({"password": SECRET})})},
        {"body": f'{{"password": "{SECRET}"'},
        {"body": f'{{"password": "{SECRET}"}} trailing'},
        {"body": f"{{'password': '{SECRET}'}}"},
        {"body": f'{{"pass\\u0077ord": "{SECRET}",}}'},
        {"url": f"postgresql://bob:{SECRET}@db/app"},
        {"url": f"https://{SECRET}@db/app"},
        {"url": f"https://db/app?token={SECRET}&x=1"},
        {"note": f"password={SECRET}"},
        {"note": f"password: {SECRET} and {SECRET}"},
        {"note": f"Authorization: Basic {SECRET}"},
        {"note": f"run --password {SECRET}"},
        {"note": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"},
        {"note": f"eyJhbGciOiJIUzI1NiJ9.{SECRET}.{SECRET}"},
        {"password": SECRET, "note": f"it was {SECRET}!"},
        {"password": SECRET, f"key {SECRET}": 1},
        {"body": json.dumps({"password": SECRET}), "note": f"it was {SECRET}!"},
        {"url": f"x://u:{SECRET}@h", "list": [SECRET]},
        {"password": SECRET, "note": "." * 190 + SECRET},
        {"password": SECRET, "secret": f"22x{SECRET}", "note": f"a{SECRET}{SECRET}22x{SECRET}"},
        {"note": " " * 9000 + f"password={SECRET}"},
    ],
    ids=lambda value: json.dumps(value, default=str)[:50],
)
def test_a_masked_picture_never_shows_a_secret(value: object) -> None:
    """Not by its name, not inside JSON, a URL or a sentence, not where it stands a second time, not cut in two."""
    for room in (100, 300, ROOM, 20_000):
        shown = json.dumps(picture(value, "masked", room=room))
        assert SECRET not in shown
        assert SECRET[:4] not in shown


@pytest.mark.parametrize("secret", [12345678, 3.14159265, "ab", "x", -7])
def test_a_secret_of_any_type_is_hidden_where_it_stands_again(secret: object) -> None:
    """A number or a very short secret under a name is hidden as a value elsewhere too."""
    assert picture({"password": secret, "again": secret, "text": str(secret)}, "masked") == {
        "password": "***",
        "again": "***",
        "text": "***",
    }


def test_secrets_that_overlap_are_hidden_whole() -> None:
    """Where one secret ends inside another, no part of either is left."""
    value = {"password": "abcdef", "token": "defghi", "note": "abcdefghi"}
    assert picture(value, "masked")["note"] == "***"


def test_too_many_secrets_make_a_shape() -> None:
    """Where a masked picture cannot be compared with every secret it shows no value at all."""
    value = {"passwords": [f"hunter{number:05d}" for number in range(2000)], "note": "hunter00001"}
    assert picture(value, "masked") == {"passwords": "***", "note": "str(11)"}


def test_a_long_text_is_cut_where_everybody_sees_it() -> None:
    """A long text ends in dots, a very long one is its length."""
    shown = picture({"note": "n" * 500, "book": "b" * 10_000}, "masked")
    assert shown == {"note": "n" * 200 + "...", "book": "str(10000)"}


def test_numbers_that_json_has_not_are_text() -> None:
    """PostgreSQL refuses NaN, and a huge number is its size."""
    shown = picture([float("nan"), float("-inf"), 10**400], "masked")
    assert shown == ["nan", "-inf", "int(1329 bits)"]


# --- both ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["shape", "masked"])
def test_a_sensitive_key_hides_everything(mode: str) -> None:
    """The XCom's own key counts as a name."""
    assert picture({"user": "someone"}, mode, key="db_password") == "***"
    assert picture("x", mode, key="apiToken", room=4) is None


def test_none_is_no_picture() -> None:
    """With `preview = none` there is none, whatever the key."""
    assert picture({"a": 1}, "none") is None
    assert picture({"a": 1}, "none", key="token") is None


@given(ANY, st.sampled_from(["shape", "masked"]), st.integers(-1, 3000))
def test_every_picture_fits_and_can_be_stored(value: object, mode: str, room: int) -> None:
    """Any value's picture is strict JSON within its room, with no NUL and no lone surrogate."""
    shown = picture(value, mode, room=room)
    if shown is None:
        # The masked picture of None is None itself.
        assert room < len('"***"') or (value is None and mode == "masked")
        return
    text = json.dumps(shown, allow_nan=False)
    assert len(text) <= room
    assert "\\u0000" not in text
    assert "\x00" not in str(shown)
    str(shown).encode()


SENSITIVE = st.sampled_from(["password", "apiKey", "clientSecret", "X-Token", "db passwd"])
CANARY = st.text(alphabet="QZJXKV", min_size=6, max_size=12)


@given(ANY, CANARY, SENSITIVE, st.sampled_from(["shape", "masked"]), st.data())
def test_no_picture_holds_what_a_name_hides(
    value: Any, canary: str, name: str, mode: str, data: st.DataObject
) -> None:
    """A secret of any type, anywhere, beside any other value, is not in the picture."""
    assume(canary not in json.dumps(value, default=str))
    hidden = data.draw(
        st.sampled_from(
            [canary, [canary], {"x": canary}, canary.encode(), json.dumps({"x": canary}), wrapped("a.B", canary)]
        )
    )
    whole = {"value": value, "again": f"<{canary}>" if isinstance(hidden, str) else 1, "deep": [{name: hidden}]}
    for room in (200, ROOM):
        assert canary not in json.dumps(picture(whole, mode, room=room))


@pytest.mark.parametrize("mode", ["shape", "masked"])
def test_depth_and_breadth_are_cut_where_everybody_sees_it(mode: str) -> None:
    """10,000 levels or 100,000 entries end in a count."""
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    assert "list(1)" in json.dumps(picture(deep, mode))
    wide = picture({f"field_{number // 100:03d}": number for number in range(100_000)}, mode)
    assert "more" in json.dumps(wide)
    assert picture(list(range(100_000)), mode)[-1].endswith("more")


def test_a_poor_picture_is_drawn_where_a_rich_one_does_not_fit() -> None:
    """The less room there is the less is shown, and in the end only that something is there."""
    value = {"user": {"name": "someone", "tags": ["a"] * 20}, "rows": [[1, 2, 3]] * 50}
    sizes = [len(json.dumps(picture(value, room=room))) for room in (20, 60, 200, 800)]
    assert sizes == sorted(sizes)
    assert picture(value, room=12) == "dict(2)"
    assert picture(value, room=5) == "..."
    assert picture(value, room=4) is None
