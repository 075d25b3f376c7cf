"""Recognize names that contain a sensitive name and are not secret (docs/how-to/mask-secrets.md; why: ADR 0087).

The last word of a name says what the value is: a ``password_policy`` is a policy, a ``next_page_token`` is a place
in a list. In doubt a name stays sensitive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

# Words that merely begin like a sensitive name. What is left of the name without them is judged.
_OTHER_WORDS = re.compile(
    r"(?:de)?tokeni[sz](?:ers?|e[ds]?|ing|ations?)|(?:under)?secretar(?:y|ies|ial|iats?)|secretions?|secretory"
    r"|passwordless"
)
# A description of a secret: its kind, name, place, size, time or rules.
_DESCRIPTION = re.compile(
    r"_(?:types?|kind|format|encoding|alg|algorithms?|scheme|methods?|mode|scopes?|audience|issuer|supported|status"
    r"|names?|namespace|path|arn|refs?|versions?|engine|backend|policy|policies|rules|requirements|strategy"
    r"|counts?|length|len|size|limits?|quota|budget|usage|cost|price|rate|ratio|percent|logprobs?|probability"
    r"|ttl|lifetime|age|duration|timeout|expiry|expiration|expires|expires_in|expires_on|at|date|time|timestamp"
    r"|seconds|minutes|hours|days|ms|per_(?:sec|second|min|minute|hour|day|month|request|call))\Z"
)
# These cover the end of a name. What is left before it is judged.
_ENDINGS = re.compile(
    r"(?:\A|_)(?:"
    # Places in a list, and ids that make a request idempotent.
    r"(?:(?:next_?)?page|paging|pagination|next|next_?sync|continuation|starting|resume|resumption|delta|skip|scroll|cursor"
    r"|change|idempotency|client_?request)_?tokens?"
    # Pieces of text, as language models count them.
    r"|(?:max|min|total|num|n|avg|average|prompt|completion|input|output|generated|cached|reasoning|prediction|audio"
    r"|text|image|thinking|special|stop)(?P<middle>(?:_?[a-z0-9]+)??)_?tokens(?:_details|_to_sample)?"
    r"|(?:eos|bos|pad|unk|sep|cls|mask|stop|decoder_start)_token(?:_ids?)?|(?:per|to_first)(?:_input|_output|_generated)?_token"
    r"|tokens_(?:used|remaining|left|total|max|min)|token_(?:type_)?ids"
    # Identifiers that nobody can log in with, addresses, and Kubernetes' references to secrets.
    r"|(?:api|private|service)_?key_id|service_account_(?:id|email)|image_?pull_?secrets?|proxy_(?:host|port)"
    r"|(?:token|authorization)_(?:url|uri|endpoint)"
    r")\Z"
)
# A link that was sent to somebody (`reset_token_url`) holds the token.
_LINK = re.compile(
    r"(?:reset|invite|invitation|confirm|confirmation|magic|login|share|shared|signed|presigned|verification|verify"
    r"|activation|activate|unlock|unsubscribe|subscription|download|upload|feed|callback|webhook|registration"
    r"|register|signup|temporary|one_time)_\w*_(?:url|uri|endpoint)\Z"
)
# Before "tokens" these say that a token opens something: `input_access_tokens` are no pieces of text.
_CREDENTIAL = re.compile(
    r"_(?:access|api|auth|bearer|bot|client|csrf|device|id|jwt|login|oauth|push|refresh|session|sso|user)\Z"
)


def is_exception(name: str, is_sensitive: Callable[[str], bool]) -> bool:
    """Return whether a sensitive name says that its value is not secret.

    :param name: lower-case words joined by ``_``.
    :param is_sensitive: tells whether a name contains a sensitive one.
    """
    rest = _OTHER_WORDS.sub("", name)
    if not is_sensitive(rest):
        return True
    description = _DESCRIPTION.search(rest)
    if description and is_sensitive(rest[: description.start()]):
        return True
    ending = _ENDINGS.search(rest)
    if ending is None or _LINK.search(rest):
        return False
    middle = ending["middle"] or ""
    return not _CREDENTIAL.search(f"_{middle.strip('_')}") and not is_sensitive(rest[: ending.start()] + middle)


def is_listed(name: str, globs: Iterable[str], spell: Callable[[str], str]) -> bool:
    """Return whether one of the names and globs (``*``, ``?``) is the whole name.

    :param spell: spells a part of a glob as the name is spelled.
    """
    wild = {"*": ".*", "?": "."}
    for glob in globs:
        parts = re.split(r"([*?])", re.sub(r"[^\w*?]+", "_", glob).strip("_"))
        if re.fullmatch("".join(wild.get(part) or re.escape(spell(part)) for part in parts), name):
            return True
    return False
