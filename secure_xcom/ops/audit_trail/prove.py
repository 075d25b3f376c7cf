"""Proofs to be checked elsewhere: that an event is in the log, and that one checkpoint extends another."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from secure_xcom.core.errors import ObjectMissing
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.tlog.checkpoint import Checkpoint
from secure_xcom.ops.audit_trail.tlog.layout import WIDTH
from secure_xcom.ops.audit_trail.tlog.merkle import consistency_proof, inclusion_proof


def find(log: AnchoredLog, *, event_id: str = "", chain: str = "", sequence: int = 0) -> tuple[int, bytes]:
    """Return the index of an event in the newest tree, and its line. The search starts at the newest entry.

    :raises CommandError: the event is not anchored, or was pruned.
    """
    for index, data in _entries_newest_first(log):
        record = entries.record_of(data) or {}
        if (event_id and record.get("id") == event_id) or (
            chain and (record.get("chain"), record.get("sequence")) == (chain, sequence)
        ):
            return index, data
    raise CommandError(
        "the anchored log has no such event",
        where=event_id or f"{chain} {sequence}",
        remedy="run `secure-xcom audit anchor` first; for a pruned event give its index with --index",
    )


def _entries_newest_first(log: AnchoredLog) -> Iterator[tuple[int, bytes]]:
    _, head = log.newest()
    tiles = log.tiles(head.size)
    for number in reversed(range((head.size + WIDTH - 1) // WIDTH)):
        try:
            bundle = tiles.entries(number)
        except ObjectMissing:
            # This bundle was pruned, and with it all bundles before it.
            return
        for index in reversed(range(len(bundle))):
            yield number * WIDTH + index, bundle[index]


def inclusion(log: AnchoredLog, index: int) -> bytes:
    """Return a C2SP tlog-proof that the entry is in the tree of the newest checkpoint.

    :raises CommandError: there is no such entry; :raises SealedLogInvalid: a tile is missing.
    """
    number, head = log.newest()
    if not 0 <= index < head.size:
        raise CommandError(f"the anchored log has {head.size} entries", where=f"index {index}")
    hashes = inclusion_proof(log.tiles(head.size), index, head.size)
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *map(_text, hashes)]
    return "".join(f"{line}\n" for line in lines).encode() + b"\n" + log.note(number)


def consistency(log: AnchoredLog, kept: Checkpoint) -> bytes:
    """Return a proof that the newest checkpoint extends a kept one: C2SP tlog-witness's add-checkpoint request.

    ``old SIZE``, a hash per line, an empty line, the newest checkpoint.

    :raises CommandError: the kept one is larger than the log, or empty.
    """
    number, head = log.newest()
    if not 0 < kept.size <= head.size:
        raise CommandError(
            f"the anchored log has {head.size} entries, and the kept checkpoint has {kept.size}",
            where=log.store.uri,
            remedy="run `secure-xcom audit verify --trusted` with it",
        )
    hashes = consistency_proof(log.tiles(head.size), kept.size, head.size) if kept.size < head.size else []
    lines = [f"old {kept.size}", *map(_text, hashes)]
    return "".join(f"{line}\n" for line in lines).encode() + b"\n" + log.note(number)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
