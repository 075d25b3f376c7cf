"""Ways to change a reference or a payload: edit, cut, extend, re-order, duplicate, exchange."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DataObject

Path = tuple[str | int, ...]

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 1 << 70)
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.sampled_from(
        ["", ".", "..", "/", "\ud800", "\x00", "-1", "00", "1e3", "zstd", "bytes", "json", "A" * 5000]
    )
    | st.sampled_from([[], {}, [[]], {"secure_xcom": 1}])
)
ADDED = ("expires", "readers", "exclusive", "object", "payload", "followed", "skipped", "x", "Key")
IDS = st.lists(st.sampled_from(["load", "", "\ud800", "x" * 250, "x" * 251, 1, None, ["load"]]), max_size=3)
CHARACTERS = st.sampled_from(list("0129-:/%.~=+ \n\x00AaZzé\u2028\U0001f600\ud800")) | st.characters()
CHUNK = 16_384 + 16


def paths(value: Any, base: Path = ()) -> list[Path]:
    """Where every part of a JSON value is, the value itself left out."""
    entries: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))
    return [path for name, part in entries for path in ((*base, name), *paths(part, (*base, name)))]


def at(value: Any, path: Path) -> Any:
    """The part at a path."""
    for step in path:
        value = value[step]
    return value


def exists(value: Any, path: Path) -> bool:
    """Whether there is a part at a path."""
    try:
        at(value, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def mutate_record(data: DataObject, record: dict[str, Any], others: list[dict[str, Any]]) -> Any:
    """The record after one mutation. ``others`` are records to take parts from."""
    record = copy.deepcopy(record)
    kind = data.draw(
        st.sampled_from(["edit", "edit", "leaf", "drop", "add", "exchange", "exchange", "swap", "list", "text"])
    )
    if kind == "text":
        return _mutate_text(data, record)
    path = data.draw(st.sampled_from(paths(record)))
    parent, name = at(record, path[:-1]), path[-1]
    if kind == "edit" and isinstance(parent[name], str):
        parent[name] = edit_text(data, parent[name])
    elif kind == "edit" and isinstance(parent[name], int):
        parent[name] += data.draw(st.sampled_from([-1, 1, 16, 16_400, -16_400, 1 << 64]))
    elif kind == "drop":
        del parent[name]
    elif kind == "add" and isinstance(parent, dict):
        parent[data.draw(st.sampled_from(ADDED))] = data.draw(LEAVES | IDS)
    elif kind == "exchange":
        donors = [other for other in others if exists(other, path)]
        if donors:
            parent[name] = copy.deepcopy(at(data.draw(st.sampled_from(donors)), path))
    elif kind == "swap" and isinstance(parent, dict):
        second = data.draw(st.sampled_from(sorted(parent)))
        parent[name], parent[second] = parent[second], parent[name]
    elif isinstance(parent, list) and isinstance(name, int) and kind == "list":
        parent.insert(data.draw(st.integers(0, len(parent))), copy.deepcopy(parent[name]))
        if data.draw(st.booleans()):
            parent.reverse()
    else:
        parent[name] = data.draw(LEAVES)
    return record


def edit_text(data: DataObject, text: str) -> str:
    """A string after a replacement, an insertion, a cut, a repetition, a reversal or a change of case."""
    kind = data.draw(st.sampled_from(["replace", "insert", "cut", "repeat", "reverse", "case", "pad"]))
    here = data.draw(st.integers(0, max(0, len(text) - 1)))
    if kind == "replace":
        return text[:here] + data.draw(CHARACTERS) + text[here + 1 :]
    if kind == "insert":
        return text[:here] + data.draw(CHARACTERS) + text[here:]
    if kind == "cut":
        return text[:here] + text[data.draw(st.integers(here, len(text))) :]
    if kind == "repeat":
        return text[:here] + text[here:] * 2
    if kind == "reverse":
        return text[::-1]
    if kind == "case":
        return text.swapcase()
    return text + data.draw(st.sampled_from(["=", "\n", " ", "A", "AAAA"]))


def _mutate_text(data: DataObject, record: dict[str, Any]) -> Any:
    """The record's JSON text, edited; what is no JSON any more is a string in the row."""
    text = edit_text(data, json.dumps(record))
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def mutate_bytes(data: DataObject, raw: bytes, others: list[bytes]) -> bytes:
    """A payload after one mutation. ``others`` are payloads to take parts from."""
    kind = data.draw(
        st.sampled_from(["flip", "flip", "set", "cut", "tail", "insert", "repeat", "chunks", "splice", "other"])
    )
    here = data.draw(st.integers(0, max(0, len(raw) - 1)) | st.sampled_from([0, 23, 24, 55, 56, 56 + CHUNK]))
    there = data.draw(st.integers(0, len(raw)) | st.sampled_from([56, 56 + CHUNK, 56 + 2 * CHUNK]))
    if kind == "flip" and here < len(raw):
        return raw[:here] + bytes([raw[here] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[here + 1 :]
    if kind == "set":
        put = data.draw(st.binary(min_size=1, max_size=16))
        return raw[:here] + put + raw[here + len(put) :]
    if kind == "cut":
        return raw[: min(here, there)] + raw[max(here, there) :]
    if kind == "tail":
        return raw[:there]
    if kind == "insert":
        return raw[:here] + data.draw(st.binary(min_size=1, max_size=40)) + raw[here:]
    if kind == "repeat":
        return raw[: max(here, there)] + raw[min(here, there) :]
    if kind == "chunks":
        chunks = [raw[start : start + CHUNK] for start in range(56, len(raw), CHUNK)]
        return raw[:56] + b"".join(data.draw(st.permutations(chunks)))
    other = data.draw(st.sampled_from(others))
    return other if kind == "other" else raw[:there] + other[there:]


def with_payload(record: Any, raw: bytes) -> Any:
    """The record with another inline payload."""
    return {**record, "payload": base64.b64encode(raw).decode()} if isinstance(record, dict) else record


def with_seal_of(record: Any, raw: bytes) -> Any:
    """The record with header and size as a thorough attacker would set them for another payload."""
    if not isinstance(record, dict):
        return record
    header = base64.b64encode(raw[:56]).decode()
    return {**record, "seal": {"header": header, "size": len(raw)}}
