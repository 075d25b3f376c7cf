"""Merkle tree hashes and proofs of RFC 6962, section 2.1, computed from the hashes of whole subtrees."""

from __future__ import annotations

import hashlib
from typing import Protocol

HASH_BYTES = 32

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""


class Nodes(Protocol):
    """The hashes of whole subtrees of 2**level leaves, the index-th from the left."""

    def node(self, level: int, index: int) -> bytes:
        """Return MTH(D[index * 2**level : (index + 1) * 2**level]), 32 bytes."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf. The prefix prevents a leaf from being mistaken for a node."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def whole(hashes: list[bytes]) -> bytes:
    """Return the root of a whole subtree from the hashes of its parts, a power of two of them."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def root(nodes: Nodes, size: int) -> bytes:
    """Return the root of the tree of the first ``size`` leaves."""
    return _range(nodes, 0, size) if size else EMPTY_ROOT


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """Return PATH(index, D[size]): from the leaf's sibling up. ``index`` is below ``size``."""
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range(nodes, middle, high))
            high = middle
        else:
            path.append(_range(nodes, low, middle))
            low = middle
    return path[::-1]


def consistency_proof(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """Return PROOF(old, D[new]) that the tree of ``new`` leaves extends that of ``old``; 0 < old <= new."""
    proof: list[bytes] = []
    low, high, known = 0, new, True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(_range(nodes, middle, high))
            high = middle
        else:
            proof.append(_range(nodes, low, middle))
            low, known = middle, False
    # The verifier knows the old root itself, so only an inner node is part of the proof.
    if not known:
        proof.append(_range(nodes, low, high))
    return proof[::-1]


def _split(count: int) -> int:
    """Return the largest power of two below the count, which is over 1."""
    return 1 << (count - 1).bit_length() - 1


def _range(nodes: Nodes, low: int, high: int) -> bytes:
    """Return MTH(D[low:high]) for a range of RFC 6962's recursion, in which each left part is a whole subtree."""
    count = high - low
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return nodes.node(level, low >> level)
    middle = low + _split(count)
    return node_hash(_range(nodes, low, middle), _range(nodes, middle, high))
