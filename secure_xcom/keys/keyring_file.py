"""The local keyring's file: opened only if nobody else can use it. `secure_xcom.ops.keyring` writes it.

POSIX only: it relies on mode bits, owners and ``flock``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import NoReturn

from secure_xcom.core.errors import KeyringError, KeyringExposed, KeyringMissing
from secure_xcom.keys.keyring import Keyring, broken

# A version takes about 100 bytes, so this leaves room for 10,000 rotations and cannot exhaust a worker's memory.
FILE_MAX_BYTES = 1 << 20
_RUN_AS_OWNER = "run Airflow's components and `secure-xcom` as the keyring's owner, or `chown` it to their user"


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
            _cannot_open(error, path)
    try:
        status = os.fstat(descriptor)
        _check_file(status, path)
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
        _cannot_open(error, path)
    try:
        mode = stat.S_IMODE(os.fstat(folder).st_mode)
        # With the sticky bit (as /tmp has it) others can add files, but cannot replace this one: inode(7).
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise KeyringExposed(
                f"the keyring's folder has mode {mode:04o}, so anyone can replace the keyring",
                where=shown(path),
                remedy="run `chmod 700` on the folder, and compare the keyring with its backup",
            )
        yield folder
    finally:
        os.close(folder)


def _check_file(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        broken("not a regular file", shown(path))
    # An access control list shows in the group bits: acl(5).
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyringExposed(
            f"the keyring has mode {stat.S_IMODE(status.st_mode):04o}, so users other than its owner can use it",
            where=shown(path),
        )
    # Not even root uses another user's file: that user could read it, and a rotation would change its owner.
    if status.st_uid != os.geteuid():
        raise KeyringExposed(
            f"the keyring belongs to user {status.st_uid}, and this process runs as user {os.geteuid()}",
            where=shown(path),
            remedy=_RUN_AS_OWNER,
        )


def _cannot_open(error: OSError, path: str) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        raise KeyringMissing("the keyring does not exist", where=shown(path)) from None
    if isinstance(error, PermissionError):
        what, remedy = f"user {os.geteuid()} may not read the keyring", _RUN_AS_OWNER
    elif os.path.islink(path):
        what, remedy = "the keyring is a symbolic link", "use the path of the file itself in the key URI"
    else:
        what, remedy = f"the keyring cannot be opened: {error.strerror}", "check the path in the key URI"
    raise KeyringError(what, where=shown(path), remedy=remedy) from None
