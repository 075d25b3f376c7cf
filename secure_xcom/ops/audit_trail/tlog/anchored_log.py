"""The anchored log in its store: checkpoints, tiles, and the records of how far each chain is anchored.

Objects below the store's prefix; each is created once:

``tile/...``
    tiles and entry bundles of C2SP tlog-tiles.
``checkpoints/N``
    the N-th signed checkpoint, from 1. Its creation makes the N-th anchor count. Never deleted.
``seals/N``
    what the N-th anchor covers: canonical JSON of `Anchor`.
``pending/N``
    an anchor in progress: its `Anchor` and its entries. The first process to create it decides what the N-th
    anchor is; later ones finish that. It is obsolete once ``checkpoints/N`` exists.
``checkpoint``
    a copy of the newest checkpoint under the name that clients of tlog-tiles expect. It is replaced, not
    atomically; secure_xcom does not read it.
``pruned/N``
    a signed note: the index N below which entries were removed, and a time that all of them are older than.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import zstandard

from secure_xcom.core.errors import ObjectExists, ObjectMissing
from secure_xcom.core.operator_errors import SealedLogInvalid, SealRaced
from secure_xcom.ops.audit_trail.tlog.anchor_record import Anchor
from secure_xcom.ops.audit_trail.tlog.checkpoint import Checkpoint
from secure_xcom.ops.audit_trail.tlog.layout import join_entries, split_entries
from secure_xcom.ops.audit_trail.tlog.merkle import root
from secure_xcom.ops.audit_trail.tlog.note import Signer, Verifier, checked_name, open_note, sign_note
from secure_xcom.ops.audit_trail.tlog.tiles import Tiles, write_once
from secure_xcom.stores import Store

_NUMBER = re.compile(r"[a-z]+/(\d{12})")
_PRUNED = "secure_xcom pruned"
# A pending object is read into memory as a whole.
PENDING_MAX_BYTES = 256 << 20


class AnchoredLog:
    """The anchored log in a store, as the module's docstring describes it.

    :param verifiers: the keys whose checkpoints are trusted; the first one's name is the log's origin.
    """

    def __init__(self, store: Store, verifiers: Sequence[Verifier]) -> None:
        self.store = store
        self.verifiers = tuple(verifiers)
        self.origin = checked_name(verifiers[0].name, store.uri)

    # --- reading --------------------------------------------------------------------------------------------

    def numbers(self, kind: str) -> list[int]:
        """Return the numbers of all objects of a kind, in order."""
        matches = (_NUMBER.fullmatch(entry.path) for entry in self.store.list(f"{kind}/"))
        return sorted(int(match.group(1)) for match in matches if match)

    def newest(self) -> tuple[int, Checkpoint]:
        """Return the number of the newest checkpoint and the checkpoint; 0 and an empty tree for an empty log.

        :raises SealedLogInvalid: it is not signed by a trusted key.
        """
        numbers = self.numbers("checkpoints")
        if not numbers:
            return 0, Checkpoint.empty(self.origin)
        return numbers[-1], self.checkpoint(numbers[-1])

    def note(self, number: int) -> bytes:
        """Return a checkpoint as it was signed."""
        return self._read(_path("checkpoints", number))

    def checkpoint(self, number: int) -> Checkpoint:
        """Return a checkpoint.

        :raises SealedLogInvalid: it is not signed by a trusted key, or belongs to another log.
        """
        where = f"{self.store.uri}/{_path('checkpoints', number)}"
        return Checkpoint.open(self.note(number), self.verifiers, where)

    def anchor(self, number: int) -> Anchor:
        """Return what the anchor of this number covers."""
        path = _path("seals", number)
        return Anchor.parse(self._read(path), f"{self.store.uri}/{path}")

    def tiles(self, size: int) -> Tiles:
        """Return the tree of this size."""
        return Tiles(self.store, size)

    def pruned(self) -> tuple[int, str]:
        """Return the index below which a signed prune removed entries (0 for none), and a time.

        All removed entries are older than the time.
        """
        highest, before = 0, ""
        for number in self.numbers("pruned"):
            where = f"{self.store.uri}/{_path('pruned', number)}"
            lines = open_note(self._read(_path("pruned", number)), self.verifiers, where).split("\n")
            if lines[:2] != [_PRUNED, self.origin] or lines[2:3] != [str(number)] or len(lines) != 5:
                raise SealedLogInvalid("the note does not describe a prune", where=where)
            highest, before = number, lines[3]
        return highest, before

    # --- anchoring ------------------------------------------------------------------------------------------

    def begun(self) -> tuple[Anchor, list[bytes]] | None:
        """Return an anchor that was begun and not finished, with its entries."""
        following = self.newest()[0] + 1
        try:
            content = b"".join(self.store.get(_path("pending", following)))
        except ObjectMissing:
            return None
        where = f"{self.store.uri}/{_path('pending', following)}"
        try:
            raw = zstandard.ZstdDecompressor().decompress(content, max_output_size=PENDING_MAX_BYTES)
        except zstandard.ZstdError:
            raise SealedLogInvalid("an anchor in progress cannot be read", where=where) from None
        head, _, bundle = raw.partition(b"\n")
        anchor, entries = Anchor.parse(head, where), list(split_entries(bundle))
        if anchor.number != following or anchor.size - anchor.first != len(entries):
            raise SealedLogInvalid("an anchor in progress is not the next one", where=where)
        return anchor, entries

    def begin(self, anchor: Anchor, entries: Iterable[bytes]) -> None:
        """Decide what the anchor of this number is.

        :raises SealRaced: another process has done so.
        """
        path = _path("pending", anchor.number)
        # It is there for seconds, so speed counts for more than size.
        content = zstandard.ZstdCompressor(level=1).compress(anchor.dump() + b"\n" + join_entries(entries))
        try:
            self.store.put(path, [content])
        except ObjectExists:
            raise SealRaced("another process began to anchor first", where=self.store.uri) from None
        # Another process may have begun, finished and cleaned up this number since it was checked.
        if anchor.number in self.numbers("checkpoints"):
            self.store.delete_many([path])
            raise SealRaced("another process anchored first", where=self.store.uri)

    def finish(self, anchor: Anchor, entries: Sequence[bytes], signer: Signer) -> Checkpoint:
        """Write what was begun, and sign it. Processes that finish the same anchor write the same bytes.

        :raises SealedLogInvalid: the anchor does not continue the log, or the log was forked.
        """
        number, before = self.newest()
        if number >= anchor.number:
            return self.checkpoint(anchor.number)
        if (before.size, number + 1) != (anchor.first, anchor.number):
            raise SealedLogInvalid("the anchor does not start where the log ends", where=self.store.uri)
        tiles = self.tiles(before.size)
        # Only a tree that matches its signed root is extended.
        if root(tiles, before.size) != before.root:
            raise SealedLogInvalid("the tiles do not match the newest checkpoint", where=self.store.uri)
        grown, replaced = tiles.extended(entries)
        checkpoint = Checkpoint(self.origin, grown.size, root(grown, grown.size))
        note = checkpoint.signed(signer)
        write_once(self.store, _path("seals", anchor.number), anchor.dump())
        write_once(self.store, _path("checkpoints", anchor.number), note)
        # From here on the anchor counts. The rest is clean-up, which a crash may leave to the next run.
        self._publish(note)
        self.store.delete_many([_path("pending", anchor.number), *replaced])
        return checkpoint

    def write_pruned(self, index: int, before: str, signer: Signer) -> None:
        """Write a signed note that entries below the index, all older than a time, are removed.

        :raises SecureXComError: the signer did not sign.
        """
        note = sign_note(f"{_PRUNED}\n{self.origin}\n{index}\n{before}\n", self.origin, signer)
        write_once(self.store, _path("pruned", index), note)

    def tidy(self) -> None:
        """Do the clean-up that a crash after the newest checkpoint has left."""
        numbers = self.numbers("checkpoints")
        if not numbers:
            return
        note = self.note(numbers[-1])
        try:
            published = b"".join(self.store.get("checkpoint"))
        except ObjectMissing:
            published = b""
        if published != note:
            self._publish(note)
        done = [number for number in self.numbers("pending") if number <= numbers[-1]]
        self.store.delete_many([_path("pending", number) for number in done])

    def _publish(self, note: bytes) -> None:
        self.store.delete_many(["checkpoint"])
        try:
            self.store.put("checkpoint", [note])
        except ObjectExists:
            # Another process that finishes the same anchor was faster, and its note is equally valid.
            return

    def _read(self, path: str) -> bytes:
        try:
            return b"".join(self.store.get(path))
        except ObjectMissing as error:
            raise SealedLogInvalid("an object of the anchored log is missing", where=error.where) from None

    def anchors_newest_first(self) -> Iterator[Anchor]:
        """Return the anchors that have a checkpoint, the newest first."""
        counted = set(self.numbers("checkpoints"))
        for number in reversed(self.numbers("seals")):
            if number in counted:
                yield self.anchor(number)


def _path(kind: str, number: int) -> str:
    return f"{kind}/{number:012}"
