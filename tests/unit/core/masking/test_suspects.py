"""What exactly of a plain value is walked for secrets: no more than may hold one, because each walk costs."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from secure_xcom.core.codecs.plain_json import plain_parts
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from secure_xcom.core.masking.suspects import Suspects, suspects
from secure_xcom.core.masking.texts import TEXT_MAX_CHARACTERS

NAMES = SensitiveNames(DEFAULT_NAMES)
MANY = {f"field {number}": number for number in range(70)}


def of(value: object) -> Suspects | None:
    """What of a value has to be walked."""
    parts = plain_parts(value)
    assert parts is not None
    return suspects(parts, NAMES)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (
            {"password": 1, "user": 2, "b": {"apiKey": 3}},
            Suspects(frozenset({"password", "apiKey"}), False, False, []),
        ),
        # Among so many keys that they are looked through as one text first.
        ({**MANY, "password": 1}, Suspects(frozenset({"password"}), False, False, [])),
        ({**MANY, "a": 1}, None),
        ({**MANY, "a": "token=sword-fish"}, Suspects(frozenset(), False, False, ["token=sword-fish"])),
        ({"name": "password", "value": 1}, Suspects(frozenset(), True, False, [])),
        ({"name": "user", "value": 1}, None),
        ({"name": "password", "other": 1}, None),
        ({"other": "password", "value": 1}, None),
        # Both keys are there, in dicts that have one each.
        ([{"name": "password"}, {"value": 1}], None),
        ([["password", 1]], Suspects(frozenset(), False, True, [])),
        ([["password", 1, 2]], None),
        ([["password"]], None),
        ([["user", "password"]], None),
        ([[1, "password"]], None),
        ([["user", 1]], None),
        (["a", "password=sword-fish", "b: c"], Suspects(frozenset(), False, False, ["password=sword-fish"])),
        (["user=anna", "b: c", "--x", "a]", "b}"], None),
        (["password"], None),
        ([1, 2.5, None, True], None),
        ([], None),
        ({}, None),
    ],
)
def test_what_has_to_be_walked(value: Any, found: Suspects | None) -> None:
    """Sensitive keys by their names, labels and pairs as such, and each text that may hold something."""
    seen = of(value)
    assert (seen is None) == (found is None)
    if seen is not None and found is not None:
        assert (seen.names, seen.labels, seen.pairs) == (found.names, found.labels, found.pairs)
        assert list(seen.texts) == list(found.texts)


@pytest.mark.parametrize(
    "text",
    [
        "password=sword-fish",
        "password:sword-fish",
        "--password sword-fish",
        '[["token", 1]]',
        '{"token": 1}',
    ],
)
def test_each_sign_of_a_secret_is_one(text: str) -> None:
    """An equals sign, a colon, an option, and what ends JSON."""
    found = of(["x", text])
    assert found is not None
    assert list(found.texts) == [text]


def test_a_text_within_too_many_texts_is_not_read_as_json() -> None:
    """It is walked, whatever it holds."""
    parts = plain_parts(['{"a": 1}'])
    assert parts is not None
    assert suspects(parts, NAMES, 0) is None
    found = suspects(parts, NAMES, 4)
    assert found is not None
    assert list(found.texts) == ['{"a": 1}']


def test_four_texts_within_each_other_are_read() -> None:
    """From the value's own on, if nothing else is said; JSON without escapes needs not be read."""

    def within(times: int) -> str:
        return "[1]" if times == 0 else json.dumps([within(times - 1)])

    assert of([within(4)]) is None
    assert of([within(5)]) is not None


@pytest.mark.parametrize("first", ["", "x" * (TEXT_MAX_CHARACTERS - 20)])
def test_large_texts_are_searched_to_their_limit(first: str) -> None:
    """However many they are together, each is searched whole up to the limit, and no further."""
    secret = "; password=sword-fish"
    within = "y" * (TEXT_MAX_CHARACTERS - len(secret)) + secret
    beyond = "z" * TEXT_MAX_CHARACTERS + secret
    found = of([first, within, "a: b", beyond, [1, secret]])
    assert found is not None
    assert list(found.texts) == [within, secret]


def test_large_json_is_walked() -> None:
    """What looks like JSON and is over the limit is not searched here but left to the walk."""
    large = '{"a": 1, "b": "' + "c" * TEXT_MAX_CHARACTERS + '"}'
    found = of(["x: y", large, large[: TEXT_MAX_CHARACTERS - 2] + '"}'])
    assert found is not None
    assert list(found.texts) == [large]


def test_suspects_are_not_printed_and_stay() -> None:
    """Names of keys and texts of values are nobody's to read."""
    found = of({"password": "token=sword-fish"})
    assert found is not None
    assert repr(found) == "Suspects(labels=False, pairs=False)"
    with pytest.raises(FrozenInstanceError):
        found.labels = True  # type: ignore[misc]
