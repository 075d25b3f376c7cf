"""Create and rotate a local keyring: written once, rotated under a lock, never overwritten."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from secure_xcom.core import clock
from secure_xcom.core.file_lock import WAIT_SECONDS, NotLocked, acquire, release
from secure_xcom.core.keyring_errors import KeyringError
from secure_xcom.keys.keyring import FORMAT, TAG, TIME_FORMAT, WRAPPING_KEY_BYTES, Keyring, Version
from secure_xcom.keys.keyring_file import open_folder, open_keyring, read_keyring, shown

LOCK_WAIT_SECONDS = WAIT_SECONDS


def create_keyring(path: str) -> None:
    """Create a keyring with one version and mode 0600. Missing parent folders are created with mode 0700.

    :param path: an absolute path.
    :raises KeyringError: the file exists (nothing is overwritten), or it cannot be written.
    """
    folders = PurePosixPath(path).parents
    try:
        for missing in reversed([folder for folder in folders if not os.path.lexists(folder)]):
            os.mkdir(missing, 0o700)
    except OSError as error:
        raise _cannot_write(error, path) from None
    with open_folder(path) as folder:
        try:
            _write_new(folder, PurePosixPath(path).name, dump(Keyring({1: new_version()}, 1)))
            os.fsync(folder)
        except FileExistsError:
            raise KeyringError(
                "the file exists, and a keyring is never overwritten",
                where=shown(path),
                remedy="use the existing keyring, rotate it, or choose another path",
            ) from None
        except OSError as error:
            raise _cannot_write(error, path) from None


def rotate_keyring(path: str) -> int:
    """Add a version that wraps from now on. Older versions are kept, so everything still opens.

    The new file is written beside the old one and takes its name in one step, so a crash at any moment leaves
    either the old file or the new one. Running processes see it at their next use.

    :returns: the new version's number.
    :raises KeyringError: there is no usable keyring, another rotation holds it, or it cannot be written.
    """
    name = PurePosixPath(path).name
    # The lock makes one name enough, so the next rotation removes what a crash left behind.
    temporary = f".{name}.new"
    with open_keyring(path):
        pass  # A path with a typo or an exposed file is refused before a lock file is made beside it.
    with open_folder(path) as folder, _lock(folder, f"{name}.lock", path):
        with open_keyring(path) as (_, descriptor):
            keyring = read_keyring(descriptor, path)
        number = keyring.latest + 1
        newer = Keyring({**keyring.versions, number: new_version()}, number)
        try:
            _unlink(folder, temporary)
            _write_new(folder, temporary, dump(newer))
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except OSError as error:
            raise _cannot_write(error, path) from None
    return number


def new_version() -> Version:
    """Return a new wrapping key from the operating system's random source."""
    return Version(clock.now().replace(microsecond=0), secrets.token_bytes(WRAPPING_KEY_BYTES))


def dump(keyring: Keyring) -> bytes:
    """Return the file of a keyring, which `Keyring.parse` reads."""
    versions = {
        str(number): {
            "created": version.created.strftime(TIME_FORMAT),
            "key": base64.b64encode(version.key).decode(),
        }
        for number, version in keyring.versions.items()
    }
    return json.dumps({TAG: FORMAT, "versions": versions, "latest": keyring.latest}, indent=1).encode() + b"\n"


def _cannot_write(error: OSError, path: str) -> KeyringError:
    return KeyringError(
        f"the keyring cannot be written: {error.strerror}",
        where=shown(path),
        remedy="make its folder writable for this user, and check that the disk has free space",
    )


def _write_new(folder: int, name: str, text: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        try:
            # The umask may have removed the owner's own bits.
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
    # The lock has its own file, because the keyring's file is replaced while the lock is held.
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
                where=shown(path),
                remedy="wait for the other rotation to end, or end it",
            ) from None
        except OSError as error:
            raise _cannot_write(error, path) from None
        yield
    finally:
        release(descriptor)
