"""The folders of each compartment's objects. No folder of one compartment may lie inside another compartment's.

Services limit identities by folder, so whoever may read, list or delete in a folder may do so with everything
below it. Equal store URIs are allowed: below a store each compartment has its own folders
(`secure_xcom.core.coordinate`).

URIs are parsed leniently here, whatever their scheme: whoever uses a URI parses it strictly. Two buckets that may
be the same count as the same: the connection determines a bucket's server, and reading a policy looks up no
connection.
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
    from secure_xcom.core.access_policy.compartment import Compartment

_LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|::1")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder: it contains every path of the same space that begins with its parts.

    :ivar space: a bucket, a KV engine, or a folder of this machine's file system.
    :ivar parts: its path in the space.
    :ivar server: the server of the space, if the URI itself names it; otherwise empty.
    """

    space: tuple[str, str]
    parts: tuple[str, ...]
    server: str = ""

    def may_share(self, other: Folder) -> bool:
        """Check whether both may be on one server: not if both URIs name a server, and these differ."""
        return not self.server or not other.server or self.server == other.server


@dataclass(frozen=True, slots=True)
class Nested:
    """A store of one compartment whose folder lies inside a folder of another compartment.

    :ivar compartment: the inner compartment's number; :ivar field: the path of its URI in the compartment.
    :ivar outer: the outer compartment's number; :ivar shown: the outer folder, for people.
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
    """Yield every store with payloads or claims in the folder of another compartment, once for each such pair."""
    uris = {uri for own in compartments for uri in own.all_store_uris}
    if len(uris) < 2 and not any(uri.startswith("file:") for uri in uris):
        return
    local_folders = _LocalFolders()
    places = [
        _Place(number, field, shown, folder)
        for number, own in enumerate(compartments)
        for uri, field in _stores(own)
        for shown, folder in _of_compartment(uri, own.name, local_folders)
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
    """Return the compartment whose folder contains a sink's folder or lies inside it, and its folder."""
    local_folders = _LocalFolders()
    written = list(_of_sink(sink_uri, local_folders))
    # Every task asks this once, of a policy that may have thousands of stores.
    scheme = f"{sink_uri.partition('://')[0]}://"
    for own in compartments if written else ():
        for uri in own.all_store_uris:
            if not uri.startswith(scheme):
                continue
            for shown, folder in _of_compartment(uri, own.name, local_folders):
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


def _of_compartment(uri: str, name: str, local_folders: _LocalFolders) -> Iterator[tuple[str, Folder]]:
    segment = path_segment(name)
    for below in ((segment,), (CLAIMS, segment)):
        yield from _folders(uri, below, local_folders)


def _of_sink(uri: str, local_folders: _LocalFolders) -> Iterator[Folder]:
    """Yield the folders that a sink writes to: its file, or the folders of `secure_xcom.sinks.objects`."""
    scheme = uri.partition("://")[0]
    if scheme == "file":
        yield from (folder for _, folder in _folders(uri, (), local_folders))
    elif scheme in ("s3", "gs", "abfs", "memory"):
        for name in ("events", "check"):
            yield from (folder for _, folder in _folders(uri, (name,), local_folders))


def _folders(uri: str, below: tuple[str, ...], local_folders: _LocalFolders) -> Iterator[tuple[str, Folder]]:
    """Yield a folder of a store under each of its names, with the text that shows it."""
    scheme, _, rest = uri.partition("://")
    place, _, query = rest.partition("?")
    if scheme == "file":
        path = os.path.normpath("/" + "/".join([unquote(place).strip("/"), *below]))
        yield from ((path, folder) for folder in local_folders.folders(path))
        return
    authority, _, path = place.partition("/")
    # A proxy may decode a path once more than we do, so two spellings of one path count as the same path.
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
            # Whoever uses the URI reports what is wrong with it.
            return ""
        return f"{'localhost' if _LOOPBACK.fullmatch(host) else host}:{port}"
    return options.get("account", "").lower() if scheme == "abfs" else ""


class _LocalFolders:
    """Folders of this machine, which may have several names: links, mounts, case-insensitive file systems."""

    def __init__(self) -> None:
        self._ids: dict[str, str | None] = {}

    def folders(self, path: str) -> Iterator[Folder]:
        """Yield the folder relative to the root, and relative to the inode of each existing folder above it."""
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
                status = os.stat(path)
                self._ids[path] = f"{status.st_dev}:{status.st_ino}"
            except OSError:
                # On another machine, or not created yet: only its name is known.
                self._ids[path] = None
        return self._ids[path]


def texts(stores: Iterable[Nested], compartments: Sequence[Compartment]) -> Iterator[tuple[Nested, str]]:
    """Yield each nested store with the text of its fault."""
    for store in stores:
        inner, outer = compartments[store.compartment].name, compartments[store.outer].name
        text = (
            f"this store of {inner!r} lies in the folder of {outer!r} ({store.shown:.200}), so whoever may read, "
            f"list or delete there may do so with the objects of {inner!r}: name a store outside of it, such as "
            f"the store of {outer!r} itself, in which each compartment has its own folder"
        )
        yield store, text
