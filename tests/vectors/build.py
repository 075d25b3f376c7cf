"""What the test vectors are built from: keys that nobody could take for real ones, and the makers of scenarios.

Everything is sealed by the second implementation (tests/support/second_reader.py), with a fixed salt for each
scenario, so that the files come out the same each time. A writer MUST draw its salts at random.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.support import second_reader

KEY_URI = "local:///vectors/keyring.json"
STORE_URI = "file:///vectors/store"
DATA_KEY = b"\x11" * 32
CREATED = "2026-11-22T10:00:00Z"
UNIQUE = "00000000-0000-7000-8000-000000000001"
KEYRING: dict[str, Any] = {
    "secure_xcom_keyring": 1,
    "versions": {
        str(number): {"created": CREATED, "key": base64.b64encode(bytes([0x20 + number]) * 32).decode()}
        for number in (1, 2)
    },
    "latest": 2,
}
COORDINATE = {
    "dag_id": "invoices",
    "run_id": "scheduled__2026-11-22T10:00:00+00:00",
    "task_id": "extract",
    "map_index": "-1",
    "key": "return_value",
}
HEAD = {"compartment": "default", "codec": "json", "compression": "none", "created": CREATED}
VALUE = {"user": "someone", "amount": 3, "items": [1.5, None, True, "größe"]}

Vector = dict[str, Any]
Edit = Callable[[Vector], None]


def b64(raw: bytes) -> str:
    """Base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(raw).decode()


def salt(purpose: str) -> bytes:
    """A salt that belongs to one scenario only, because a salt MUST NOT repeat under a key."""
    return hashlib.sha256(f"secure_xcom test vector: {purpose}".encode()).digest()[:24]


def encode(value: object) -> bytes:
    """The ``json`` codec."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# --- sealed payloads, wraps, paths ------------------------------------------------------------------------


def sealed(title: str, context: dict[str, str], plaintext: bytes) -> Vector:
    """A sealed payload that opens to the plaintext."""
    message = second_reader.seal(DATA_KEY, second_reader.canonical(context), plaintext, salt(title))
    return {
        "title": title,
        "kind": "seal",
        "data_key": DATA_KEY.hex(),
        "head": context,
        "context": second_reader.canonical(context).decode(),
        "message": b64(message),
        "expect": {"plaintext_bytes": len(plaintext), "plaintext_sha256": hashlib.sha256(plaintext).hexdigest()},
    }


def wrapped(title: str, expect: Vector, *, edit: Edit | None = None) -> Vector:
    """A wrap under version 2 of the keyring, and what unwrapping gives."""
    context = {name: COORDINATE[name] for name in ("dag_id", "task_id", "run_id", "map_index")}
    context["compartment"] = "default"
    vector = {
        "title": title,
        "kind": "wrap",
        "key_uri": KEY_URI,
        "keyring": copy.deepcopy(KEYRING),
        "context": context,
        "wrapped": second_reader.wrap(KEYRING, DATA_KEY, context, salt(f"wrap: {title}")),
        "expect": expect,
    }
    if edit:
        edit(vector)
    return vector


def lies(title: str, **changes: str) -> Vector:
    """Where the payloads of a coordinate lie."""
    head = {"compartment": "default", **COORDINATE, **changes}
    names = ("compartment", "dag_id", "run_id", "task_id", "map_index")
    return {
        "title": title,
        "kind": "path",
        "coordinate": {name: head[name] for name in names},
        "expect": {"folder": second_reader.folder(head)},
    }


# --- whole references -------------------------------------------------------------------------------------


def pulled(
    title: str,
    expect: Vector,
    *,
    plain: bytes | None = None,
    inline: bool = False,
    keyring: Vector | None = None,
    max_bytes: int = 1 << 20,
    edit: Edit | None = None,
    head: Mapping[str, str] | None = None,
) -> Vector:
    """A row, the keyring, the objects, and what a pull gives.

    :param head: fields that are sealed otherwise than usual.
    :param edit: changes the vector after it was sealed.
    """
    whole = {**COORDINATE, **HEAD, **(head or {})}
    if not inline:
        whole["object"] = f"{STORE_URI}/{second_reader.folder(whole)}{UNIQUE}"
    data = encode(VALUE) if plain is None else plain
    message = second_reader.seal(DATA_KEY, second_reader.canonical(whole), data, salt(title))
    context = second_reader.encryption_context(whole)
    reference: Vector = {
        "secure_xcom": 1,
        "head": whole,
        "keys": [
            {"uri": KEY_URI, "wrapped": second_reader.wrap(KEYRING, DATA_KEY, context, salt(f"wrap: {title}"))}
        ],
        "seal": {"header": b64(message[:56]), "size": len(message)},
    }
    if inline:
        reference["payload"] = b64(message)
    vector: Vector = {
        "title": title,
        "kind": "pull",
        "compartment": {"name": "default", "key_uris": [KEY_URI], "store_uri": STORE_URI},
        "max_bytes": max_bytes,
        "keyrings": {KEY_URI: copy.deepcopy(keyring or KEYRING)},
        "objects": {} if inline else {whole["object"]: b64(message)},
        "asked": {**{name: whole[name] for name in COORDINATE}, "map_index": int(whole["map_index"])},
        "row": reference,
        "expect": expect,
    }
    if edit:
        edit(vector)
    return vector


def value(what: object = VALUE) -> Vector:
    """The pull gives this value."""
    return {"value": what}


def error(name: str) -> Vector:
    """The pull ends with this class of error, and gives nothing."""
    return {"error": name}


def set_head(name: str, text: str, *, asked: bool = False) -> Edit:
    """Change a field of the head after sealing, and what is asked for with it."""

    def edit(vector: Vector) -> None:
        vector["row"]["head"][name] = text
        if asked:
            vector["asked"][name] = int(text) if name in ("map_index", "iteration") else text

    return edit


def set_row(*path: str | int, to: object) -> Edit:
    """Set what stands at a path of the reference."""

    def edit(vector: Vector) -> None:
        place = vector["row"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return edit


def drop_row(*path: str) -> Edit:
    """Remove what stands at a path of the reference."""

    def edit(vector: Vector) -> None:
        place = vector["row"]
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return edit


def change_object(change: Callable[[bytes], bytes]) -> Edit:
    """Change the bytes of the only object."""

    def edit(vector: Vector) -> None:
        [(uri, text)] = vector["objects"].items()
        vector["objects"][uri] = b64(change(base64.b64decode(text)))

    return edit


def flip(at: int) -> Callable[[bytes], bytes]:
    """Change one bit of a byte."""
    return lambda raw: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] if at >= 0 else flip(len(raw) + at)(raw)


def both(first: Edit, second: Edit) -> Edit:
    """Two edits."""

    def edit(vector: Vector) -> None:
        first(vector)
        second(vector)

    return edit


def zstd_frame(byte: str, times: int, *, says: int | None = None) -> bytes:
    """A zstd frame (RFC 8878) of a JSON string of one character repeated, written by hand.

    One raw block for the first quote, a run-length block, one raw block for the last quote.
    """
    size = times + 2 if says is None else says
    header = bytes([0x28, 0xB5, 0x2F, 0xFD, 0b1010_0000]) + size.to_bytes(4, "little")

    def block(kind: int, count: int, content: bytes, *, last: bool = False) -> bytes:
        return ((count << 3) | (kind << 1) | last).to_bytes(3, "little") + content

    return header + block(0, 1, b'"') + block(1, times, byte.encode()) + block(0, 1, b'"', last=True)


def older_keyring() -> Vector:
    """The keyring as it was before its rotation."""
    older = copy.deepcopy(KEYRING)
    del older["versions"]["2"]
    older["latest"] = 1
    return older
