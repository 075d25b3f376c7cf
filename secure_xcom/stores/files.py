"""A folder of this machine, or of a network file system, as a store.

    file:///absolute/path        percent escapes are decoded, so a ``%`` in the path is written ``%25``

``secure-xcom init`` creates the folder, a put never does: a missing folder may be a volume that is not mounted.
Below it, folders are created with mode 0700 and files with 0600 (the umask can only remove bits), so the tasks of
a deployment run as one operating-system user.

It uses plain system calls and not obstore, whose LocalStore leaves modes to the umask, needs the whole payload in
memory when it must not overwrite, reports a full disk only in its message, and takes three to ten times as long.

Written data is not flushed to the disk before a put returns: after a power cut the newest objects may be
missing or truncated, and a pull of them fails with a specific error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from io import FileIO
from itertools import chain
from urllib.parse import quote, unquote

from secure_xcom.core.errors import ObjectExists, ObjectMissing, PathInvalid, StoreError
from secure_xcom.stores import StoredObject
from secure_xcom.stores.paths import checked_path, checked_prefix
from secure_xcom.stores.size_limit import whole, with_sizes

PIECE_BYTES = 1 << 20
"""The number of bytes that a streamed get reads at a time."""

# A path_segment never begins with this: it has a "~" only after at least 144 other bytes.
STAGED = ".part~"

# On a busy machine a delete beside this one can remove a new folder again many times in a row.
_MAKE_FOLDER_TRIES = 100


class FileStore:
    """A store in a folder.

    :raises UriInvalid: the URI is not ``file:///`` and an absolute path.
    """

    def __init__(self, uri: str) -> None:
        self._root = _root(uri)
        self.uri = f"file://{quote(self._root)}"

    def put(self, path: str, payload: Iterable[bytes]) -> None:
        """Write to a staged file in the object's folder, then link it to its name, which never overwrites.

        :raises ObjectExists: an object already exists at this path.
        :raises StoreFull: no space is left; the attempt leaves nothing behind.
        :raises StoreUnavailable: the store's folder is missing, or its file system has no hard links.
        """
        target = self._full(path)
        folder, _, name = target.rpartition("/")
        if name.startswith(STAGED):
            raise PathInvalid(f"{name!r:.80} is reserved for files that are being written", where=self.uri)
        staged = f"{folder}/{STAGED}{os.urandom(8).hex()}"
        descriptor = self._stage(staged, folder, path)
        try:
            try:
                # Errors of the payload's own iterator pass through: they are not the store's.
                for piece in payload:
                    self._write(descriptor, piece, path)
            finally:
                self._close(descriptor, path)
            self._link(staged, target, path)
        finally:
            # A staged file that cannot be removed is harmless: after a day it is listed, and gc deletes it.
            with contextlib.suppress(OSError):
                os.unlink(staged)

    def get(self, path: str) -> Iterator[bytes]:
        """Return the file in pieces of at most 1 MiB.

        :raises ObjectMissing: there is no file at this path.
        """
        full = self._full(path)
        try:
            file = open(full, "rb", buffering=0, opener=_open_file)  # noqa: SIM115  # closed by _pieces
        except OSError as error:
            raise self._error(error, path) from None
        # The first piece is read at once, so errors are raised here, and the started generator closes the file
        # even if nobody reads on.
        pieces = self._pieces(file, path)
        first = next(pieces, b"")
        return chain((first,), pieces) if first else iter(())

    def get_many(self, paths: Sequence[str], sizes: Sequence[int] | None = None) -> Iterator[bytes | StoreError]:
        """Yield whole files, one after the other.

        A file is read in about ten microseconds, less than it takes to hand it to another thread.
        """
        for path, size in with_sizes(paths, sizes):
            try:
                yield whole(self.get(path), size)
            except StoreError as error:
                yield error

    def delete_many(self, paths: Sequence[str]) -> list[StoreError | None]:
        """Unlink each, and the folders that are empty after that."""
        return [self._delete(path) for path in paths]

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object below the prefix, in no order. Staged files are listed when they are a day old."""
        from secure_xcom.stores.file_listing import listed

        return listed(self._root, checked_prefix(prefix, self.uri), self._error)

    def _full(self, path: str) -> str:
        return f"{self._root}/{checked_path(path, self.uri)}"

    def _stage(self, staged: str, folder: str, path: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        # Several tries, because a concurrent delete may remove a new folder while it is still empty.
        for _ in range(_MAKE_FOLDER_TRIES):
            try:
                with contextlib.suppress(FileNotFoundError):
                    return os.open(staged, flags, 0o600)
                with contextlib.suppress(FileNotFoundError):
                    self._make_folder(folder)
            except OSError as error:
                raise self._error(error, path, folder=True) from None
        raise self._error(FileNotFoundError(errno.ENOENT, ""), path, folder=True)

    def _make_folder(self, folder: str) -> None:
        missing = []
        while folder != self._root:
            try:
                os.mkdir(folder, 0o700)
                break
            except FileExistsError:
                break
            except FileNotFoundError:
                missing.append(folder)
                folder = folder.rpartition("/")[0]
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)

    def _write(self, descriptor: int, piece: bytes, path: str) -> None:
        try:
            written = os.write(descriptor, piece)
            while written < len(piece):
                written += os.write(descriptor, memoryview(piece)[written:])
        except OSError as error:
            raise self._error(error, path) from None

    def _close(self, descriptor: int, path: str) -> None:
        try:
            os.close(descriptor)
        except OSError as error:  # NFS reports a full disk here at the latest.
            raise self._error(error, path) from None

    def _link(self, staged: str, target: str, path: str) -> None:
        try:
            os.link(staged, target, follow_symlinks=False)
        except FileExistsError:
            # On NFS a link whose response was lost is sent again and then finds itself (Linux link(2), "Bugs").
            if not _is_same_file(staged, target):
                raise ObjectExists("the object already exists", where=self._where(path)) from None
        except OSError as error:
            from secure_xcom.stores.file_faults import link_fault

            raise link_fault(error, self.uri) or self._error(error, path) from None

    def _delete(self, path: str) -> StoreError | None:
        try:
            full = self._full(path)
            os.unlink(full)
        except StoreError as error:
            return error
        except OSError as error:
            translated = self._error(error, path)
            return None if isinstance(translated, ObjectMissing) else translated
        folder = full.rpartition("/")[0]
        # rmdir removes only empty folders, so the first one in use ends the walk.
        with contextlib.suppress(OSError):
            while folder != self._root:
                os.rmdir(folder)
                folder = folder.rpartition("/")[0]
        return None

    def _pieces(self, file: FileIO, path: str) -> Iterator[bytes]:
        with file:
            try:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise ObjectMissing("the path is not a file", where=self._where(path))
                piece_bytes = min(PIECE_BYTES, status.st_size)
                while piece := file.read(piece_bytes):
                    yield piece
            except OSError as error:
                raise self._error(error, path) from None

    def _where(self, path: str) -> str:
        return f"{self.uri}/{path}"

    def _error(self, error: OSError, path: str, *, folder: bool = False) -> StoreError:
        """Return what a failure of the file system means.

        :param folder: it was the object's folder that could not be created.
        """
        from secure_xcom.stores.file_faults import fault, folder_fault

        return (folder_fault if folder else fault)(error, self._where(path), self._root, self.uri)


def _open_file(path: str, flags: int) -> int:
    # A link or a pipe in the folder is neither followed nor waited for.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _is_same_file(left: str, right: str) -> bool:
    try:
        return os.path.samestat(os.lstat(left), os.lstat(right))
    except OSError:
        return False


def _root(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    # A byte that is not UTF-8 becomes a lone surrogate, which is not printable.
    path = unquote(rest, errors="surrogateescape")
    root = os.path.normpath("/" + path.strip("/"))
    odd = "?" in rest or "#" in rest or ".." in path.split("/") or not path.isprintable()
    if scheme != "file" or not rest.startswith("/") or odd or root == "/":
        from secure_xcom.stores.file_faults import invalid_uri

        raise invalid_uri(uri)
    return root
