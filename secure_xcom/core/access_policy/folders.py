"""The folders of each compartment's objects, and whether a sink of the access log lies in one.

Services limit identities by folder, so whoever may read, list or delete in a folder may do so with everything
below it.

URIs are parsed leniently here, whatever their scheme: whoever uses a URI parses it strictly. Two buckets that may
be the same count as the same: the connection determines a bucket's server, and reading a policy looks up no
connection.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from secure_xcom.core.coordinate import CLAIMS, path_segment

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.interface import Rules


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


def sink_inside(compartments: Sequence[Rules], sink_uri: str) -> tuple[Rules, str] | None:
    """Return the compartment whose folder contains a sink's folder or lies inside it, and its folder."""
    local_folders = LocalFolders()
    written = list(_of_sink(sink_uri, local_folders))
    # Every task asks this once, of a policy that may have thousands of stores.
    scheme = f"{sink_uri.partition('://')[0]}://"
    for compartment in compartments if written else ():
        for uri in compartment.all_store_uris:
            if not uri.startswith(scheme):
                continue
            for shown, folder in folders_of(uri, compartment.name, local_folders):
                if any(_in(sink, folder) or _in(folder, sink) for sink in written):
                    return compartment, shown
    return None


def _in(inner: Folder, outer: Folder) -> bool:
    same = inner.space == outer.space and inner.may_share(outer)
    return same and inner.parts[: len(outer.parts)] == outer.parts


def folders_of(uri: str, name: str, local_folders: LocalFolders) -> Iterator[tuple[str, Folder]]:
    """Yield the folders of a compartment's payloads and claims in a store, each with the text that shows it."""
    segment = path_segment(name)
    for below in ((segment,), (CLAIMS, segment)):
        yield from _folders(uri, below, local_folders)


def _of_sink(uri: str, local_folders: LocalFolders) -> Iterator[Folder]:
    """Yield the folders that a sink writes to: its file, or the folders of `secure_xcom.sinks.objects`."""
    scheme = uri.partition("://")[0]
    if scheme == "file":
        yield from (folder for _, folder in _folders(uri, (), local_folders))
    elif scheme in ("s3", "gs", "abfs", "memory"):
        for name in ("events", "check"):
            yield from (folder for _, folder in _folders(uri, (name,), local_folders))


def _folders(uri: str, below: tuple[str, ...], local_folders: LocalFolders) -> Iterator[tuple[str, Folder]]:
    """Yield a folder of a store under each of its names, with the text that shows it."""
    scheme, _, rest = uri.partition("://")
    place, _, query = rest.partition("?")
    if scheme == "file":
        path = os.path.normpath("/" + "/".join([unquote(place).strip("/"), *below]))
        yield from ((path, folder) for folder in local_folders.folders(path))
        return
    from secure_xcom.core.access_policy.bucket_folders import bucket_folder

    yield bucket_folder(scheme, place, query, below)


class LocalFolders:
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
