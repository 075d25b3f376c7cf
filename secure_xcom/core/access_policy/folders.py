"""Where a compartment's objects lie, as far as URIs and this machine tell: no folder of one lies in another's.

Services limit identities by folder, so whoever may read, list or delete in a folder may do it with everything
below. Equal store URIs are no such case: below a store each compartment has folders of its own
(`secure_xcom.core.coordinate`).

URIs are read leniently here, whatever their scheme: who uses one reads it strictly. Where one bucket may be meant
it counts as one: the connection says which server a bucket is of, and no connection is looked up to read a policy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from secure_xcom.core.coordinate import CLAIMS, path_segment

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.model import Compartment

_LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|::1")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder: what begins with its parts, in the same space, lies in it.

    :ivar space: a bucket, a KV engine, or a folder of this machine's file system.
    :ivar parts: its path in there.
    :ivar server: which server the space is of, where the URI itself says so; else empty.
    """

    space: tuple[str, str]
    parts: tuple[str, ...]
    server: str = ""

    def may_share(self, other: Folder) -> bool:
        """Whether both may be of one server. Only two URIs that each name another one say that they are not."""
        return not self.server or not other.server or self.server == other.server


@dataclass(frozen=True, slots=True)
class Nested:
    """A store of one compartment with a folder in a folder of another one.

    :ivar compartment: the inner one's number; :ivar field: where its URI stands in the compartment.
    :ivar outer: the outer one's number; :ivar shown: the outer folder, for people.
    """

    compartment: int
    field: tuple[str | int, ...]
    outer: int
    shown: str


@dataclass(frozen=True, slots=True)
class _Place:
    compartment: int
    field: tuple[str | int, ...]
    shown: str
    folder: Folder


def nested(compartments: Sequence[Compartment]) -> Iterator[Nested]:
    """Return every store with payloads or claims in the folder of another compartment, once for each such pair."""
    uris = {uri for own in compartments for uri in own.all_store_uris}
    if len(uris) < 2 and not any(uri.startswith("file:") for uri in uris):
        return
    looked = _Looked()
    places = [
        _Place(number, field, shown, folder)
        for number, own in enumerate(compartments)
        for uri, field in _stores(own)
        for shown, folder in _of_compartment(uri, own.name, looked)
    ]
    by_folder: dict[tuple[tuple[str, str], tuple[str, ...]], list[_Place]] = {}
    for place in places:
        by_folder.setdefault((place.folder.space, place.folder.parts), []).append(place)
    told: set[tuple[int, tuple[str | int, ...], int]] = set()
    for inner in places:
        for outer in _above(inner.folder, by_folder):
            pair = (inner.compartment, inner.field, outer.compartment)
            if outer.compartment != inner.compartment and pair not in told:
                told.add(pair)
                yield Nested(inner.compartment, inner.field, outer.compartment, outer.shown)


def sink_inside(compartments: Sequence[Compartment], sink_uri: str) -> tuple[Compartment, str] | None:
    """Return the compartment whose folder holds what a sink writes, or lies among it, and that folder."""
    looked = _Looked()
    written = list(_of_sink(sink_uri, looked))
    # Every task asks this once, of a policy that may have thousands of stores.
    of_its_kind = f"{sink_uri.partition('://')[0]}://"
    for own in compartments if written else ():
        for uri in own.all_store_uris:
            if not uri.startswith(of_its_kind):
                continue
            for shown, folder in _of_compartment(uri, own.name, looked):
                if any(_in(one, folder) or _in(folder, one) for one in written):
                    return own, shown
    return None


def _above(
    inner: Folder, by_folder: dict[tuple[tuple[str, str], tuple[str, ...]], list[_Place]]
) -> Iterator[_Place]:
    for length in range(len(inner.parts) + 1):
        for outer in by_folder.get((inner.space, inner.parts[:length]), ()):
            if outer.folder.may_share(inner):
                yield outer


def _in(inner: Folder, outer: Folder) -> bool:
    same = inner.space == outer.space and inner.may_share(outer)
    return same and inner.parts[: len(outer.parts)] == outer.parts


def _stores(own: Compartment) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    yield own.store_uri, ("store_uri",)
    yield from ((uri, ("former_store_uris", number)) for number, uri in enumerate(own.former_store_uris))
    yield from ((route.store_uri, ("routes", number, "store_uri")) for number, route in enumerate(own.routes))


def _of_compartment(uri: str, name: str, looked: _Looked) -> Iterator[tuple[str, Folder]]:
    segment = path_segment(name)
    for below in ((segment,), (CLAIMS, segment)):
        yield from _folders(uri, below, looked)


def _of_sink(uri: str, looked: _Looked) -> Iterator[Folder]:
    """Return where a sink writes: its file, or the folders of `secure_xcom.sinks.objects`."""
    scheme = uri.partition("://")[0]
    if scheme == "file":
        yield from (folder for _, folder in _folders(uri, (), looked))
    elif scheme in ("s3", "gs", "abfs", "memory"):
        for name in ("events", "check"):
            yield from (folder for _, folder in _folders(uri, (name,), looked))


def _folders(uri: str, below: tuple[str, ...], looked: _Looked) -> Iterator[tuple[str, Folder]]:
    """Return a folder of a store under every name that it has, each with how it is shown."""
    scheme, _, rest = uri.partition("://")
    place, _, query = rest.partition("?")
    if scheme == "file":
        path = os.path.normpath("/" + "/".join([unquote(place).strip("/"), *below]))
        yield from ((path, folder) for folder in looked.folders(path))
        return
    authority, _, path = place.partition("/")
    # A proxy may decode a path once more than we do, so two spellings of one path count as one.
    parts = [unquote(part) for part in path.split("/") if part]
    if scheme == "vault-kv":
        # MOUNT/PREFIX, or MOUNT/WITH/SLASHES/data/PREFIX: `secure_xcom.stores.vault_kv_uri`.
        at = parts.index("data", 1) if "data" in parts[1:] else 0
        name, parts = "/".join(parts[: at or 1]), parts[at + 1 :]
    else:
        name = authority.rpartition("@")[2].lower()
    inside = tuple("/".join([*parts, *below]).split("/"))
    shown = f"{scheme}://{'/'.join([name, *inside])}"
    yield shown, Folder((scheme, name), inside, _server(scheme, query))


def _server(scheme: str, query: str) -> str:
    options = dict(parse_qsl(query))
    if endpoint := options.get("endpoint"):
        try:
            parts = urlsplit(endpoint)
            host, port = (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            # Who uses the URI says what is wrong with it.
            return ""
        return f"{'localhost' if _LOOPBACK.fullmatch(host) else host}:{port}"
    return options.get("account", "").lower() if scheme == "abfs" else ""


class _Looked:
    """Folders of this machine, which may have several names: links, mounts, file systems that know no case."""

    def __init__(self) -> None:
        self._ids: dict[str, str | None] = {}

    def folders(self, path: str) -> Iterator[Folder]:
        """Return the folder below the root, and below every folder above it that is there, known by its inode."""
        names = dict.fromkeys((path, os.path.realpath(path)))
        for name in names:
            parts = tuple(part for part in name.split("/") if part)
            yield Folder(("file", "/"), parts)
            for length in range(1, len(parts) + 1):
                inode = self._inode("/" + "/".join(parts[:length]))
                if inode is None:
                    break
                yield Folder(("file", inode), parts[length:])

    def _inode(self, path: str) -> str | None:
        if path not in self._ids:
            try:
                found = os.stat(path)
                self._ids[path] = f"{found.st_dev}:{found.st_ino}"
            except OSError:
                # Not of this machine, or not there yet: then its name alone is known.
                self._ids[path] = None
        return self._ids[path]


def texts(found: Iterable[Nested], compartments: Sequence[Compartment]) -> Iterator[tuple[Nested, str]]:
    """Return each with what is to be said of it."""
    for one in found:
        inner, outer = compartments[one.compartment].name, compartments[one.outer].name
        text = (
            f"this store of {inner!r} lies in the folder of {outer!r} ({one.shown:.200}), so whoever may read, "
            f"list or delete there may do it with what is of {inner!r}: name a store outside of it, such as the "
            f"store of {outer!r} itself, in which each compartment has a folder of its own"
        )
        yield one, text
