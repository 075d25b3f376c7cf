"""Retention of the sealed log: old entries go, every tile and checkpoint stays.

A tile holds hashes only, so all checkpoints can still be recomputed, and whoever kept a line can still prove it.
"""

from __future__ import annotations

from dataclasses import dataclass

from secure_xcom.core.errors import SealedLogInvalid, StoreError
from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.tlog.layout import WIDTH, bundle_index
from secure_xcom.ops.audit_trail.tlog.note import Signer

# What is deleted in one request of the store.
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed, or would remove.

    :ivar below: the index of the first entry that stays; :ivar objects: how many bundles went.
    """

    below: int
    entries: int
    objects: int


def prune(log: AnchoredLog, before: str, signer: Signer | None) -> Pruned:
    """Remove bundles all of whose entries, and all before them, are older than a time.

    The signed note comes first: after a crash the next prune removes what is left.

    :param before: a time as in events. :param signer: None to remove nothing and only count.
    :raises StoreError: an object cannot be deleted; :raises SealedLogInvalid: an entry is missing or no event.
    """
    _, head = log.newest()
    was, _ = log.pruned()
    below = was
    tiles = log.tiles(head.size)
    while below + WIDTH <= head.size and _all_older(tiles.entries(below // WIDTH), before, log.store.uri):
        below += WIDTH
    if signer is not None and below > was:
        log.say_pruned(below, before, signer)
    gone = [
        entry.path
        for entry in log.store.list("tile/entries/")
        if (found := bundle_index(entry.path)) is not None and (found[0] + 1) * WIDTH <= below
    ]
    if signer is not None:
        for start in range(0, len(gone), _AT_ONCE):
            for error in log.store.delete_many(gone[start : start + _AT_ONCE]):
                if isinstance(error, StoreError):
                    raise error
    return Pruned(below, below - was, len(gone))


def _all_older(bundle: list[bytes], before: str, where: str) -> bool:
    for data in bundle:
        entry = entries.read(data)
        if entry is None:
            raise SealedLogInvalid("an entry is no event, so its age is not known", where=where)
        if entry.time >= before:
            return False
    return True
