"""Check whether nothing in a plain value can be secret by a name. Most values hold nothing, and need no walk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.structure import (
    LABEL_KEYS,
    TEXT_MAX_CHARACTERS,
    VALUE_KEYS,
    are_pairs,
    is_labelled,
    looks_like_json,
    pair_of,
)

if TYPE_CHECKING:
    from secure_xcom.core.codecs.plain_json import Parts

# From this many on, names are looked through as one text first.
_NAMES_EACH_MAX = 64
# In a dict's key anything may join words; in a text that assigns a value only these
# (`secure_xcom.core.masking.secrets_in_text`).
_KEY_JOINTS = bytes(code for code in range(128) if not chr(code).isalnum())
_TEXT_JOINTS = b"_.-"
_SIGNS = ("=", ":", "--")
# JSON within a string begins so. Behind any line's beginning, because the texts are looked at as one.
_BRACKET = re.compile(r"\n\s*[\[{]")


def is_clean(parts: Parts, names: SensitiveNames) -> bool:
    """Return whether the walk of `secure_xcom.core.masking.walk` would call nothing sensitive.

    True is certain; False only says that the value has to be walked.
    """
    return not (
        _in_keys(parts.names, names)
        or _in_labels(parts, names)
        or _in_pairs(parts.lists, names)
        or _in_texts(parts.texts, names)
    )


def _in_keys(keys: set[str], names: SensitiveNames) -> bool:
    if len(keys) > _NAMES_EACH_MAX and not names.may_be_in("\0".join(keys), joints=_KEY_JOINTS):
        return False
    return any(map(names.matches, keys))


def _in_labels(parts: Parts, names: SensitiveNames) -> bool:
    if VALUE_KEYS.isdisjoint(parts.names) or parts.names.isdisjoint(LABEL_KEYS):
        return False
    return any(is_labelled(node, names) for node in parts.dicts)


def _in_pairs(lists: Sequence[list[Any]], names: SensitiveNames) -> bool:
    for node in lists:
        # Asked of the first alone before all are looked at, since most lists hold something else.
        if node and pair_of(node[0]) and are_pairs(node):
            pairs = (pair_of(item) for item in node)
            if any(names.matches(pair[0]) for pair in pairs if pair):
                return True
    return False


def _in_texts(texts: list[str], names: SensitiveNames) -> bool:
    """Return whether a text may hold an assignment to a sensitive name, a URL's password, or JSON."""
    text = "\n".join(["", *texts])
    if len(text) > TEXT_MAX_CHARACTERS and any(len(each) > TEXT_MAX_CHARACTERS for each in texts):
        if any(len(each) > TEXT_MAX_CHARACTERS and looks_like_json(each) for each in texts):
            return True
        # Assignments are looked for in no more of it.
        texts = [each[:TEXT_MAX_CHARACTERS] for each in texts]
        text = "\n".join(["", *texts])
    if ("[" in text or "{" in text) and _BRACKET.search(text):
        return True
    in_urls = "@" in text and "://" in text
    if in_urls or (any(sign in text for sign in _SIGNS) and names.may_be_in(text, joints=_TEXT_JOINTS)):
        from secure_xcom.core.masking.secrets_in_text import secrets_in_text

        return any(True for text in texts for _ in secrets_in_text(text, names))
    return False
