"""Find texts that may hold a secret: an assignment to a sensitive name, a URL's password, or either in JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from pydantic_core import SchemaValidator, core_schema

from secure_xcom.core.codecs.plain_json import from_json, plain_parts
from secure_xcom.core.masking.sensitive_names import COUNTED, SensitiveNames
from secure_xcom.core.masking.structure import LABEL_KEYS
from secure_xcom.core.masking.suspects import BETWEEN, suspects
from secure_xcom.core.masking.texts import TEXT_DEPTH_MAX, TEXT_MAX_CHARACTERS, looks_like_json

# If one of several texts may hold a secret, they are split into so many groups, and each is searched again.
_TOGETHER = 8
# In a dict's key anything may join words; in a text that assigns a value only these.
_KEY_JOINTS = bytes(code for code in range(128) if not chr(code).isalnum())
_TEXT_JOINTS = b"_.-"
# What in JSON's text may join the words of a name, without what gives JSON its form.
_JSON_JOINTS = bytes(set(_KEY_JOINTS) - set(b'":,[]{}\0'))
_LOWER = bytes(range(256)).lower()
# The rest of a name, and its sign.
_SIGN = r"""[a-z0-9]*\\*["']?[\t-\r\x1c-\x20]*[=:]"""
# What stands before the name of a flag, and between its letters.
_FLAG, _JOINT = "--[a-z0-9_.-]*", "[_.-]*"
# A URL with a user and perhaps a password, as `secrets_in_text` reads it or with more behind it.
_URL_USER = r"""://[^\t-\r\x1c-\x20:/?#@"'<>]*(?:@|:[^\t-\r\x1c-\x20"'<>]*@)"""
# A count, such as "total_tokens=12". `SensitiveNames.counts` takes the plural for one word in these two spellings.
# The expression begins with the letters that both share, because Python finds such a beginning fast.
_COUNTS = {
    letters: re.compile(
        rf"""{letters}(?<=[{first}{first.upper()}]{letters})\\{{0,3}}["']?\s{{0,4}}(?:=>|[:=])\s{{0,4}}[0-9]+(?=[\s,;&"'<>\0]|\Z)"""
    )
    for first, letters in ((plural[0], plural[1:]) for plural in COUNTED)
}


def suspicious_texts(texts: list[str], text: str, names: SensitiveNames, depth: int) -> list[str]:
    """Return the texts, which are joined in ``text``, that may hold a secret. The others certainly hold none."""
    found: list[str] = []
    if _has_long(text):
        found = [each for each in texts if len(each) > TEXT_MAX_CHARACTERS and looks_like_json(each)]
        # Assignments are looked for in no more of the others.
        texts = _without(texts, found)
        text = BETWEEN.join(each[:TEXT_MAX_CHARACTERS] for each in texts)
    if "]" in text or "}" in text:
        ended = [each for each in texts if each.rstrip().endswith(("]", "}")) and looks_like_json(each)]
        if ended:
            parsed = ended if depth >= TEXT_DEPTH_MAX else _unsure_json(ended, names)
            holding, no_json = (
                (parsed, ()) if depth >= TEXT_DEPTH_MAX or not parsed else _as_json(parsed, names, depth)
            )
            found += holding
            # What was parsed is not guessed at.
            texts = [*no_json, *_without(texts, parsed)]
            text = BETWEEN.join(each[:TEXT_MAX_CHARACTERS] for each in texts)
    return found + _assigning(texts, text, names)


def _has_long(text: str) -> bool:
    """Return whether one of joined texts is longer than what is searched. One with a NUL may go unnoticed."""
    start = 0
    while len(text) - start > TEXT_MAX_CHARACTERS:
        end = text.rfind(BETWEEN, start, start + TEXT_MAX_CHARACTERS + 1)
        if end < 0:
            return True
        start = end + 1
    return False


def _without(texts: list[str], others: list[str]) -> list[str]:
    ids = set(map(id, others))
    return [each for each in texts if id(each) not in ids]


def _assigning(texts: list[str], text: str, names: SensitiveNames) -> list[str]:
    """Return the texts that may have an assignment to a sensitive name or a URL with a password."""
    # No number is a count under a name that the deployment lists itself, and one before a NUL need not be one.
    if not names.listed and _matcher("|".join(_COUNTS))(text) and text.count(BETWEEN) < len(texts):
        for letters, counts in _COUNTS.items():
            if _matcher(letters)(text):
                text = counts.sub("", text)
    finders = _finders(text, names)
    if finders and text.count(BETWEEN) >= len(texts):
        return texts
    numbers = {number for finder in finders for number in _numbers(*finder)}
    return [texts[number] for number in sorted(numbers)]


def _finders(text: str, names: SensitiveNames) -> list[tuple[bytes, Callable[[bytes], bool]]]:
    """Return the matchers that find something in a text, each with the form of the text that it searches."""
    data = _ascii(text)
    # Without what may join them, the letters of a name are one run in every spelling.
    finders = [(data.translate(_LOWER, _TEXT_JOINTS), _finder(names.names, behind=_SIGN))]
    if b"@" in data and b"://" in data:
        finders.append((data.lower(), _matcher(_URL_USER)))
    if _matcher("--")(data):
        finders.append((data.lower(), _finder(names.names, before=_FLAG, joint=_JOINT)))
    return [(searched, finds) for searched, finds in finders if finds(searched)]


def _ascii(text: str) -> bytes:
    """Return what of a text is ASCII, or becomes it in lower case."""
    if not text.isascii():
        # There are no other such letters.
        text = text.replace("\u212a", "k").replace("\u0130", "i")
    return text.encode("ascii", "ignore")


def _numbers(searched: bytes, finds: Callable[[bytes], bool]) -> Iterator[int]:
    """Yield the numbers of the texts that match. Groups of texts are tried first."""
    between = BETWEEN.encode()
    parts = searched.split(between)
    groups = [(0, len(parts))]
    while groups:
        start, end = groups.pop()
        if not finds(between.join(parts[start:end])):
            continue
        if end - start == 1:
            yield start
            continue
        step = -(-(end - start) // _TOGETHER)
        groups += [(first, min(first + step, end)) for first in range(start, end, step)]


def _unsure_json(texts: list[str], names: SensitiveNames) -> list[str]:
    """Return the texts that, as JSON, may have a sensitive name. That of the others has none, if they are JSON.

    They are not parsed for it: without escapes, what stands in quotes is what JSON says.
    """
    plain = [text for text in texts if "\\" not in text]
    joined = BETWEEN.join(plain)
    if not all(map(str.isascii, names.names)) or '"__' in joined or joined.count(BETWEEN) >= len(plain):
        return texts
    named = _matcher(_named_in_json(names.names | names.joined))
    numbers = _numbers(_ascii(joined).translate(_LOWER, _JSON_JOINTS), named)
    return [*(plain[number] for number in sorted(numbers)), *_without(texts, plain)]


@lru_cache(maxsize=32)
def _named_in_json(names: frozenset[str]) -> str:
    """Return the pattern of a key, a label, or a list's first text that may be one of these names.

    Without `_JSON_JOINTS` the letters of a name are one run. What a sign of JSON's own breaks may be any name.
    """
    letters = "|".join(sorted({re.escape(name.replace("_", "")) for name in names}))
    broken = r'[^":,\[\]{}]*[:,\[\]{}][^"]*"'
    label = '"(?:' + "|".join(LABEL_KEYS) + ')":"'
    named = rf'(?:{letters})[a-z0-9]*":|(?:\["|{label})[^"]*(?:{letters})'
    return rf'{named}|"{broken}:|\["{broken},|{label}{broken}'


def _as_json(texts: list[str], names: SensitiveNames, depth: int) -> tuple[list[str], list[str]]:
    """Return the texts that may hold a secret as JSON, and those that are no JSON."""
    try:
        clean = _is_clean_json(texts, names, depth)
    except ValueError:
        if len(texts) == 1:
            return [], texts
    else:
        if clean:
            return [], []
        if len(texts) <= _TOGETHER:
            return texts, []
    step = -(-len(texts) // _TOGETHER)
    groups = [_as_json(texts[start : start + step], names, depth) for start in range(0, len(texts), step)]
    return [text for holding, _ in groups for text in holding], [text for _, others in groups for text in others]


def _is_clean_json(texts: list[str], names: SensitiveNames, depth: int) -> bool:
    """Return whether all of the texts are JSON that certainly holds no secret.

    :raises ValueError: one of them is no JSON.
    """
    # Parsed as one list, which is faster. What nobody can foresee tells that each text is one entry of it.
    mark = os.urandom(16).hex()
    data = ("[" + f',"{mark}",'.join(texts) + "]").encode("utf-8", "surrogatepass")
    try:
        values = from_json(data)
    except RecursionError:
        return False
    if len(values) != 2 * len(texts) - 1 or any(value != mark for value in values[1::2]):
        raise ValueError("these are other entries")
    parts = plain_parts(values[::2], decoded=True)
    if parts is None or suspects(parts, names, depth + 1) is not None:
        return False
    # Of a name that comes twice only the last value is here, and the walk finds each: then there are more quotes.
    return _quotes(data) == 2 * (sum(map(len, parts.dicts)) + len(parts.texts) + len(texts) - 1)


def _quotes(data: bytes) -> int:
    """Return how many quotes begin or end a string of JSON."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Faster than `count` where there are many.
    return len(data) - len(data.translate(None, b'"'))


def may_match(keys: Iterable[str], names: SensitiveNames) -> bool:
    """Return whether any of many keys may be sensitive. False is certain."""
    low = BETWEEN.join(keys).lower().encode("ascii", "ignore")
    # A short name turns up by chance where words are joined ("records_now" holds "dsn").
    return _finder(names.names)(low) or _finder(names.joined)(low.translate(None, _KEY_JOINTS))


@lru_cache(maxsize=32)
def _finder(
    names: frozenset[str], *, before: str = "", behind: str = "", joint: str = ""
) -> Callable[[bytes], bool]:
    """Return what tells whether any of these names is in ASCII in lower case, at once (docs/adr/0140).

    :param joint: a pattern of what may stand between two letters.
    """
    letters = "|".join(sorted({joint.join(map(re.escape, name.replace("_", ""))) for name in names})) or r"[^\s\S]"
    # Names of other alphabets have spellings that are not known here; an empty pattern finds anything.
    return _matcher(f"{before}(?:{letters}){behind}" if all(map(str.isascii, names)) else "")


@lru_cache(maxsize=32)
def _matcher(pattern: str) -> Callable[[bytes | str], bool]:
    """Return what tells whether a pattern is found anywhere in a text."""
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")).isinstance_python
