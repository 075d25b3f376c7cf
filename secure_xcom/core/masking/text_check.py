"""Prove that texts hold no secret: no assignment to a sensitive name, no URL's password, and none in JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from pydantic_core import SchemaValidator, core_schema

from secure_xcom.core.codecs.plain_json import from_json, plain_parts
from secure_xcom.core.masking.clean_check import BETWEEN, is_clean
from secure_xcom.core.masking.secrets_in_text import secrets_in_text
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.texts import TEXT_DEPTH_MAX, TEXT_MAX_CHARACTERS, looks_like_json

# In a dict's key anything may join words; in a text that assigns a value only these.
_KEY_JOINTS = bytes(code for code in range(128) if not chr(code).isalnum())
_TEXT_JOINTS = b"_.-"
# The rest of a name, and its sign.
_SIGN = r"""[a-z0-9]*\\*["']?[\t-\r\x1c-\x20]*[=:]"""
# A URL with a user and perhaps a password, as `secrets_in_text` reads it or with more behind it.
_URL_USER = r"""://[^\t-\r\x1c-\x20:/?#@"'<>]*(?:@|:[^\t-\r\x1c-\x20"'<>]*@)"""
# What counts: "total_tokens=12". The plural is spelled such that `SensitiveNames.counts` sees it as one word, and
# each begins with the letters that are the same in both spellings, which is how Python finds them fast.
_COUNTS = {
    letters: re.compile(
        rf"""{letters}(?<=[{first}]{letters})\\{{0,3}}["']?\s{{0,4}}(?:=>|[:=])\s{{0,4}}[0-9]+(?=[\s,;&"'<>\0]|\Z)"""
    )
    for first, letters in (("tT", "okens"), ("sS", "ecrets"), ("pP", "asswords"), ("kK", "eys"))
}


def may_hold_secret(texts: list[str], text: str, names: SensitiveNames, depth: int) -> bool:
    """Return whether any of the texts, which stand one after the other in ``text``, may hold a secret.

    False is certain.
    """
    if len(text) > TEXT_MAX_CHARACTERS and max(map(len, texts)) > TEXT_MAX_CHARACTERS:
        if any(len(each) > TEXT_MAX_CHARACTERS and looks_like_json(each) for each in texts):
            return True
        # Assignments are looked for in no more of it.
        texts = [each[:TEXT_MAX_CHARACTERS] for each in texts]
        text = BETWEEN.join(texts)
    if "]" in text or "}" in text:
        ended = [each for each in texts if each.rstrip().endswith(("]", "}")) and looks_like_json(each)]
        if ended:
            no_json = None if depth >= TEXT_DEPTH_MAX else _no_json(ended, names, depth)
            if no_json is None:
                return True
            # What was parsed is not guessed at.
            parsed = set(map(id, ended))
            texts = [*no_json, *(each for each in texts if id(each) not in parsed)]
            text = BETWEEN.join(texts)
    return any(next(secrets_in_text(each, names), None) is not None for each in _suspicious(texts, text, names))


def _suspicious(texts: list[str], text: str, names: SensitiveNames) -> Iterable[str]:
    """Return the texts that may have an assignment to a sensitive name or a URL with a password."""
    if not _may_hold(text, names):
        return ()
    if text.count(BETWEEN) >= len(texts):
        return texts
    # A name that the deployment lists itself counts nothing.
    for letters, pattern in ({} if names.listed else _COUNTS).items():
        if letters in text:
            text = pattern.sub("", text)
    if not _may_hold(text, names):
        return ()
    return (each for each, part in zip(texts, text.split(BETWEEN), strict=True) if _may_hold(part, names))


def _may_hold(text: str, names: SensitiveNames) -> bool:
    low = text.lower().encode("ascii", "ignore")
    if b"@" in low and b"://" in low and _matcher(_URL_USER)(low):
        return True
    # Without what may join them, the letters of a name are one run in every spelling.
    letters = low.translate(None, _TEXT_JOINTS)
    return _finder(names.names, _SIGN)(letters) or (b"--" in low and _finder(names.names, "")(letters))


def _no_json(texts: list[str], names: SensitiveNames, depth: int) -> list[str] | None:
    """Return the texts that are no JSON; None where what is JSON may hold a secret."""
    # Parsed as one list, which is faster. What nobody can foresee tells that each text is one entry of it.
    mark = os.urandom(16).hex()
    data = ("[" + f',"{mark}",'.join(texts) + "]").encode("utf-8", "surrogatepass")
    try:
        values = from_json(data)
    except RecursionError:
        return None
    except ValueError:
        values = []
    if len(values) != 2 * len(texts) - 1 or any(value != mark for value in values[1::2]):
        half = len(texts) // 2
        if not half:
            return texts
        left = _no_json(texts[:half], names, depth)
        right = None if left is None else _no_json(texts[half:], names, depth)
        return None if left is None or right is None else left + right
    parts = plain_parts(values, decoded=True)
    if parts is None or not is_clean(parts, names, depth + 1):
        return None
    # Of a name that comes twice only the last value is here, and the walk finds each: then there are more quotes.
    return [] if _quotes(data) == 2 * (sum(map(len, parts.dicts)) + len(parts.texts)) else None


def _quotes(data: bytes) -> int:
    """Return how many quotes begin or end a string of JSON."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Faster than `count` where there are many.
    return len(data) - len(data.translate(None, b'"'))


def may_match(keys: Iterable[str], names: SensitiveNames) -> bool:
    """Return whether any of many keys may be sensitive. False is certain."""
    low = "\0".join(keys).lower().encode("ascii", "ignore")
    # A short name turns up by chance where words are joined ("records_now" holds "dsn").
    return _finder(names.names, "")(low) or _finder(names.joined, "")(low.translate(None, _KEY_JOINTS))


@lru_cache(maxsize=32)
def _finder(names: frozenset[str], behind: str) -> Callable[[bytes], bool]:
    """Return what tells whether any of these names is in ASCII in lower case, at once (docs/adr/0140)."""
    letters = "|".join(sorted({re.escape(name.replace("_", "")) for name in names})) or r"[^\s\S]"
    # Names of other alphabets have spellings that are not known here; an empty pattern finds anything.
    pattern = f"(?:{letters}){behind}" if all(map(str.isascii, names)) else ""
    return _matcher(pattern)


@lru_cache(maxsize=32)
def _matcher(pattern: str) -> Callable[[bytes], bool]:
    """Return what tells whether a pattern is found anywhere in ASCII."""
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")).isinstance_python
