"""The search mark: white space behind a value's JSON, by which a pull knows that its pusher found no secret in it.

To search a value that a push has searched already may cost a pull more than all else. The mark says by which names
the pusher looked; where these are the reader's own, nothing is looked for. It is sealed with the value. A reader
that does not know it takes it for the insignificant white space of JSON (docs/adr/0201).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from secure_xcom.core.codecs import Encoded

if TYPE_CHECKING:
    from secure_xcom.core.masking.sensitive_names import SensitiveNames

RULES = 1
"""To be raised whenever masking finds something that it did not find before: then older marks say nothing."""
MARK_BYTES = 32
_WHITE = b" \t\n\r"
_SHIFTS = (6, 4, 2, 0)


@lru_cache(maxsize=8)
def search_mark(names: SensitiveNames) -> bytes:
    """Return the mark of a search by these names: 64 bits of a digest of them, two to a character."""
    looked_for = [RULES, sorted(names.names), sorted(names.listed), sorted(names.not_sensitive)]
    digest = hashlib.sha256(json.dumps(looked_for).encode()).digest()
    return bytes(_WHITE[byte >> shift & 3] for byte in digest[: MARK_BYTES // 4] for shift in _SHIFTS)


def marked(encoded: Encoded, names: SensitiveNames, max_bytes: int) -> Encoded:
    """Return an encoded value in which nothing secret was found, with the mark where it fits."""
    if encoded.size + MARK_BYTES > max_bytes:
        return encoded
    return replace(encoded, buffers=(*encoded.buffers, search_mark(names)))


def is_marked(data: bytes, names: SensitiveNames | None) -> bool:
    """Return whether a search by these names has found nothing secret in JSON."""
    return names is not None and data.endswith(search_mark(names))
