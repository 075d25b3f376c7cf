"""A second verifier of anchored logs, from RFC 9162, C2SP tlog-tiles, tlog-checkpoint and signed-note.

It imports nothing of the package, so that a mistake there cannot hide here. It reads a log's folder as files.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def leaf(entry: bytes) -> bytes:
    """HASH(0x00 || entry): RFC 9162, section 2.1.1."""
    return hashlib.sha256(b"\x00" + entry).digest()


def pair(left: bytes, right: bytes) -> bytes:
    """HASH(0x01 || left || right): RFC 9162, section 2.1.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree(hashes: Sequence[bytes]) -> bytes:
    """MTH of a list of leaf hashes, by its definition in RFC 9162, section 2.1.1."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return pair(tree(hashes[:k]), tree(hashes[k:]))


def includes(root: bytes, size: int, index: int, leaf_hash: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162, section 2.1.3.2, step by step."""
    if index >= size:
        return False
    fn, sn, r = index, size - 1, leaf_hash
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = pair(p, r)
            if not fn & 1:
                while fn & 1 == 0 and fn != 0:
                    fn >>= 1
                    sn >>= 1
        else:
            r = pair(r, p)
        fn >>= 1
        sn >>= 1
    return sn == 0 and r == root


def extends(first_root: bytes, first: int, second_root: bytes, second: int, proof: Sequence[bytes]) -> bool:
    """RFC 9162, section 2.1.4.2, step by step."""
    if first == second:
        return not proof and first_root == second_root
    if not proof or not 0 < first < second:
        return False
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr = pair(c, fr)
            sr = pair(c, sr)
            if not fn & 1:
                while fn & 1 == 0 and fn != 0:
                    fn >>= 1
                    sn >>= 1
        else:
            sr = pair(sr, c)
        fn >>= 1
        sn >>= 1
    return fr == first_root and sr == second_root and sn == 0


@dataclass(frozen=True)
class Head:
    """A checkpoint whose signature was verified."""

    origin: str
    size: int
    root: bytes


def head(note: bytes, key: str) -> Head:
    """C2SP signed-note and tlog-checkpoint, with one verifier key ``NAME+ID+BASE64``."""
    name, key_id, encoded = key.split("+", 2)
    public = base64.b64decode(encoded)
    assert public[0] == 1
    assert hashlib.sha256(name.encode() + b"\n" + public).digest()[:4].hex() == key_id
    text, _, signatures = note.decode().rpartition("\n\n")
    signed = (text + "\n").encode()
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        raw = base64.b64decode(signature)
        if (dash, signer, raw[:4].hex()) == ("—", name, key_id):
            Ed25519PublicKey.from_public_bytes(public[1:]).verify(raw[4:], signed)
            break
    else:
        raise AssertionError("no signature of this key")
    origin, size, root = text.split("\n")[:3]
    assert str(int(size)) == size
    return Head(origin, int(size), base64.b64decode(root))


def number(index: int) -> str:
    """A tile's number in path elements of three digits: tlog-tiles, "Merkle Tree"."""
    digits = str(index)
    digits = digits.zfill((len(digits) + 2) // 3 * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])


def _resource(folder: Path, kind: str, index: int, width: int) -> bytes:
    whole = folder / "tile" / kind / number(index)
    part = folder / "tile" / kind / f"{number(index)}.p" / str(width)
    return part.read_bytes() if width < 256 and part.exists() else whole.read_bytes()


def entries(folder: Path, size: int) -> list[bytes]:
    """All entries of a log of this size, from its entry bundles."""
    found: list[bytes] = []
    while len(found) < size:
        index = len(found) // 256
        width = min(256, size - index * 256)
        bundle = _resource(folder, "entries", index, width)
        for _ in range(width):
            length = int.from_bytes(bundle[:2], "big")
            found.append(bundle[2 : 2 + length])
            assert len(found[-1]) == length
            bundle = bundle[2 + length :]
    return found


def check_tiles(folder: Path, size: int, hashes: Sequence[bytes]) -> None:
    """Every tile of a tree of this size holds what tlog-tiles says, by its formula."""
    level = 0
    while size >> 8 * level:
        span = 256**level
        count = size // span
        row = [tree(hashes[at * span : (at + 1) * span]) for at in range(count)]
        for index in range((count + 255) // 256):
            part = row[index * 256 : (index + 1) * 256]
            tile = _resource(folder, str(level), index, len(part))
            assert tile[: 32 * len(part)] == b"".join(part), f"tile {level}/{number(index)}"
        level += 1


@dataclass(frozen=True)
class Proof:
    """A proof file of C2SP tlog-proof."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes


def read_proof(text: bytes) -> Proof:
    """C2SP tlog-proof, "Format"; no extra data is expected."""
    first, _, checkpoint = text.partition(b"\n\n")
    lines = first.decode().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    word, index = lines[1].split(" ")
    assert word == "index"
    return Proof(int(index), tuple(base64.b64decode(line) for line in lines[2:]), checkpoint)


def read_extension(text: bytes) -> tuple[int, tuple[bytes, ...], bytes]:
    """The add-checkpoint request of C2SP tlog-witness: old size, proof, the newer checkpoint."""
    first, _, checkpoint = text.partition(b"\n\n")
    lines = first.decode().split("\n")
    word, size = lines[0].split(" ")
    assert word == "old"
    return int(size), tuple(base64.b64decode(line) for line in lines[1:]), checkpoint
