"""The local keyring's file: opened only if nobody else can use it. `secure_xcom.ops.keyring` writes it.

POSIX only: it relies on mode bits, owners and ``flock``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from secure_xcom.keys.keyring import Keyring, broken

# A version takes about 100 bytes, so this leaves room for 10,000 rotations and cannot exhaust a worker's memory.
FILE_MAX_BYTES = 1 << 20
OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""The mode bits of everybody but the owner. An access control list shows in those of the group: acl(5)."""


@contextmanager
def open_keyring(path: str) -> Iterator[tuple[os.stat_result, int]]:
    """Open the file for reading and check who else could read, write or replace it.

    All checks are made on the opened file, so that nothing can take its place in between. A symbolic link is
    refused: a rotation would replace the link, not the file that it points to.

    :returns: the file's status and its descriptor.
    :raises KeyringMissing: there is no file.
    :raises KeyringExposed: group or others can use it, another user owns it, or anyone can replace it.
    :raises KeyringError: it cannot be opened, or is a symbolic link or not a regular file.
    """
    with open_folder(path) as folder:
        try:
            # O_NONBLOCK keeps a named pipe in the keyring's place from blocking the worker for ever.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(PurePosixPath(path).name, flags, dir_fd=folder)
        except OSError as error:
            from secure_xcom.keys.keyring_faults import cannot_open

            raise cannot_open(error, path, shown(path)) from None
    try:
        status = os.fstat(descriptor)
        # Not even root uses another user's file: that user could read it, and a rotation would change its owner.
        if not stat.S_ISREG(status.st_mode) or status.st_mode & OTHERS or status.st_uid != os.geteuid():
            from secure_xcom.keys.keyring_faults import not_private

            raise not_private(status, shown(path))
        yield status, descriptor
    finally:
        os.close(descriptor)


def read_keyring(descriptor: int, path: str) -> Keyring:
    """Return the keyring of an opened file.

    :raises KeyringError: it cannot be read, or is not a keyring.
    """
    text = b""
    try:
        while piece := os.read(descriptor, 65_536):
            text += piece
            if len(text) > FILE_MAX_BYTES:
                broken(f"the file is over {FILE_MAX_BYTES} bytes", shown(path))
    except OSError as error:
        from secure_xcom.core.keyring_errors import KeyringError

        raise KeyringError(f"the keyring cannot be read: {error.strerror}", where=shown(path)) from None
    return Keyring.parse(text, shown(path))


def shown(path: str) -> str:
    """Return how errors name a keyring."""
    return f"keyring {path!r}"


@contextmanager
def open_folder(path: str) -> Iterator[int]:
    """Open the keyring's folder.

    :raises KeyringExposed: anyone can replace files in it.
    :raises KeyringError: it cannot be opened.
    """
    try:
        folder = os.open(PurePosixPath(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        from secure_xcom.keys.keyring_faults import cannot_open

        raise cannot_open(error, path, shown(path)) from None
    try:
        mode = stat.S_IMODE(os.fstat(folder).st_mode)
        # With the sticky bit (as /tmp has it) others can add files, but cannot replace this one: inode(7).
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            from secure_xcom.keys.keyring_faults import exposed_folder

            raise exposed_folder(mode, shown(path))
        yield folder
    finally:
        os.close(folder)
