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
BETWEEN = "\0"
"""What stands between texts that are searched as one: no name, sign or value goes on beyond it."""


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
    # Most lists of two are no pair whose name is sensitive, so what stands around them is looked at last.
    firsts = {node[0] for node in lists if len(node) == 2 and type(node[0]) is str}
    return _in_keys(firsts, names) and any(
        names.matches(pair[0]) for node in lists if are_pairs(node) for pair in map(pair_of, node) if pair
    )


def _in_texts(texts: list[str], names: SensitiveNames, depth: int) -> bool:
    text = BETWEEN.join(texts)
    if not any(sign in text for sign in _SIGNS):
        return False
    from secure_xcom.core.masking.text_check import may_hold_secret

    return may_hold_secret(texts, text, names, depth)
