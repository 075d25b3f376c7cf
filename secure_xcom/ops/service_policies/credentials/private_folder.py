"""A folder of secrets that its owner alone can enter, and files in it that are written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from secure_xcom.core.errors import SettingInvalid


def open_private_folder(folder: Path) -> None:
    """Create a folder with mode 0700, or check an existing one.

    :raises SettingInvalid: it is a link or a file, belongs to another user, or others may enter it.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise SettingInvalid(
            f"the folder cannot be created ({type(error).__name__})",
            where=str(folder),
            remedy="name a folder whose parent exists and is writable",
        ) from None
    check_private_folder(folder, status)


def check_private_folder(folder: Path, status: os.stat_result) -> None:
    """Check that a folder is one that only this user can enter.

    :raises SettingInvalid: it is not.
    """
    wrong = ""
    if not stat.S_ISDIR(status.st_mode):
        wrong = "it is not a folder"
    elif status.st_uid != os.geteuid():
        wrong = f"it belongs to user {status.st_uid}"
    elif stat.S_IMODE(status.st_mode) & 0o077:
        wrong = f"other users may enter it (mode {stat.S_IMODE(status.st_mode):04o})"
    if wrong:
        raise SettingInvalid(
            f"credentials are not written here: {wrong}",
            where=str(folder),
            remedy="name a folder of your own with mode 0700, or one that does not exist yet",
        )


def read_private(file: Path) -> str | None:
    """Return a file's text, or None if there is no file.

    :raises SettingInvalid: it is a link or no file, is not text, or others may read it.
    """
    try:
        # Without waiting, because a pipe would keep the command for ever.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingInvalid(
            f"the file cannot be read ({type(error).__name__})", where=str(file), remedy="move it away"
        ) from None
    status = os.fstat(descriptor)
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise SettingInvalid("it is not a file", where=str(file), remedy="move it away")
    with os.fdopen(descriptor, "rb") as opened:
        if mode & 0o077:
            raise SettingInvalid(
                f"other users may read this file of credentials (mode {mode:04o})",
                where=str(file),
                remedy="set its mode to 0600 and rotate (--rotate, later --end-old): its logins were exposed",
            )
        try:
            return opened.read().decode()
        except UnicodeDecodeError:
            raise SettingInvalid("the file is not UTF-8", where=str(file), remedy="move it away") from None


def write_private(file: Path, text: str) -> None:
    """Write a file with mode 0600; whoever reads it sees the old text or the new one.

    :raises SettingInvalid: it cannot be written.
    """
    new = file.with_suffix(".new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(file)
    except OSError as error:
        raise SettingInvalid(
            f"the file cannot be written ({type(error).__name__})", where=str(file), remedy="check its folder"
        ) from None
