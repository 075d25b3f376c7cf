"""Retention of the anchored log: delete old entries, and keep every tile and checkpoint.

A tile holds hashes only, so every checkpoint can still be recomputed, and a line that was kept can still be
proved.
"""

from __future__ import annotations

from dataclasses import dataclass

from secure_xcom.core.errors import StoreError
from secure_xcom.core.operator_errors import SealedLogInvalid
from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.tlog.layout import WIDTH, bundle_index
from secure_xcom.ops.audit_trail.tlog.note import Signer

# How many objects one request to the store deletes.
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed, or would remove.

    :ivar below: the index of the first entry that stays; :ivar objects: how many bundles were removed.
    """

    below: int
    entries: int
    objects: int


def prune(log: AnchoredLog, before: str, signer: Signer | None) -> Pruned:
    """Remove the bundles whose entries, and all entries before them, are older than a time.

    The signed note is written first, so that after a crash the next prune removes the rest.

    :param before: a time as in events. :param signer: None to remove nothing and only count.
    :raises StoreError: an object cannot be deleted; :raises SealedLogInvalid: an entry is missing or not an event.
    """
    _, head = log.newest()
    already, _ = log.pruned()
    below = already
    tiles = log.tiles(head.size)
    while below + WIDTH <= head.size and _all_older(tiles.entries(below // WIDTH), before, log.store.uri):
        below += WIDTH
    if signer is not None and below > already:
        log.write_pruned(below, before, signer)
    old = [
        entry.path
        for entry in log.store.list("tile/entries/")
        if (bundle := bundle_index(entry.path)) is not None and (bundle[0] + 1) * WIDTH <= below
    ]
    if signer is not None:
        for start in range(0, len(old), _AT_ONCE):
            for error in log.store.delete_many(old[start : start + _AT_ONCE]):
                if isinstance(error, StoreError):
                    raise error
    return Pruned(below, below - already, len(old))


def _all_older(bundle: list[bytes], before: str, where: str) -> bool:
    for data in bundle:
        entry = entries.read(data)
        if entry is None:
            raise SealedLogInvalid("an entry is not an event, so its age is unknown", where=where)
        if entry.time >= before:
            return False
    return True
