"""The search for secrets as it was on 2026-12-02, frozen: what is found today is compared with what it finds.

Nothing here changes when the search does. The judgement of a single name is shared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus
from uuid import UUID

from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.walk import Leaf

CLASSNAME, VERSION, DATA = "__classname__", "__version__", "__data__"
"""What Airflow's serialisation puts around everything that is no plain structure (airflow/sdk/serde)."""

# {"name": "password", "value": "..."}: the shape of Kubernetes' env, of HTTP archives, of forms and tags.
LABEL_KEYS = ("name", "key", "field", "header")
VALUE_KEYS = frozenset({"value", "val", "default", "data"})

# These are kept as packed bytes in text, which no log ever shows.
PACKED = ("pandas.",)
_MOMENTS = frozenset({"datetime.datetime", "pendulum.datetime.DateTime"})
_COLLECTIONS = frozenset({"builtins.tuple", "builtins.set", "builtins.frozenset"})
# Over this a string is not tried as JSON: parsed it would take many times its size in memory.
_JSON_MAX_CHARACTERS = 16 << 20
_JSON = re.compile(r"\s*[\[{]")

TEXT_MAX_CHARACTERS = 1 << 20
"""How much of a text is searched for secrets. Guessing costs up to 0.3 s for as much text as this."""


def unwrap(node: dict[Any, Any]) -> tuple[str, object] | None:
    """Return the class's full name and the data, if Airflow's serialisation wrote this dict around an object."""
    classname = node.get(CLASSNAME)
    return (classname, node.get(DATA)) if isinstance(classname, str) else None


def short_name(classname: str) -> str:
    """Return the ``Class`` of ``package.module.Class``."""
    return classname.rpartition(".")[2]


def is_labelled(node: dict[Any, Any], names: SensitiveNames) -> bool:
    """Return whether a field of this dict says that its `VALUE_KEYS` are secret."""
    return not VALUE_KEYS.isdisjoint(node) and any(names.matches(node.get(label)) for label in LABEL_KEYS)


def are_pairs(node: Iterable[object]) -> bool:
    """Return whether this is a list of names and values, as ``dict.items()`` and HTTP headers are."""
    pair = None
    for item in node:
        pair = pair_of(item)
        if pair is None:
            return False
    return pair is not None


def pair_of(item: object) -> tuple[str, object] | None:
    """Return a name and its value, if this is a list or a tuple of just these."""
    wrapped = unwrap(item) if isinstance(item, dict) else None
    pair = wrapped[1] if wrapped and wrapped[0] in _COLLECTIONS else item
    if isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str):
        return pair[0], pair[1]
    return None


def parse_json(text: str) -> dict[Any, Any] | list[Any] | None:
    """Return the list or dict that a string holds as JSON, if it does."""
    if len(text) > _JSON_MAX_CHARACTERS or not looks_like_json(text):
        return None
    try:
        parsed = json.loads(text, object_pairs_hook=_all_values)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, (dict, list)) else None


def looks_like_json(text: str) -> bool:
    """Return whether a string has the outer brackets of a JSON object or list."""
    return _JSON.match(text) is not None


def _all_values(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    # A name that comes twice must not hide its first value.
    every: dict[str, list[Any]] = {}
    for name, value in pairs:
        every.setdefault(name, []).append(value)
    return dict(every)


def decoded(data: bytes) -> str:
    """Return bytes as text, with what is not UTF-8 replaced."""
    return data.decode("utf-8", "replace")


def iso_moment(classname: str, data: object) -> str | None:
    """Return a serialised date and time in ISO 8601, UTC; it is kept as seconds and a time zone."""
    if classname not in _MOMENTS or not isinstance(data, dict):
        return None
    try:
        return datetime.fromtimestamp(float(data["timestamp"]), tz=timezone.utc).isoformat()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


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


# Keys that common mappings (requests' proxies, Kubernetes' env) and the pictures of frames (`secure_xcom.codecs`)
# have all alike: they tell nothing, and a log in which they are masked cannot be read.
_TELLING_NOTHING = frozenset(
    {
        *("https", "value", "username", "password"),
        *("DataFrame", "Series", "Table", "RecordBatch", "ndarray"),
        *("columns", "index", "attributes", "column_levels"),
    }
)

# JSON in a string in JSON in a string: each level doubles the escapes, so real ones end soon.
_TEXT_DEPTH_MAX = 4
# Of bytes no more than their beginning is read as text: what is larger is a file's content, which no log shows.
_BYTES_MAX = 1 << 20
# Shorter than this no text holds a name, a sign and a value that could be masked.
_TEXT_MIN_CHARACTERS = 8
# Cells of data frames come as they are; elsewhere Airflow's serialisation has made text or numbers of these.
_PRINTED = (Decimal, date, time, timedelta, UUID)


def leaves(
    structure: object, *, names: SensitiveNames, sensitive: bool, only_sensitive: bool = False
) -> Iterator[Leaf]:
    """Yield every leaf in the order of the value, and what its strings hold: JSON, URL passwords, assignments.

    The keys of a mapping are leaves as its values are: they are secret where the mapping is.

    True, False and None are no leaves, since they tell nothing that could be looked for.

    :param sensitive: whether the whole value is secret.
    :param only_sensitive: leave the others out, which is most of the work of a large value.
    """
    every = not only_sensitive
    stack: list[tuple[Iterator[tuple[object, bool]], bool, int]] = [(iter(((structure, False),)), sensitive, 0)]
    while stack:
        children, above, depth = stack[-1]
        for node, hidden in children:
            secret = above or hidden
            if isinstance(node, (str, bytes, bytearray)):
                leaf = node if isinstance(node, str) else bytes(node)
                if every or secret:
                    yield Leaf(leaf, secret)
                if len(leaf) < _TEXT_MIN_CHARACTERS:
                    continue
                text = leaf if isinstance(leaf, str) else decoded(leaf[:_BYTES_MAX])
                parsed = parse_json(text) if depth < _TEXT_DEPTH_MAX else None
                if parsed is not None:
                    stack.append((_children(parsed, names, keys=every or secret), secret, depth + 1))
                    break
                if not secret:
                    for text_secret in secrets_in_text(text, names):
                        yield Leaf(text_secret, True)
            elif isinstance(node, (int, float)):
                if (every or secret) and not isinstance(node, bool):
                    yield Leaf(node, secret)
            elif isinstance(node, (dict, list, tuple, set, frozenset)):
                stack.append((_children(node, names, keys=every or secret), secret, depth))
                break
            elif secret and isinstance(node, _PRINTED):
                yield from (Leaf(text, True) for text in dict.fromkeys(_printed(node)))
        else:
            stack.pop()


def _printed(node: Any) -> Iterator[str]:
    yield str(node)
    if isinstance(node, (date, time)):
        yield node.isoformat()


def _children(
    node: dict[Any, Any] | list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any],
    names: SensitiveNames,
    *,
    keys: bool,
) -> Iterator[tuple[object, bool]]:
    """Yield what lies below, and whether the node itself says that it is secret.

    :param keys: whether a mapping's keys are asked for as well; elsewhere they only name.
    """
    if isinstance(node, dict):
        wrapped = unwrap(node)
        yield from _fields(node, names, keys) if wrapped is None else _wrapped(*wrapped, node, names, keys)
    elif are_pairs(node):
        for item in node:
            name, value = pair_of(item) or ("", None)
            yield name, False
            yield value, names.hides(name, value)
    else:
        for child in node:
            yield child, False


def _fields(node: dict[Any, Any], names: SensitiveNames, keys: bool) -> Iterator[tuple[object, bool]]:
    labelled = is_labelled(node, names)
    for key, child in node.items():
        if keys and key not in _TELLING_NOTHING:
            yield key, False
        yield child, names.hides(key, child) or (labelled and key in VALUE_KEYS)


def _wrapped(
    classname: str, data: object, node: dict[Any, Any], names: SensitiveNames, keys: bool
) -> Iterator[tuple[object, bool]]:
    hidden = names.matches(short_name(classname))
    moment = iso_moment(classname, data)
    if moment is not None:
        yield moment, hidden
        yield moment.replace("T", " "), hidden
    elif not classname.startswith(PACKED):
        yield data, hidden
    for key, child in node.items():
        if key not in (CLASSNAME, VERSION, DATA):
            if (keys or hidden) and key not in _TELLING_NOTHING:
                yield key, hidden
            yield child, hidden or names.hides(key, child)
