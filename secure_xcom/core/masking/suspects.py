"""Find what in a plain value may be secret by a name. Most values hold no such thing and need no walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING

from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.structure import LABEL_KEYS, VALUE_KEYS, is_labelled

if TYPE_CHECKING:
    from secure_xcom.core.codecs.plain_json import Parts

# From this many on, names are looked through as one text first.
_NAMES_EACH_MAX = 64
# No text without one of these holds an assignment, a URL, or JSON.
_SIGNS = ("=", ":", "--", "]", "}")
BETWEEN = "\0"
"""What stands between texts that are searched as one: no name, sign or value goes on beyond it."""


@dataclass(frozen=True, slots=True)
class Suspects:
    """What in a plain value may be secret.

    :ivar names: the sensitive names among the keys of its dicts.
    :ivar labels: whether a dict's field may say that another one is secret.
    :ivar pairs: whether a list of names and values may have a sensitive name.
    :ivar texts: the strings that may hold a secret.
    """

    names: frozenset[str] = field(repr=False)
    labels: bool
    pairs: bool
    texts: Sequence[str] = field(repr=False)


def suspects(parts: Parts, names: SensitiveNames, depth: int = 0) -> Suspects | None:
    """Return what has to be walked (see `secure_xcom.core.masking.walk`); None where nothing can be sensitive.

    None is certain; what is returned may turn out to be nothing.

    :param depth: in how many texts the value is, as JSON.
    """
    may_be_labelled = not (VALUE_KEYS.isdisjoint(parts.names) or parts.names.isdisjoint(LABEL_KEYS))
    labels = may_be_labelled and any(is_labelled(node, names) for node in parts.dicts)
    # A list of two may be a pair; what stands beside it is not looked at here.
    twos = compress(parts.lists, map((2).__eq__, map(len, parts.lists)))
    firsts = {first for first, _ in twos if type(first) is str}
    pairs = bool(_sensitive(firsts, names))
    texts: Sequence[str] = ()
    text = BETWEEN.join(parts.texts)
    if any(sign in text for sign in _SIGNS):
        from secure_xcom.core.masking.text_check import suspicious_texts

        texts = suspicious_texts(parts.texts, text, names, depth)
    found = Suspects(_sensitive(parts.names, names), labels, pairs, texts)
    return found if found.names or labels or pairs or texts else None


def _sensitive(keys: set[str], names: SensitiveNames) -> frozenset[str]:
    if len(keys) > _NAMES_EACH_MAX:
        from secure_xcom.core.masking.text_check import may_match

        if not may_match(keys, names):
            return frozenset()
    return frozenset(filter(names.matches, keys))
