"""The local keyring's file: opened only if nobody else can use it, made once, rotated under a lock.

POSIX only: mode bits, owners and ``flock`` are what it stands on.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import NoReturn

from secure_xcom.core.errors import KeyringError, KeyringExposed, KeyringMissing
from secure_xcom.core.file_lock import WAIT_SECONDS, NotLocked, acquire, release
from secure_xcom.keys.keyring import Keyring, broken

# A version takes about 100 bytes, so this is room for 10,000 rotations and nothing that could hurt a worker.
FILE_MAX_BYTES = 1 << 20
LOCK_WAIT_SECONDS = WAIT_SECONDS
_RUN_AS_OWNER = "run Airflow's components and `secure-xcom` as the keyring's owner, or `chown` it to their user"


@contextmanager
def open_keyring(path: str) -> Iterator[tuple[os.stat_result, int]]:
    """Open the file for reading and check who else could read, write or replace it.

    All checks are made on what was opened, so that nothing can be put in its place in between. A symbolic link
    is refused: a rotation would replace the link, not the file that it points to.

    :returns: the file's status and its descriptor.
    :raises KeyringMissing: there is no file.
    :raises KeyringExposed: group or others may use it, another user owns it, or anyone may replace it.
    :raises KeyringError: it cannot be opened, or is a symbolic link or no regular file.
    """
    with _open_folder(path) as folder:
        try:
            # O_NONBLOCK keeps a named pipe in the keyring's place from holding up the worker for ever.
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
    """Parse the whole of an opened keyring file.

    :raises KeyringError: it cannot be read, or is no keyring.
    """
    text = b""
    try:
        while piece := os.read(descriptor, 65_536):
            text += piece
            if len(text) > FILE_MAX_BYTES:
                broken(f"the file is over {FILE_MAX_BYTES} bytes", _where(path))
    except OSError as error:
        raise KeyringError(f"the keyring cannot be read: {error.strerror}", where=_where(path)) from None
    return Keyring.parse(text, _where(path))


def create_keyring(path: str) -> None:
    """Make a keyring with one version, mode 0600. Missing folders above it are made with mode 0700.

    :param path: an absolute path.
    :raises KeyringError: there is a file already (nothing is overwritten), or it cannot be written.
    """
    folders = PurePosixPath(path).parents
    try:
        for missing in reversed([folder for folder in folders if not os.path.lexists(folder)]):
            os.mkdir(missing, 0o700)
    except OSError as error:
        raise _cannot_write(error, path) from None
    with _open_folder(path) as folder:
        try:
            _write_new(folder, PurePosixPath(path).name, Keyring.generate().dump())
            os.fsync(folder)
        except FileExistsError:
            raise KeyringError(
                "there is a file already, and a keyring is never overwritten",
                where=_where(path),
                remedy="use it as it is, rotate it, or choose another path",
            ) from None
        except OSError as error:
            raise _cannot_write(error, path) from None


def rotate_keyring(path: str) -> int:
    """Add a version that wraps from now on. The older ones are kept, so that everything still opens.

    The new file is written beside the old one and takes its name in one step, so that a crash at any moment
    leaves the one or the other. Running processes see it at their next use.

    :returns: the new version's number.
    :raises KeyringError: there is no usable keyring, another rotation holds it, or it cannot be written.
    """
    name = PurePosixPath(path).name
    # The lock makes one name enough, so what a crash left behind is removed by the next rotation.
    temporary = f".{name}.new"
    with open_keyring(path):
        pass  # A path with a typo or an exposed file is refused before a lock file is made beside it.
    with _open_folder(path) as folder, _lock(folder, f"{name}.lock", path):
        with open_keyring(path) as (_, descriptor):
            rotated = read_keyring(descriptor, path).rotated()
        try:
            _unlink(folder, temporary)
            _write_new(folder, temporary, rotated.dump())
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except OSError as error:
            raise _cannot_write(error, path) from None
    return rotated.latest


def _where(path: str) -> str:
    return f"keyring {path!r}"


@contextmanager
def _open_folder(path: str) -> Iterator[int]:
    try:
        folder = os.open(PurePosixPath(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        _cannot_open(error, path)
    try:
        mode = stat.S_IMODE(os.fstat(folder).st_mode)
        # With the sticky bit (as /tmp has it) others may add files, but cannot replace this one: inode(7).
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise KeyringExposed(
                f"the keyring's folder has mode {mode:04o}, so anyone may replace the keyring",
                where=_where(path),
                remedy="run `chmod 700` on the folder, and compare the keyring with its backup",
            )
        yield folder
    finally:
        os.close(folder)


def _check_file(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        broken("not a regular file", _where(path))
    # An access control list shows itself in the group bits: acl(5).
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyringExposed(
            f"the keyring has mode {stat.S_IMODE(status.st_mode):04o}, so others than its owner may use it",
            where=_where(path),
        )
    # Not even root uses a file of another user: that user could read it, and a rotation would take it away.
    if status.st_uid != os.geteuid():
        raise KeyringExposed(
            f"the keyring belongs to user {status.st_uid}, and this process is user {os.geteuid()}",
            where=_where(path),
            remedy=_RUN_AS_OWNER,
        )


def _cannot_open(error: OSError, path: str) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        raise KeyringMissing("there is no keyring", where=_where(path)) from None
    if isinstance(error, PermissionError):
        what, remedy = f"user {os.geteuid()} may not read the keyring", _RUN_AS_OWNER
    elif os.path.islink(path):
        what, remedy = "the keyring is a symbolic link", "name the file itself in the key URI"
    else:
        what, remedy = f"the keyring cannot be opened: {error.strerror}", "check the path in the key URI"
    raise KeyringError(what, where=_where(path), remedy=remedy) from None


def _cannot_write(error: OSError, path: str) -> KeyringError:
    return KeyringError(
        f"the keyring cannot be written: {error.strerror}",
        where=_where(path),
        remedy="make its folder writable for this user, with room left on the disk",
    )


def _write_new(folder: int, name: str, text: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        try:
            # The umask may have taken away the owner's own bits.
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            _unlink(folder, name)
            raise


def _unlink(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


@contextmanager
def _lock(folder: int, name: str, path: str) -> Iterator[None]:
    # The lock has a file of its own, because the keyring's is replaced while the lock is held.
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    except OSError as error:
        raise _cannot_write(error, path) from None
    try:
        try:
            acquire(descriptor, wait=LOCK_WAIT_SECONDS)
        except NotLocked as error:
            raise KeyringError(
                f"another process has held the keyring's lock for {LOCK_WAIT_SECONDS:g} seconds: {error.holder}",
                where=_where(path),
                remedy="wait for the other rotation to end, or end it",
            ) from None
        except OSError as error:
            raise _cannot_write(error, path) from None
        yield
    finally:
        release(descriptor)
