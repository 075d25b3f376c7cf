"""The sealed log in its store: its checkpoints, its tiles, and what says how far each chain was sealed.

Below the store's prefix, every object created once:

``tile/...``
    tiles and entry bundles of C2SP tlog-tiles.
``checkpoints/N``
    the N-th signed checkpoint, from 1; its creation is what makes the N-th seal count. They are never deleted.
``seals/N``
    what the N-th seal took: canonical JSON of `Anchor`.
``pending/N``
    a seal that is under way: its `Anchor` and its entries. The first to create it decides what the N-th seal is,
    and whoever comes later finishes that. It counts for nothing once ``checkpoints/N`` is there.
``checkpoint``
    the newest checkpoint once more, under the name where clients of tlog-tiles look. It is replaced, not
    atomically; nothing of ours reads it.
``pruned/N``
    a signed note: the index N below which entries were removed, and the time that all of them are older than.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import zstandard

from secure_xcom.core.errors import ObjectExists, ObjectMissing, SealedLogInvalid, SealRaced
from secure_xcom.ops.audit_trail.tlog.checkpoint import Checkpoint
from secure_xcom.ops.audit_trail.tlog.layout import join_entries, split_entries
from secure_xcom.ops.audit_trail.tlog.merkle import root
from secure_xcom.ops.audit_trail.tlog.note import Signer, Verifier, checked_name, open_note, sign_note
from secure_xcom.ops.audit_trail.tlog.tiles import Tiles, write_once
from secure_xcom.stores import Store

_NUMBER = re.compile(r"[a-z]+/(\d{12})")
_PRUNED = "secure_xcom pruned"
_LOGIN = re.compile(r"(?<=://)[^/@]*@")
# One pending object is read into memory as a whole.
PENDING_MAX_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """How far a chain was sealed: the next sequence number, the hash of the last line, whether it has ended."""

    following: int
    last: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Anchor:
    """What one seal took.

    :ivar first: the index of its first entry; :ivar size: the tree's size after it.
    :ivar time: when it was begun, UTC as in events.
    :ivar sources: what was read, as `source_name` has it; :ivar until: every event in there that is older than
        this was sealed by this seal or earlier ones. Empty where more seals follow in the same run.
    :ivar chains: how far each chain that it took something of is sealed.
    """

    number: int
    first: int
    size: int
    time: str
    chains: dict[str, ChainEnd] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    until: str = ""

    def dump(self) -> bytes:
        """As one line of JSON."""
        chains = {name: [end.following, end.last, end.ended] for name, end in sorted(self.chains.items())}
        record = {
            "chains": chains,
            "first": self.first,
            "number": self.number,
            "secure_xcom_seal": 1,
            "size": self.size,
            "sources": list(self.sources),
            "time": self.time,
            "until": self.until,
        }
        return json.dumps(record, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, text: bytes, where: str) -> Anchor:
        """:raises SealedLogInvalid: the record is not of this form."""
        try:
            record: dict[str, Any] = json.loads(text)
            version = record["secure_xcom_seal"]
            chains = {str(name): ChainEnd(int(a), str(b), bool(c)) for name, (a, b, c) in record["chains"].items()}
            found = cls(
                int(record["number"]),
                int(record["first"]),
                int(record["size"]),
                str(record["time"]),
                chains,
                tuple(str(uri) for uri in record["sources"]),
                str(record["until"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SealedLogInvalid("the record of a seal cannot be read", where=where) from None
        if version != 1:
            raise SealedLogInvalid("the record of a seal is of a version unknown here", where=where)
        return found


def source_name(host: str, uri: str) -> str:
    """What a seal calls a source: ``HOST:URI`` for a file.

    A bucket or a table is the same from every host and by every connection: where each seal runs in a container of
    its own, the host has a new name each time.
    """
    return f"{host}:{uri}" if uri.startswith("file:") else _LOGIN.sub("", uri)


def source_named(name: str) -> str:
    """The same for a name in a seal, which may be of a release that wrote a host before all of them."""
    host, _, uri = name.partition(":")
    return source_name(host, uri) if "://" in uri else name


class AnchoredLog:
    """See the module's text.

    :param verifiers: keys whose checkpoints are believed; the first one's name is the log's origin.
    """

    def __init__(self, store: Store, verifiers: Sequence[Verifier]) -> None:
        self.store = store
        self.verifiers = tuple(verifiers)
        self.origin = checked_name(verifiers[0].name, store.uri)

    # --- reading --------------------------------------------------------------------------------------------

    def numbers(self, kind: str) -> list[int]:
        """Which objects of a kind there are, in order."""
        found = (_NUMBER.fullmatch(entry.path) for entry in self.store.list(f"{kind}/"))
        return sorted(int(form.group(1)) for form in found if form)

    def newest(self) -> tuple[int, Checkpoint]:
        """The newest checkpoint and its number; 0 and an empty tree where nothing was sealed.

        :raises SealedLogInvalid: it is not signed by a key that is believed.
        """
        numbers = self.numbers("checkpoints")
        if not numbers:
            return 0, Checkpoint.empty(self.origin)
        return numbers[-1], self.checkpoint(numbers[-1])

    def note(self, number: int) -> bytes:
        """A checkpoint as it was signed."""
        return self._read(_path("checkpoints", number))

    def checkpoint(self, number: int) -> Checkpoint:
        """:raises SealedLogInvalid: it is not signed by a key that is believed, or is of another log."""
        where = f"{self.store.uri}/{_path('checkpoints', number)}"
        return Checkpoint.open(self.note(number), self.verifiers, where)

    def seal(self, number: int) -> Anchor:
        """What the seal of this number took."""
        path = _path("seals", number)
        return Anchor.parse(self._read(path), f"{self.store.uri}/{path}")

    def tiles(self, size: int) -> Tiles:
        """The tree of that size."""
        return Tiles(self.store, size)

    def pruned(self) -> tuple[int, str]:
        """The index below which entries were removed by a prune that the log's key has signed, and since when.

        0 for none; the entries that are gone are all older than the time.
        """
        highest, before = 0, ""
        for number in self.numbers("pruned"):
            where = f"{self.store.uri}/{_path('pruned', number)}"
            lines = open_note(self._read(_path("pruned", number)), self.verifiers, where).split("\n")
            if lines[:2] != [_PRUNED, self.origin] or lines[2:3] != [str(number)] or len(lines) != 5:
                raise SealedLogInvalid("the note is not that of a prune", where=where)
            highest, before = number, lines[3]
        return highest, before

    # --- sealing --------------------------------------------------------------------------------------------

    def begun(self) -> tuple[Anchor, list[bytes]] | None:
        """A seal that was begun and not finished, with its entries."""
        following = self.newest()[0] + 1
        try:
            content = b"".join(self.store.get(_path("pending", following)))
        except ObjectMissing:
            return None
        where = f"{self.store.uri}/{_path('pending', following)}"
        try:
            raw = zstandard.ZstdDecompressor().decompress(content, max_output_size=PENDING_MAX_BYTES)
        except zstandard.ZstdError:
            raise SealedLogInvalid("a seal that was begun cannot be read", where=where) from None
        head, _, bundle = raw.partition(b"\n")
        seal, entries = Anchor.parse(head, where), list(split_entries(bundle))
        if seal.number != following or seal.size - seal.first != len(entries):
            raise SealedLogInvalid("a seal that was begun is not the next one", where=where)
        return seal, entries

    def begin(self, seal: Anchor, entries: Iterable[bytes]) -> None:
        """Decide what the seal of this number is.

        :raises SealRaced: another process has done so.
        """
        path = _path("pending", seal.number)
        content = zstandard.ZstdCompressor().compress(seal.dump() + b"\n" + join_entries(entries))
        try:
            self.store.put(path, [content])
        except ObjectExists:
            raise SealRaced("another seal was begun first", where=self.store.uri) from None
        # Another process may have begun, finished and cleaned up this number since we looked.
        if seal.number in self.numbers("checkpoints"):
            self.store.delete_many([path])
            raise SealRaced("another seal was done first", where=self.store.uri)

    def finish(self, seal: Anchor, entries: Sequence[bytes], signer: Signer) -> Checkpoint:
        """Write what was begun, and sign. Several processes may finish the same seal: they write the same bytes.

        :raises SealedLogInvalid: the log does not go on where the seal does, or was forked.
        """
        number, before = self.newest()
        if number >= seal.number:
            return self.checkpoint(seal.number)
        if (before.size, number + 1) != (seal.first, seal.number):
            raise SealedLogInvalid("the seal does not begin where the log ends", where=self.store.uri)
        tiles = self.tiles(before.size)
        # Nothing is added to a tree that is not the one that was signed.
        if root(tiles, before.size) != before.root:
            raise SealedLogInvalid("the tiles are not those of the newest checkpoint", where=self.store.uri)
        grown, replaced = tiles.extended(entries)
        made = Checkpoint(self.origin, grown.size, root(grown, grown.size))
        note = made.signed(signer)
        write_once(self.store, _path("seals", seal.number), seal.dump())
        write_once(self.store, _path("checkpoints", seal.number), note)
        # From here on the seal counts; what follows is tidying up, and may be left undone by a crash.
        self._publish(note)
        self.store.delete_many([_path("pending", seal.number), *replaced])
        return made

    def say_pruned(self, index: int, before: str, signer: Signer) -> None:
        """Say in a signed note that entries below the index, all older than a time, are removed.

        :raises SecureXComError: the signer did not sign.
        """
        note = sign_note(f"{_PRUNED}\n{self.origin}\n{index}\n{before}\n", self.origin, signer)
        write_once(self.store, _path("pruned", index), note)

    def tidy(self) -> None:
        """Do what a crash behind the newest checkpoint has left undone."""
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
            # Another process that finishes the same seal was a moment faster, and its note is as good.
            return

    def _read(self, path: str) -> bytes:
        try:
            return b"".join(self.store.get(path))
        except ObjectMissing as error:
            raise SealedLogInvalid("an object of the sealed log is missing", where=error.where) from None

    def seals_newest_first(self) -> Iterator[Anchor]:
        """What each seal took, from the newest back; those that count."""
        counted = set(self.numbers("checkpoints"))
        for number in reversed(self.numbers("seals")):
            if number in counted:
                yield self.seal(number)


def _path(kind: str, number: int) -> str:
    return f"{kind}/{number:012}"
