"""What in a free text is taken for a secret, where it begins and ends, and which of it the masker is told."""

from __future__ import annotations

import pytest

from secure_xcom.core.masking.secrets_in_text import scrub, secrets_in_text, spans
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from secure_xcom.core.masking.texts import TEXT_MAX_CHARACTERS

NAMES = SensitiveNames(DEFAULT_NAMES)
MASK = "***"


def hidden(text: str) -> list[tuple[str, bool]]:
    """Each suspicion, and whether the masker is told of it."""
    return [(text[span.start : span.end], span.register) for span in spans(text, NAMES)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # The password of a URL, to its last @ before the path, or to the last @ at all.
        ("see https://anna:swordfish@host/path", [("swordfish", True)]),
        ("https://anna:sword@fish@host/p@q", [("sword@fish", True)]),
        ("https://anna:sword/fish@host", [("sword/fish", True)]),
        ("https://anna:sword?fish@host", [("sword?fish", True)]),
        ("https://anna:sword#fish@host", [("sword#fish", True)]),
        ("https://:swordfish@host", [("swordfish", True)]),
        ("https://anna:s@host", [("s", True)]),
        # Neither a port, nor nothing, is a password.
        ("https://host:8443/a@b", []),
        ("https://host:8443", []),
        ("https://host:8443?a@b", []),
        ("https://host:84430/x", []),
        ("https://anna:@host", []),
        ("https://anna:@host/x@y", []),
        ("https://host/a:b@c", []),
        # So many digits are no port.
        ("https://host:844301/x@y", [("844301/x", True)]),
        # A user without a password may be a token: a long one is told.
        ("https://anna@host", [("anna", False)]),
        ("https://abcdefghijklmno@host", [("abcdefghijklmno", False)]),
        ("https://abcdefghijklmnop@host", [("abcdefghijklmnop", True)]),
        ("https://@host", []),
        ("https://host", []),
        # What a quote or a blank ends.
        ('"https://anna:sword"fish@host', []),
        ("https://anna:sword fish@host", []),
    ],
)
def test_passwords_of_urls(text: str, found: list[tuple[str, bool]]) -> None:
    """As generous as people write them."""
    assert hidden(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("password=swordfish", [("swordfish", True)]),
        ("password = swordfish,user=anna", [("swordfish", True)]),
        ("password=>swordfish;", [("swordfish", True)]),
        ('password="sword fish", user', [("sword fish", True)]),
        ("password='sword fish' user", [("sword fish", True)]),
        ('password="sword\\"fish" x', [('sword\\"fish', True)]),
        ("password='sword\\'fish' x", [("sword\\'fish", True)]),
        ('{"password": "sword fish"}', [("sword fish", True)]),
        ("{'password': 'sword fish'}", [("sword fish", True)]),
        (r"{\"password\": \"sword fish\"}", [("sword fish", True)]),
        ("password=a", [("a", True)]),
        # A short guess behind a colon is hidden, and the masker is not told.
        ("password: swordfi", [("swordfi", False)]),
        ("password: swordfis", [("swordfis", True)]),
        ("password: two words\nnext", [("two words", True)]),
        ("password: two words, next", [("two words", True)]),
        ("password: two words; next", [("two words", True)]),
        ("Authorization: Bearer abcdefgh", [("abcdefgh", True)]),
        ("Authorization: bearer abcdefg", [("abcdefg", False)]),
        ("Authorization: Basic  abcdefgh", [("abcdefgh", True)]),
        ("Authorization: Digest abcdefgh", [("abcdefgh", True)]),
        ("authorization: Token abcdefgh", [("abcdefgh", True)]),
        ("authorization: Bear abcdefgh", [("Bear abcdefgh", True)]),
        ("authorization=Bearer abcdefgh", [("Bearer", True)]),
        # A name is a word of its own.
        ("x.password=swordfish", [("swordfish", True)]),
        ("user=anna", []),
        ("https://h?a=1&password=swordfish&b=2", [("swordfish", True)]),
        ("url=https://h?token=swordfish", [("swordfish", True)]),
        # Nothing to hide behind the name.
        ("password=", []),
        ("password:  \n", []),
        ("password", []),
        # A number under a plural is a count.
        ("tokens: 12345", []),
        ("tokens: 12345x", [("12345x", False)]),
        ("token: 12345678", [("12345678", True)]),
        ("tokens=abc", [("abc", True)]),
        # Options of a command.
        ("run --password swordfish --x", [("swordfish", True)]),
        ('run --password "sword fish"', [("sword fish", True)]),
        ("run --password=swordfish", [("swordfish", True)]),
        ("run --password --x", []),
        ("run --user anna", []),
        # Each of several, and a value that holds another.
        ("password=a1 token=b2", [("a1", True), ("b2", True)]),
        ("password: x token=swordfish", [("x token=swordfish", True)]),
    ],
)
def test_assignments(text: str, found: list[tuple[str, bool]]) -> None:
    """Under a sensitive name, in every way in which programs write them."""
    assert hidden(text) == found


@pytest.mark.parametrize("length", [64, 65])
def test_a_name_has_at_most_64_characters(length: int) -> None:
    """Of a longer word the last 64 would be another name, so it names nothing."""
    text = "x" * (length - len("password")) + "password=swordfish"
    assert hidden(text) == ([("swordfish", True)] if length == 64 else [])


@pytest.mark.parametrize(("blanks", "found"), [(4, True), (5, False)])
def test_blanks_around_a_sign_are_few(blanks: int, found: bool) -> None:
    """More are a table, and not an assignment."""
    assert bool(hidden(f"password{' ' * blanks}=swordfish")) is found
    assert bool(hidden(f"run --password{' ' * blanks}swordfish")) is found


def test_a_text_is_searched_up_to_a_limit() -> None:
    """What begins behind it is not looked for; a value that goes over it is cut."""
    room = TEXT_MAX_CHARACTERS - len("password=swordfish")
    assert hidden(" " * room + "password=swordfish") == [("swordfish", True)]
    assert hidden(" " * (room + 5) + "password=swordfish") == [("swor", True)]
    assert hidden(" " * TEXT_MAX_CHARACTERS + "password=swordfish") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("password=swordfish", ["swordfish", "swordfish"]),
        ("f(password=swordfish)", ["swordfish)", "swordfish"]),
        ("[{password=swordfish}].", ["swordfish}].", "swordfish"]),
        ("password=sword%20fish", ["sword%20fish"] * 2 + ["sword fish"] * 2),
        ("password=sword+fish", ["sword+fish"] * 3 + ["sword fish"]),
        ("password=swordfish~", ["swordfish~"] * 2),
        ("password: short", []),
        ("password: short\nhttps://anna@host token=swordfish", ["swordfish"] * 2),
        ("https://anna@host", []),
    ],
)
def test_what_the_masker_is_told(text: str, told: list[str]) -> None:
    """As written, without a closing bracket that may not belong to it, and decoded in both ways."""
    assert list(secrets_in_text(text, NAMES)) == told


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://anna:swordfish@host", "see https://anna:***@host"),
        ("see https://anna@host", "see https://***@host"),
        ("password: x, user: anna", "password: ***, user: anna"),
        ("nothing here: 1", "nothing here: 1"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", MASK),
        ("-----BEGIN PUBLIC KEY-----\nMIIE", "-----BEGIN PUBLIC KEY-----\nMIIE"),
        ("jwt eyJhbGciOiJ.eyJzdWIi.c2ln end", "jwt *** end"),
        ("jwt eyJhbGciOi.a end", "jwt eyJhbGciOi.a end"),
        ("jwt eyJhbGciOiJ end", "jwt eyJhbGciOiJ end"),
        ("password=eyJhbGciOi.eyJzdWIi.c2ln.more", "password=***"),
    ],
)
def test_a_picture_hides_every_suspicion(text: str, shown: str) -> None:
    """Tokens by their form, and a whole text that holds a private key."""
    assert scrub(text, NAMES, MASK) == shown
