"""The leak hunt: looks for canaries in every byte that a deployment leaves behind, in every form it may have.

A canary is a random text that stands nowhere else. All canaries of a hunt begin with the same marker, so a cut
one is noticed too. Its core is letters and digits only, which quoting and escaping leave as they are; what else
a canary holds (quotes, backslashes, umlauts) is around the core.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

CUT = "(a cut canary)"
"""The path of a find that begins as a canary and does not go on as any."""

_MARKER_CHARACTERS = 12
# What one frame may unfold to, and how often a frame may lie in a frame.
_UNFOLDED_MAX_BYTES = 64 << 20
_DEPTH = 4

# Starts of compressed frames: gzip (RFC 1952), zlib with its four levels (RFC 1950), zstd (RFC 8878).
_FRAMES = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]|\x28\xb5\x2f\xfd")
# Runs that may be base64 (both alphabets) or hex of something: long enough to hold a frame or a canary.
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
_HEX_RUN = re.compile(rb"(?:[0-9a-fA-F]{2}){16,}")


def canary(seed: str, path: str) -> str:
    """The core of the canary of one path: 28 letters and digits, the same wherever the seed is known."""
    return _marker(seed) + hashlib.blake2b(path.encode(), key=seed.encode(), digest_size=8).hexdigest()


def _marker(seed: str) -> str:
    return "cny" + hashlib.blake2b(seed.encode(), digest_size=8).hexdigest()[: _MARKER_CHARACTERS - 3]


def number_canary(seed: str, path: str) -> int:
    """A canary that is a number: 15 digits, which a float or JavaScript keeps too."""
    return 10**14 + int.from_bytes(canary(seed, path).encode(), "big") % (9 * 10**14)


def forms(text: str) -> dict[str, bytes]:
    """Every form in which a text is looked for directly, by name."""
    raw = text.encode()
    found = {
        "utf-8": raw,
        "utf-16-le": text.encode("utf-16-le"),
        "utf-16-be": text.encode("utf-16-be"),
        "hex": raw.hex().encode(),
        "hex, upper": raw.hex().upper().encode(),
        "url-quoted": "".join(f"%{byte:02X}" for byte in raw).encode(),
        "url-quoted, lower": "".join(f"%{byte:02x}" for byte in raw).encode(),
        "json-escaped": "".join(f"\\u{ord(character):04x}" for character in text).encode(),
    }
    for offset in range(3):
        # What stands before a text shifts it within base64's groups of three bytes; the characters at both ends
        # that depend on the neighbors are left out.
        first = -(-offset * 8 // 6)
        for name, encode in (("base64", base64.b64encode), ("base64, url-safe", base64.urlsafe_b64encode)):
            found[f"{name}, offset {offset}"] = encode(b"\0" * offset + raw)[first : (offset + len(raw)) * 8 // 6]
    return found


@dataclass(frozen=True, slots=True)
class Find:
    """Where a canary was found.

    :ivar path: the name of the canary's path.
    :ivar place: what kind of place, such as ``log`` or ``table xcom.value``.
    :ivar where: the file or the column.
    :ivar form: how it was written there, outermost first.
    """

    path: str
    place: str
    where: str
    form: str


@dataclass
class Hunt:
    """Looks for many canaries at once.

    :param seed: what the canaries are made of.
    :param paths: the names of the paths that have a canary.
    :param numbers: the names of those that have a number for a canary.
    """

    seed: str
    paths: Iterable[str]
    numbers: Iterable[str] = ()
    finds: set[Find] = field(default_factory=set)
    searched_bytes: int = 0

    def __post_init__(self) -> None:
        self._markers = forms(_marker(self.seed))
        self._cores: dict[str, dict[bytes, str]] = {name: {} for name in self._markers}
        for path in self.paths:
            for name, pattern in forms(canary(self.seed, path)).items():
                self._cores[name][pattern] = path
        self._numbers = {str(number_canary(self.seed, path)).encode(): path for path in self.numbers}

    def search(self, data: bytes, place: str, where: str) -> None:
        """Search bytes, and what unfolds from them."""
        self.searched_bytes += len(data)
        for packing, unfolded in _unfold(data, _DEPTH):
            for path, name in self._within(unfolded):
                self.finds.add(Find(path, place, where, f"{packing}{name}"))

    def _within(self, data: bytes) -> Iterator[tuple[str, str]]:
        for name, marker in self._markers.items():
            cores = self._cores[name]
            length = len(next(iter(cores), b""))
            at = data.find(marker)
            while at >= 0:
                yield cores.get(data[at : at + length], CUT), name
                at = data.find(marker, at + len(marker))
        for number, path in self._numbers.items():
            if number in data:
                yield path, "digits"

    def search_files(self, root: Path, files: Iterable[Path], place: str) -> None:
        """Search whole files and their names."""
        for file in files:
            where = str(file.relative_to(root))
            self.search(where.encode(), f"{place} (name)", where)
            self.search(file.read_bytes(), place, where)

    def search_database(self, database: Path) -> None:
        """Search every column of every table, which finds what lies scattered over the file's pages."""
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                rows = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608  # a name from the schema
                columns = [column[0] for column in rows.description]
                collected = {column: io.BytesIO() for column in columns}
                for row in rows:
                    for column, cell in zip(columns, row, strict=True):
                        if cell is not None:
                            collected[column].write(cell if isinstance(cell, bytes) else str(cell).encode())
                            collected[column].write(b"\n")
                for column, cells in collected.items():
                    self.search(cells.getvalue(), f"table {table}.{column}", f"{table}.{column}")
        finally:
            connection.close()

    def places(self) -> Mapping[str, set[str]]:
        """The kinds of places where each path's canary was found; a path that was found nowhere is not there."""
        found: dict[str, set[str]] = defaultdict(set)
        for find in self.finds:
            found[find.path].add(find.place)
        return dict(found)


def _unfold(data: bytes, depth: int) -> Iterator[tuple[str, bytes]]:
    """The bytes themselves and everything that is packed within them, with how it was packed."""
    yield "", data
    if depth == 0:
        return
    for name, inner in _packed(data):
        for packing, unfolded in _unfold(inner, depth - 1):
            yield f"{name} > {packing}", unfolded


def _packed(data: bytes) -> Iterator[tuple[str, bytes]]:
    for match in _FRAMES.finditer(data):
        name, inner = _decompressed(memoryview(data)[match.start() :])
        if inner:
            yield name, inner
    # Plain text in base64 is found by its own forms; this is for frames, and for what was encoded twice.
    for run in {match.group() for match in _BASE64_RUN.finditer(data)}:
        if _worth_decoding(run):
            body = run.replace(b"-", b"+").replace(b"_", b"/")
            # A run may be glued to something before it, so each of the four alignments is tried.
            for start in range(4):
                part = body[start:]
                part = part[:-1] if len(part) % 4 == 1 else part
                yield "base64", base64.b64decode(part + b"=" * (-len(part) % 4))
    for run in {match.group() for match in _HEX_RUN.finditer(data)}:
        yield "hex", bytes.fromhex(run.decode())


def _worth_decoding(run: bytes) -> bool:
    # Names in snake case and paths look like base64; real base64 of this length has upper case and lower case.
    return any(65 <= byte <= 90 for byte in run) and any(97 <= byte <= 122 for byte in run)


def _decompressed(data: memoryview) -> tuple[str, bytes]:
    """What a frame at the start of the data unfolds to, or as much of it as can be read."""
    if bytes(data[:4]) == b"\x28\xb5\x2f\xfd":
        return "zstd", _read(zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)))
    return "gzip" if data[0] == 0x1F else "zlib", _inflated(data)


def _inflated(data: memoryview) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # zlib's own word for: zlib or gzip
    inner = b""
    # In small steps, so that what came before a broken place is kept.
    for start in range(0, len(data), 4096):
        try:
            inner += unpacker.decompress(data[start : start + 4096], _UNFOLDED_MAX_BYTES)
        except zlib.error:
            break
        if unpacker.eof or len(inner) > _UNFOLDED_MAX_BYTES:
            break
    return inner


def _read(stream: zstandard.ZstdDecompressionReader) -> bytes:
    inner = b""
    while len(inner) < _UNFOLDED_MAX_BYTES:
        try:
            piece = stream.read(65_536)
        except zstandard.ZstdError:
            # A frame that was cut, or bytes that only look like a frame: what was read until here is searched.
            break
        if not piece:
            break
        inner += piece
    return inner
