"""Prove that texts hold no secret: no assignment to a sensitive name, no URL's password, and none in JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from pydantic_core import SchemaValidator, core_schema

from secure_xcom.core.codecs.plain_json import from_json, plain_parts
from secure_xcom.core.masking.clean_check import is_clean
from secure_xcom.core.masking.secrets_in_text import secrets_in_text
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.texts import TEXT_DEPTH_MAX, TEXT_MAX_CHARACTERS, looks_like_json

# In a dict's key anything may join words; in a text that assigns a value only these.
_KEY_JOINTS = bytes(code for code in range(128) if not chr(code).isalnum())
_TEXT_JOINTS = b"_.-"
# The rest of a name, and its sign.
_SIGN = r"""[a-z0-9]*\\*["']?[\t-\r\x1c-\x20]*[=:]"""


def may_hold_secret(texts: list[str], text: str, names: SensitiveNames, depth: int) -> bool:
    """Return whether any of the texts, which are the lines of ``text``, may hold a secret. False is certain."""
    if len(text) > TEXT_MAX_CHARACTERS and any(len(each) > TEXT_MAX_CHARACTERS for each in texts):
        if any(len(each) > TEXT_MAX_CHARACTERS and looks_like_json(each) for each in texts):
            return True
        # Assignments are looked for in no more of it.
        texts = [each[:TEXT_MAX_CHARACTERS] for each in texts]
        text = "\n".join(texts)
    if "]" in text or "}" in text:
        ended = [each for each in texts if each.rstrip().endswith(("]", "}")) and looks_like_json(each)]
        if ended and (depth >= TEXT_DEPTH_MAX or _in_json(ended, names, depth)):
            return True
    in_urls, assigned = "@" in text and "://" in text, _may_be_assigned(text, names)
    for each in texts if in_urls or assigned else ():
        if ((in_urls and "@" in each and "://" in each) or (assigned and _may_be_assigned(each, names))) and next(
            secrets_in_text(each, names), None
        ) is not None:
            return True
    return False


def _in_json(texts: list[str], names: SensitiveNames, depth: int) -> bool:
    # Parsed as one list, which is faster. What nobody can foresee tells that each text is one entry of it.
    mark = os.urandom(16).hex()
    data = "[" + f',"{mark}",'.join(texts) + "]"
    try:
        values = from_json(data.encode("utf-8", "surrogatepass"))
    except RecursionError:
        return True
    except ValueError:
        values = []
    if len(values) != 2 * len(texts) - 1 or any(value != mark for value in values[1::2]):
        return len(texts) > 1 and any(_in_json([each], names, depth) for each in texts)
    parts = plain_parts(values, decoded=True)
    if parts is None:
        return True
    # Of a name that comes twice only the last value is here, and the walk finds each: then there are more quotes.
    quotes = data.replace("\\\\", "").replace('\\"', "").count('"')
    return quotes != 2 * (sum(map(len, parts.dicts)) + len(parts.texts)) or not is_clean(parts, names, depth + 1)


def may_match(keys: Iterable[str], names: SensitiveNames) -> bool:
    """Return whether any of many keys may be sensitive. False is certain."""
    low = "\0".join(keys).lower().encode("ascii", "ignore")
    # A short name turns up by chance where words are joined ("records_now" holds "dsn").
    return _finder(names.names, "")(low) or _finder(names.joined, "")(low.translate(None, _KEY_JOINTS))


def _may_be_assigned(text: str, names: SensitiveNames) -> bool:
    # Without what may join them, the letters of a name are one run in every spelling.
    letters = text.lower().encode("ascii", "ignore").translate(None, _TEXT_JOINTS)
    return _finder(names.names, _SIGN)(letters) or ("--" in text and _finder(names.names, "")(letters))


@lru_cache(maxsize=32)
def _finder(names: frozenset[str], behind: str) -> Callable[[bytes], bool]:
    """Return what tells whether any of these names is in ASCII in lower case, at once (docs/adr/0140)."""
    letters = "|".join(sorted({re.escape(name.replace("_", "")) for name in names})) or r"[^\s\S]"
    # Names of other alphabets have spellings that are not known here; an empty pattern finds anything.
    pattern = f"(?:{letters}){behind}" if all(map(str.isascii, names)) else ""
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")).isinstance_python
