"""Which strings of a value the masker is told, in which order, and what the caps leave out."""

from __future__ import annotations

import base64
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from secure_xcom.core.masking.secrets_of_value import CHARACTERS_MAX, Secrets, secrets_of_all
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from secure_xcom.core.masking.walk import Leaf

NAMES = SensitiveNames(DEFAULT_NAMES)


def told(*values: tuple[Any, ...], mode: str = "named", cap: int = 1000, names: SensitiveNames = NAMES) -> Secrets:
    """What is told of values, each with its key and what is known of it."""
    given = [(value, key, known) for value, key, known in (("", "x", None), *values)]
    return secrets_of_all(given, names=names, mode=mode, cap=cap)


def of(value: object, mode: str = "named") -> tuple[str, ...]:
    """What is told of one value under a sensitive name, or of a value for all."""
    return told(({"password": value} if mode == "named" else value, "x", None), mode=mode).values


@pytest.mark.parametrize(
    ("value", "strings"),
    [
        ("swordfish", ("swordfish",)),
        (" swordfish ", (" swordfish ", "swordfish", "%20swordfish%20")),
        # Each line by itself, without what stands in every PEM.
        ("-----BEGIN X-----\nabcdefg\n  hijklmn\n-----END X-----", None),
        ("1.5", ()),
        ("12345678.5", ("12345678.5",)),
        ("password", ()),
        ("****", ()),
        (12345678, ("12345678",)),
        (1234567, ()),
        (10000000, ()),
        (-1234567.5, ("-1234567.5",)),
        (True, ()),
        (None, ()),
        (b"\x00\x00\x00\x00\x00", ()),
        (b"", ()),
        (b"password", ()),
    ],
)
def test_a_leaf_as_logs_show_it(value: Any, strings: tuple[str, ...] | None) -> None:
    """What says nothing, or is part of other numbers, stays readable."""
    if strings is None:
        every = of(value)
        assert {value, "abcdefg", "hijklmn"} <= set(every)
        assert not {"-----BEGIN X-----", "-----END X-----"} & set(every)
        return
    assert of(value) == strings


def test_bytes_as_hex_base64_repr_and_text() -> None:
    """And where they are no text, without it."""
    value = b"sword\xc3\xa4fish"
    every = of(value)
    assert every[:3] == (value.hex(), base64.b64encode(value).decode(), repr(value)[2:-1])
    assert "swordäfish" in every
    odd = b"sword\xfffish"
    assert set(of(odd)) >= {odd.hex(), base64.b64encode(odd).decode(), repr(odd)[2:-1]}
    assert not any("\ufffd" in text for text in of(odd))


def test_of_long_bytes_the_beginning_is_told() -> None:
    """As much as fits in hex; more would only be counted as left out."""
    long = b"".join(b"%07x" % number for number in range(CHARACTERS_MAX // 7))
    found = told(({"password": long}, "x", None), cap=10_000)
    assert "".join(found.values) == long[: CHARACTERS_MAX // 2].hex()
    assert found.dropped < 150


def test_an_integer_that_python_does_not_print_is_told_in_hex() -> None:
    """No log shows it in decimal. Its digits may be any, also such as an exponent is written with."""
    for value in (3**9500, 0xE << 16_000, 16**4000):
        assert "".join(of(value)) == hex(value)


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ('sword"fish', ['sword"fish', 'sword\\"fish', "sword\\u0022fish", "sword%22fish"]),
        ("sword'fish", ["sword\\'fish", "sword\\u0027fish", "sword%27fish"]),
        ("sword\\fish", ["sword\\\\fish", "sword%5Cfish"]),
        ("sword\nfish", ["sword\\nfish", "sword%0Afish"]),
        ("swordäfish", ["sword\\u00e4fish", "sword%C3%A4fish"]),
        ("sword<fish", ["sword\\u003cfish", "sword%3Cfish"]),
        ("sword>&fish", ["sword\\u003e\\u0026fish"]),
        ("sword fish", ["sword%20fish"]),
        # Each of these is written so in one way only: repr with a quote, JSON with other letters than ASCII's.
        ("it's\x07bell", ["it's\\x07bell", "it\\'s\\x07bell", "it's\\u0007bell"]),
        ('swordä"fish', ['swordä\\"fish', 'sword\\u00e4\\"fish']),
        ("sword\ud800fish", ["sword\\ud800fish", "sword?fish", "sword%3Ffish"]),
    ],
)
def test_every_form_that_a_log_may_show(text: str, forms: list[str]) -> None:
    """As repr, JSON, Jinja's JSON and URLs write it; also where a repr is within another."""
    every = of(text)
    assert [form for form in forms if form not in every and form != "sword\\u0022fish"] == []
    assert not any("\ud800" in form for form in every)


def test_a_form_within_a_form_is_told_last() -> None:
    """A list that holds a rendered template is logged so."""
    every = of('sword\\"fish')
    assert 'sword\\\\\\\\\\\\"fish' in every
    assert every.index('sword\\"fish') < every.index('sword\\\\\\"fish') < every.index('sword\\\\\\\\\\\\"fish')
    # Not of a text that would be cut into pieces.
    long = '"' + "0123456789abcdef" * 256
    assert not any("\\\\" in text for text in of(long))
    assert any("\\\\" in text for text in of(long[:-1]))


def test_strings_for_all_have_no_forms_in_urls() -> None:
    """Most are no secrets, and each pattern costs every log line."""
    assert of("sword fish", mode="all") == ("sword fish",)
    assert "sword%22fish" not in of('sword"fish', mode="all")
    assert 'sword\\"fish' in of('sword"fish', mode="all")
    assert of(12345678, mode="all") == ()
    assert set(of(b"sword-fish", mode="all")) >= {b"sword-fish".hex(), "sword-fish"}


def test_the_modes() -> None:
    """Nothing, what names call secret, or every string, named ones first."""
    value = ({"note": "an ordinary text", "password": "sword-fish"}, "x", None)
    assert told(value, mode="none") == Secrets((), 0)
    assert told(value).values == ("sword-fish",)
    assert told(value, mode="all").values[:2] == ("sword-fish", "an ordinary text")
    assert told(("an ordinary text", "password", None)).values[0] == "an ordinary text"
    assert told((12345678, "tokens", None)).values == ()
    assert told((12345678, "token", None)).values == ("12345678",)


def test_what_is_known_of_a_value_is_not_looked_for_again() -> None:
    """Unless its key is sensitive, or everything is to be told."""
    known = (Leaf("known-one", True),)
    value = {"password": "sword-fish"}
    assert told((value, "x", known)).values == ("known-one",)
    assert told((value, "x", ())).values == ()
    assert told((value, "password", known)).values == ("password", "sword-fish")[1:]
    assert told((value, "x", known), mode="all").values == ("sword-fish",)


def test_values_come_before_their_forms_and_named_ones_before_others() -> None:
    """What the cap cuts off is a form rather than a value."""
    values = [({"password": f'sword"{name}', "note": f'other"{name}'}, "x", None) for name in ("one1", "two2")]
    every = told(*values, mode="all").values
    order = ['sword"one1', 'sword"two2', 'sword\\"one1', "sword%22one1", 'other"one1', 'other\\"one1']
    assert [every.index(text) for text in order] == sorted(every.index(text) for text in order)
    nested = 'sword\\\\\\"one1'
    assert every.index('other\\"two2') < every.index(nested)


def test_the_cap_counts_what_it_leaves_out_once() -> None:
    """The first so many are kept, in order."""
    value = ({"password": ["sword-fish-1", "sword-fish-2", "sword-fish-3", "sword-fish-3"]}, "x", None)
    assert told(value, cap=2) == Secrets(("sword-fish-1", "sword-fish-2"), 1)
    assert told(value, cap=3) == Secrets(("sword-fish-1", "sword-fish-2", "sword-fish-3"), 0)
    assert told(value, cap=0) == Secrets((), 3)


def test_no_more_characters_than_the_masker_can_bear() -> None:
    """A string that fits exactly is kept, and a shorter one after one that does not."""
    piece = "0123456789abcdef" * 256
    fits = {f"password{number}": f"{number:03}{piece[3:]}" for number in range(CHARACTERS_MAX // 4096)}
    found = told((fits, "x", None))
    assert (sum(map(len, found.values)), found.dropped) == (CHARACTERS_MAX, 0)
    found = told(({**fits, "password": "sword-fish"}, "x", None))
    assert found.dropped == 1
    found = told(({"secret": f"x{piece[:4090]}", **fits, "password": "sword"}, "x", None))
    assert (found.dropped, "sword" in found.values) == (1, True)


@pytest.mark.parametrize(
    ("length", "sizes"), [(4096, [4096]), (4097, [2049, 2048]), (8192, [4096, 4096]), (8193, [2731] * 3)]
)
def test_a_long_string_is_told_in_equal_pieces(length: int, sizes: list[int]) -> None:
    """Each is found wherever the string is printed whole."""
    text = "".join(f"{number:07}x" for number in range(2000))[:length]
    found = of(text)
    assert [len(piece) for piece in found] == sizes
    assert "".join(found) == text


def test_short_strings_are_left_to_themselves() -> None:
    """Airflow's masker takes none below its minimum, and so nothing is counted as left out."""
    names = SensitiveNames(DEFAULT_NAMES, min_length=6)
    value = ({"password": ["abcde", "abcdef"]}, "x", None)
    assert told(value, names=names) == Secrets(("abcdef",), 0)


def test_what_is_told_is_not_printed() -> None:
    """Not even in a repr, and it stays as it is."""
    found = told(({"password": "sword-fish"}, "x", None))
    assert repr(found) == "Secrets(dropped=0)"
    with pytest.raises(FrozenInstanceError):
        found.values = ()  # type: ignore[misc]
