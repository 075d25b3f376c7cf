"""Find secrets inside free text: passwords in URLs, ``name=value``, ``name: value``, ``--name value``.

Text is guessed at, so two questions have two answers: what a preview hides is generous, and what is
registered with Airflow's masker, which then vanishes from every log line, has to look like a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.texts import TEXT_MAX_CHARACTERS, cut_out

# Every repetition is bounded or cannot overlap with what follows it, so a hostile text costs linear time.
_URL = re.compile(r"""://(?P<user>[^\s:/?#@"'<>]{0,256})(?P<rest>[^\s"'<>]{0,4096})""")
_NAMED = re.compile(
    r"""(?<![\w.])(?P<name>[A-Za-z_][\w.\-]{0,63})(?P<sign>\\{0,3}["']?\s{0,4}(?:=>|[:=])\s{0,4})"""
)
_FLAG = re.compile(r"--(?P<name>[A-Za-z][\w.\-]{0,63})(?P<sign>\s{1,4})(?![\s\-])")
_VALUE = re.compile(
    r"""  "(?P<double>(?:[^"\\]|\\.)*) | '(?P<single>(?:[^'\\]|\\.)*) | \\{1,3}["'](?P<escaped>[^"'\\]*)
        | (?P<bare>[^\s,;&"'<>]+)""",
    re.VERBOSE | re.DOTALL,
)
_PORT = re.compile(r":\d{1,5}(?=[/?#]|\Z)")
_REST_OF_LINE = re.compile(r"[^\r\n,;]*")
_SCHEME = re.compile(r"(?:Bearer|Basic|Token|Digest)\s+", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]+){1,4}")
_PRIVATE_KEY = "PRIVATE KEY-----"

# A guess is registered from this many characters on, and a URL's user name, which may be a token, from these.
_GUESS_MIN, _TOKEN_MIN = 8, 16
# What closes a bracket around an unquoted value is no part of it, unless it is.
_CLOSING = ")]}."


class Span(NamedTuple):
    """A part of a text that is hidden; ``register`` says whether it looks enough like a secret for the masker."""

    start: int
    end: int
    register: bool


def secrets_in_text(text: str, names: SensitiveNames) -> Iterator[str]:
    """Yield what the masker is to be told of this text, as written and with percent-escapes undone."""
    for span in spans(text, names):
        if not span.register:
            continue
        secret = text[span.start : span.end]
        yield secret
        yield secret.rstrip(_CLOSING)
        if "%" in secret or "+" in secret:
            yield unquote(secret)
            yield unquote_plus(secret)


def scrub(text: str, names: SensitiveNames, mask: str) -> str:
    """Return the text with every suspicion hidden."""
    if _PRIVATE_KEY in text:
        return mask
    places = [(span.start, span.end) for span in spans(text, names)]
    places += [match.span() for match in _JWT.finditer(text)]
    return cut_out(text, places, mask)


def spans(text: str, names: SensitiveNames) -> Iterator[Span]:
    """Yield where secrets stand in a text, in no order; they may overlap."""
    text = text[:TEXT_MAX_CHARACTERS]
    if "://" in text:
        for match in _URL.finditer(text):
            yield from _in_url(match)
    if "=" in text or ":" in text:
        yield from _assigned(_NAMED, text, names)
    if "--" in text:
        yield from _assigned(_FLAG, text, names)


def _in_url(match: re.Match[str]) -> Iterator[Span]:
    user, rest, start = match["user"], match["rest"], match.start("rest")
    if rest.startswith("@"):
        # Without a password the user name may be a token (https://TOKEN@host), or just a name.
        if user:
            yield Span(*match.span("user"), register=len(user) >= _TOKEN_MIN)
        return
    if not rest.startswith(":"):
        return
    end_of_password = re.split(r"[/?#]", rest, maxsplit=1)[0].rfind("@")
    if end_of_password < 1 and not _PORT.match(rest):
        # A password may hold an unescaped / ? or #, where a strict reader would take the user for the host.
        end_of_password = rest.rfind("@")
    if end_of_password > 1:
        yield Span(start + 1, start + end_of_password, register=True)


def _assigned(named: re.Pattern[str], text: str, names: SensitiveNames) -> Iterator[Span]:
    # A value is looked at under a sensitive name only: one that is not sensitive may hold assignments itself
    # (url=https://host?token=...), and reading each value to its end would take quadratic time.
    position = 0
    while match := named.search(text, position):
        position = match.end()
        value = _VALUE.match(text, position) if names.matches(match["name"]) else None
        # "tokens: 12345" counts.
        if value and not (value.group().isdigit() and names.counts(match["name"])):
            span = _value_span(text, match["sign"], value)
            position = max(position, span.end)
            yield span


def _value_span(text: str, sign: str, value: re.Match[str]) -> Span:
    group = value.lastgroup or "bare"
    start, end = value.span(group)
    if group != "bare" or ":" not in sign:
        return Span(start, end, register=True)
    # "Authorization: Bearer abc" and "password: two words" go on to the end of their line.
    rest = _REST_OF_LINE.match(text, start)
    end = max(end, rest.end() if rest else end)
    scheme = _SCHEME.match(text, start, end)
    start = scheme.end() if scheme else start
    return Span(start, end, register=end - start >= _GUESS_MIN)
