"""A second implementation of docs/reference/format.md, written from C2SP's text and not from our code.

It imports nothing of the package and nothing of ``cryptography.cobblestone``: HKDF-Expand is `hmac` with SHA-512
(RFC 5869, section 2.3), the AEAD is AES-256-GCM, and the rest is https://c2sp.org/chunked-encryption line by line.
It shows that what we store can be opened by other software, and it makes the test vectors, because it takes the
salt that our own code always draws at random.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES, NONCE_BYTES, COMMITMENT_BYTES, SALT_BYTES, TAG_BYTES = 32, 12, 32, 24, 16
CHUNK_BYTES = 16 * 1024
COORDINATE = ("dag_id", "run_id", "task_id", "map_index", "key")
WRAP_PREFIX = b"secure_xcom/local-wrap/1\x00"


class Refused(Exception):
    """This reader does not open it; the text says at which step."""


# --- Cobblestone-256 --------------------------------------------------------------------------------------


def derive(key: bytes, salt: bytes, context: bytes) -> tuple[bytes, bytes, bytes]:
    """C2SP "Key derivation": the message key, the base nonce and the commitment."""
    info = b"c2sp.org/chunked-encryption@v1+" + b"AEAD_AES_256_GCM" + b"\x00" + salt + context
    wanted = KEY_BYTES + NONCE_BYTES + COMMITMENT_BYTES
    output = block = b""
    counter = 1
    while len(output) < wanted:
        block = hmac.new(key, block + info + bytes([counter]), hashlib.sha512).digest()
        output += block
        counter += 1
    return (
        output[:KEY_BYTES],
        output[KEY_BYTES : KEY_BYTES + NONCE_BYTES],
        output[KEY_BYTES + NONCE_BYTES : wanted],
    )


def nonce(base: bytes, number: int) -> bytes:
    """C2SP "AEAD usage": the base nonce XOR the chunk number, big-endian and as wide."""
    return bytes(left ^ right for left, right in zip(base, number.to_bytes(NONCE_BYTES, "big"), strict=True))


def seal(key: bytes, context: bytes, plaintext: bytes, salt: bytes) -> bytes:
    """A whole message: salt, commitment, and chunks of 16 KiB of which the last is shorter."""
    message_key, base, commitment = derive(key, salt, context)
    chunks = [plaintext[at : at + CHUNK_BYTES] for at in range(0, len(plaintext) + 1, CHUNK_BYTES)]
    sealed = [AESGCM(message_key).encrypt(nonce(base, number), chunk, None) for number, chunk in enumerate(chunks)]
    return salt + commitment + b"".join(sealed)


def unseal(key: bytes, context: bytes, message: bytes) -> bytes:
    """The plaintext of a whole message.

    :raises Refused: the commitment differs, a chunk is not authentic, or the message is not whole.
    """
    if len(message) < SALT_BYTES + COMMITMENT_BYTES:
        raise Refused("truncated: no room for salt and commitment")
    salt, given = message[:SALT_BYTES], message[SALT_BYTES : SALT_BYTES + COMMITMENT_BYTES]
    message_key, base, commitment = derive(key, salt, context)
    if not hmac.compare_digest(given, commitment):
        raise Refused("the commitment differs: another key, salt or context")
    body = message[SALT_BYTES + COMMITMENT_BYTES :]
    step = CHUNK_BYTES + TAG_BYTES
    chunks = [body[at : at + step] for at in range(0, len(body) + 1, step)]
    plaintext = b""
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        if last and len(chunk) < TAG_BYTES:
            raise Refused("truncated: the last chunk has no room for its tag")
        try:
            plaintext += AESGCM(message_key).decrypt(nonce(base, number), chunk, None)
        except InvalidTag:
            raise Refused(f"chunk {number} is not authentic") from None
    return plaintext


# --- canonical JSON, paths --------------------------------------------------------------------------------


def canonical(record: Mapping[str, str]) -> bytes:
    """RFC 8785 for an object of strings: names sorted by UTF-16 code units (3.2.3), shortest escapes (3.2.2.2)."""
    names = sorted(record, key=lambda name: name.encode("utf-16-be"))
    return json.dumps({name: record[name] for name in names}, ensure_ascii=False, separators=(",", ":")).encode()


def segment(text: str) -> str:
    """One id as a segment of an object's path: docs/reference/format.md, "Where the payload lies"."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."
    raw = text.encode()
    dots = set(raw) == {0x2E}
    encoded = "".join(chr(byte) if byte in plain and not dots else f"%{byte:02X}" for byte in raw)
    if len(encoded) <= 200:
        return encoded
    cut = encoded[:150]
    for back in (1, 2):
        if cut[-back] == "%":
            cut = cut[:-back]
            break
    return f"{cut}~{hashlib.sha256(raw).hexdigest()[:48]}"


def folder(head: Mapping[str, str]) -> str:
    """The path of the folder in which the payloads of a coordinate lie, relative to the store."""
    ids = [segment(head[name]) for name in ("compartment", "dag_id", "run_id", "task_id")]
    return "/".join([*ids, head["map_index"]]) + "/"


def encryption_context(head: Mapping[str, str]) -> dict[str, str]:
    """What the wrap of this head's data key is bound to."""
    return {name: head[name] for name in ("compartment", "dag_id", "task_id", "run_id", "map_index")}


# --- claims -----------------------------------------------------------------------------------------------


def claims_folder(head: Mapping[str, str]) -> str:
    """The path of the folder in which the claims on a coordinate's payloads lie: format.md, "Claims"."""
    compartment, _, rest = folder(head).partition("/")
    return f"~claims/{compartment}/{rest}"


def claim(
    head: Mapping[str, str],
    by: Mapping[str, Any],
    claimed: str,
    data_key: bytes,
    salt: bytes,
    attempt: str | None = None,
) -> dict[str, Any]:
    """The record of a claim by a task instance, or by one attempt of it, proved with the data key."""
    fields = {
        **{name: head[name] for name in (*COORDINATE, "compartment", "object")},
        **{f"by_{name}": str(by[name]) for name in COORDINATE[:4]},
        "by_clearing": "",
        **({} if attempt is None else {"by_attempt": attempt}),
        **({"by_iteration": str(by["iteration"])} if "iteration" in by else {}),
        "claimed": claimed,
    }
    proof = seal(data_key, canonical({"secure_xcom_claim": "1", **fields}), b"", salt)
    return {"secure_xcom_claim": 1, "claim": fields, "proof": base64.b64encode(proof).decode()}


def claimant(record: Mapping[str, Any], head: Mapping[str, str], data_key: bytes) -> dict[str, str]:
    """Who has claimed the payload of a head.

    :raises Refused: the claim is on another payload, or who made it did not have the data key.
    """
    fields = record["claim"]
    if any(fields[name] != head[name] for name in (*COORDINATE, "compartment", "object")):
        raise Refused("a claim on another payload")
    proof = base64.b64decode(record["proof"], validate=True)
    if unseal(data_key, canonical({"secure_xcom_claim": "1", **fields}), proof) != b"":
        raise Refused("a proof that is not empty")
    return {name: fields[f"by_{name}"] for name in (*COORDINATE[:4], "iteration") if f"by_{name}" in fields}


# --- attempts and iterations ------------------------------------------------------------------------------


def check_asked(head: Mapping[str, str], asked: Mapping[str, Any]) -> None:
    """See that a head is the one that was asked for: docs/reference/format.md, "Attempts and iterations".

    :raises Refused: a field differs that both name.
    """
    for name in (*COORDINATE, "attempt", "iteration"):
        if name in head and asked.get(name) is not None and str(asked[name]) != head[name]:
            raise Refused(f"another {name} was asked for")


# --- the local keyring ------------------------------------------------------------------------------------


def wrap(keyring: Mapping[str, Any], data_key: bytes, context: Mapping[str, str], salt: bytes) -> str:
    """``local:vN:BASE64`` with the keyring's newest version."""
    version = str(keyring["latest"])
    key = base64.b64decode(keyring["versions"][version]["key"], validate=True)
    sealed = seal(key, WRAP_PREFIX + canonical(context), data_key, salt)
    return f"local:v{version}:{base64.b64encode(sealed).decode()}"


def unwrap(keyring: Mapping[str, Any], wrapped: str, context: Mapping[str, str]) -> bytes:
    """The data key of 32 bytes.

    :raises Refused: another form, an unknown version, or not authentic in this context.
    """
    form = re.fullmatch(r"local:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]{139}=)", wrapped)
    if form is None:
        raise Refused("no local wrap")
    if form[1] not in keyring["versions"]:
        raise Refused("unknown version of the wrapping key")
    key = base64.b64decode(keyring["versions"][form[1]]["key"], validate=True)
    return unseal(key, WRAP_PREFIX + canonical(context), base64.b64decode(form[2], validate=True))


# --- the reference ----------------------------------------------------------------------------------------


def routes(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """What Airflow's scheduler reads of a branching task's record, without any key: format.md, "The reference".

    :raises Refused: it stands in another XCom's record, or is no list of ids.
    """
    found = {name: record[name] for name in ("followed", "skipped") if name in record}
    if found and record["head"]["key"] != "skipmixin_key":
        raise Refused("followed or skipped in another XCom than a branching task's")
    for ids in found.values():
        if type(ids) is not list or any(type(name) is not str or not 1 <= len(name) <= 250 for name in ids):
            raise Refused("followed or skipped is no list of ids")
    return found


def open_reference(
    record: Mapping[str, Any], keyrings: Mapping[str, Mapping[str, Any]], fetch: Callable[[str], bytes]
) -> bytes:
    """The sealed bytes of a reference, opened: still compressed as the head says.

    :param keyrings: key URI -> keyring; the first of the record's keys that opens is taken.
    :param fetch: object URI -> the payload.
    :raises Refused: any step fails.
    """
    routes(record)
    head, seal_record = record["head"], record["seal"]
    payload = base64.b64decode(record["payload"], validate=True) if "payload" in record else fetch(head["object"])
    if payload[: SALT_BYTES + COMMITMENT_BYTES] != base64.b64decode(seal_record["header"], validate=True):
        raise Refused("the payload is another one than the reference was made for")
    if len(payload) != seal_record["size"]:
        raise Refused("the payload has another size")
    reasons = []
    for entry in record["keys"]:
        if entry["uri"] in keyrings:
            try:
                data_key = unwrap(keyrings[entry["uri"]], entry["wrapped"], encryption_context(head))
            except Refused as refused:
                reasons.append(str(refused))
                continue
            return unseal(data_key, canonical(head), payload)
    raise Refused("; ".join(reasons) or "no keyring for any of its keys")
