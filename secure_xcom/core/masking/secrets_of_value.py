"""Collect the strings of a value to register with Airflow's masker, in every form that a log may show."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from urllib.parse import quote

from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.masking.uninformative import is_long_number, is_uninformative
from secure_xcom.core.masking.walk import Leaves, leaves

# A pattern of this many characters is found wherever the string is printed whole; a longer one would make the
# masker's regular expression large for nothing.
_PIECE_MAX_CHARACTERS = 4096
CHARACTERS_MAX = 1 << 18
"""How many characters one push or pull registers at the most. Airflow's masker compiles all it knows anew for each
registration, in the task and in its supervisor: about a second for each million characters."""
# A decimal number, which Airflow's serialization writes as a string.
_DECIMAL = re.compile(r"[+-]?\d*\.\d+")
# Strings of these characters only look the same in text, in a repr, in JSON and in a URL.
_PLAIN = re.compile(r"[A-Za-z0-9_.~\-]*")
# Strings of these characters look the same everywhere but in a URL.
_UNESCAPED = re.compile(r"[ !#-%(-;=?-\[\]-~]*")
# What jinja2.utils.htmlsafe_json_dumps writes in other ways than JSON.
_IN_HTML = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&'"})


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is to be registered with the masker, and how many strings the cap left out."""

    values: tuple[str, ...] = field(repr=False)
    dropped: int


def secrets_of_all(
    values: Iterable[tuple[object, str, Leaves]], *, names: SensitiveNames, mode: str, cap: int
) -> Secrets:
    """Return the strings of values to register, at most ``cap``: those under sensitive names first.

    :param values: each with its XCom's key, which may be sensitive, and what is known of it.
    :param mode: ``named`` (what lies under sensitive names), ``all`` (every string) or ``none`` (nothing).
    """
    if mode == "none":
        return Secrets((), 0)
    named: dict[str, None] = {}
    others: dict[str, None] = {}
    for structure, key, known in values:
        sensitive = names.hides(key, structure)
        walked = leaves(structure, names=names, sensitive=sensitive, only_sensitive=mode == "named")
        for leaf in walked if known is None or sensitive or mode != "named" else known:
            if leaf.sensitive:
                named.update(dict.fromkeys(_texts(leaf.value)))
            elif isinstance(leaf.value, (str, bytes)):
                others.update(dict.fromkeys(_texts(leaf.value)))
    # A value that is cut off by the cap is worse than a form of another value.
    ordered = chain(
        named,
        _forms(named, in_urls=True),
        others,
        _forms(others, in_urls=False),
        _nested_forms(named),
        _nested_forms(others),
    )
    kept: dict[str, None] = {}
    over: set[str] = set()
    room = CHARACTERS_MAX
    for text in ordered:
        for piece in _pieces(text):
            if len(piece) < names.min_length or piece in kept:
                continue
            if len(kept) < cap and len(piece) <= room:
                kept[piece] = None
                room -= len(piece)
            else:
                over.add(piece)
    return Secrets(tuple(kept), len(over))


def _texts(value: str | bytes | float) -> Iterator[str]:
    """Yield a leaf as text, and each of its lines: logs are masked line by line."""
    if isinstance(value, bytes):
        if len(set(value)) <= 1 or is_uninformative(value.decode("utf-8", "replace")):
            return
        # More would not fit within CHARACTERS_MAX in the first of these forms already.
        value = value[: CHARACTERS_MAX // 2]
        yield value.hex()
        yield base64.b64encode(value).decode()
        yield repr(value)[2:-1]
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return
    if isinstance(value, str):
        if is_uninformative(value) or (_DECIMAL.fullmatch(value) and not is_long_number(value)):
            return
        yield value
        yield value.strip()
        lines = value.splitlines()
        if len(lines) > 1:
            # A PEM's first and last line are no secrets, and stand in every other PEM too.
            yield from (line.strip() for line in lines if not (line.startswith("-----") or is_uninformative(line)))
        return
    try:
        text = str(value)
    except ValueError:
        # Python does not print integers of over 4,300 digits in decimal, so no log shows them so.
        yield hex(value) if isinstance(value, int) else repr(value)
        return
    if is_long_number(text):
        yield text


def _forms(texts: Iterable[str], *, in_urls: bool) -> Iterator[str]:
    """Yield how a string looks in a dict's repr, in JSON, in a log that replaced invalid UTF-8, and in a URL."""
    for text in texts:
        if _PLAIN.fullmatch(text):
            continue
        yield from _written(text)
        storable = text.encode("utf-8", "replace").decode()
        yield storable
        if in_urls:
            yield quote(storable, safe="")


def _nested_forms(texts: Iterable[str]) -> Iterator[str]:
    """Yield how a string looks where its repr or JSON is part of a text that is written as repr or JSON.

    A list that holds a rendered template is logged so ("Running command: [...]"), and JSON within JSON.
    """
    for text in texts:
        if len(text) <= _PIECE_MAX_CHARACTERS:
            for form in dict.fromkeys(_written(text)):
                yield from _written(form)


def _written(text: str) -> Iterator[str]:
    """Yield how Python's repr, JSON and Jinja's ``tojson`` write a string."""
    if _UNESCAPED.fullmatch(text):
        return
    yield repr(text)[1:-1]
    # Within a text that holds both quotes, repr escapes the single ones.
    yield repr("'\"" + text)[4:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield json.dumps(text).translate(_IN_HTML)[1:-1]


def _pieces(text: str) -> Iterator[str]:
    """Yield a string in equal pieces that a pattern may have; none if it cannot be sent as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    count = -(-len(text) // _PIECE_MAX_CHARACTERS)
    if count <= 1:
        yield text
        return
    size = -(-len(text) // count)
    yield from (text[start : start + size] for start in range(0, len(text), size))
