"""Check whether nothing in a plain value can be secret by a name. Most values hold nothing, and need no walk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.structure import LABEL_KEYS, VALUE_KEYS, are_pairs, is_labelled, pair_of

if TYPE_CHECKING:
    from secure_xcom.core.codecs.plain_json import Parts

# From this many on, names are looked through as one text first.
_NAMES_EACH_MAX = 64
# No text without one of these holds an assignment, a URL, or JSON.
_SIGNS = ("=", ":", "--", "]", "}")


def is_clean(parts: Parts, names: SensitiveNames, depth: int = 0) -> bool:
    """Return whether the walk of `secure_xcom.core.masking.walk` would call nothing sensitive.

    True is certain; False only says that the value has to be walked. As JSON it may be in ``depth`` texts.
    """
    return not (
        _in_keys(parts.names, names)
        or _in_labels(parts, names)
        or _in_pairs(parts.lists, names)
        or _in_texts(parts.texts, names, depth)
    )


def _in_keys(keys: set[str], names: SensitiveNames) -> bool:
    if len(keys) > _NAMES_EACH_MAX:
        from secure_xcom.core.masking.text_check import may_match

        if not may_match(keys, names):
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


def _in_texts(texts: list[str], names: SensitiveNames, depth: int) -> bool:
    text = "\n".join(texts)
    if not any(sign in text for sign in _SIGNS):
        return False
    from secure_xcom.core.masking.text_check import may_hold_secret

    return may_hold_secret(texts, text, names, depth)
