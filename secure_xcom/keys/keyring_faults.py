"""Errors about a local keyring's URI and file, and what to do. Only a fault loads this module."""

from __future__ import annotations

import os
import stat

from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.keyring_errors import KeyringBroken, KeyringError, KeyringExposed, KeyringMissing
from secure_xcom.core.reference import URI_MAX_CHARACTERS
from secure_xcom.keys.keyring_file import OTHERS
from secure_xcom.keys.local import SCHEME, UNUSUAL

_RUN_AS_OWNER = "run Airflow's components and `secure-xcom` as the keyring's owner, or `chown` it to their user"


def invalid_uri(uri: str) -> UriInvalid:
    """Return the error for a key URI that names no keyring."""
    path = uri.removeprefix(SCHEME)
    if not uri.startswith(SCHEME) or not path.startswith("/"):
        what = "a local key URI is local:// and an absolute path"
    elif len(uri) > URI_MAX_CHARACTERS:
        what = f"a local key URI has at most {URI_MAX_CHARACTERS} characters"
    elif UNUSUAL.search(path) or not path.isprintable():
        what = "the path of a local key URI contains a space, a control character or one of % ? # \\ ,"
    else:
        what = "the path of a local key URI has an empty part, '.' or '..', or ends in a slash"
    return UriInvalid(
        what,
        where=f"key URI {uri!r:.120}",
        remedy="write local:///PATH, such as local:///opt/airflow/keys/keyring.json",
    )


def cannot_open(error: OSError, path: str, where: str) -> KeyringError:
    """Return the error for a keyring, or the folder that it is in, which cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return KeyringMissing("the keyring does not exist", where=where)
    if isinstance(error, PermissionError):
        what, remedy = f"user {os.geteuid()} may not read the keyring", _RUN_AS_OWNER
    elif os.path.islink(path):
        what, remedy = "the keyring is a symbolic link", "use the path of the file itself in the key URI"
    else:
        what, remedy = f"the keyring cannot be opened: {error.strerror}", "check the path in the key URI"
    return KeyringError(what, where=where, remedy=remedy)


def exposed_folder(mode: int, where: str) -> KeyringExposed:
    """Return the error for a keyring that anybody can replace."""
    return KeyringExposed(
        f"the keyring's folder has mode {mode:04o}, so anyone can replace the keyring",
        where=where,
        remedy="run `chmod 700` on the folder, and compare the keyring with its backup",
    )


def not_private(status: os.stat_result, where: str) -> KeyringError:
    """Return the error for a file that is not regular, or not this user's alone."""
    if not stat.S_ISREG(status.st_mode):
        return KeyringBroken("not a usable keyring: not a regular file", where=where)
    if status.st_mode & OTHERS:
        return KeyringExposed(
            f"the keyring has mode {stat.S_IMODE(status.st_mode):04o}, so users other than its owner can use it",
            where=where,
        )
    return KeyringExposed(
        f"the keyring belongs to user {status.st_uid}, and this process runs as user {os.geteuid()}",
        where=where,
        remedy=_RUN_AS_OWNER,
    )
