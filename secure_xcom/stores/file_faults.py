"""Errors of a store of files, about its URI and from the file system. Only a fault loads this module."""

from __future__ import annotations

import errno
import os
from urllib.parse import unquote

from secure_xcom.core.errors import ObjectMissing, StoreError, UriInvalid
from secure_xcom.core.store_errors import StoreDenied, StoreFull, StoreUnavailable

# EFBIG is a limit of the process or of the file system: no room for this object either.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def fault(error: OSError, where: str, root: str, uri: str) -> StoreError:
    """Return the error for an object.

    :param where: the object; :param root: the store's folder, and :param uri: its URI.
    """
    code = error.errno or 0
    # The system's message for the number: an OSError's text may contain a path, and adds nothing.
    reason = os.strerror(code)
    if code in _FULL:
        return StoreFull(f"the disk has no space for the object ({reason})", where=where)
    if code in _DENIED:
        return StoreDenied(
            f"the folder cannot be used ({reason})",
            where=where,
            remedy="give the folder to the operating-system user that runs the tasks, with mode 0700",
        )
    if not os.path.isdir(root):
        return StoreUnavailable(
            "the store's folder does not exist",
            where=uri,
            remedy="mount its volume, or create it with `secure-xcom init --key URI --store URI`",
        )
    if code in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
        return ObjectMissing("there is no such object", where=where)
    return StoreUnavailable(f"the file system failed ({reason})", where=where)


def folder_fault(error: OSError, where: str, root: str, uri: str) -> StoreError:
    """Return the error for an object whose folder cannot be created."""
    translated = fault(error, where, root, uri)
    if not isinstance(translated, ObjectMissing):
        return translated
    reason = os.strerror(error.errno or 0)
    return StoreUnavailable(f"the object's folder cannot be created ({reason})", where=where)


def link_fault(error: OSError, uri: str) -> StoreError | None:
    """Return the error for a file system without hard links; None where it has them."""
    if error.errno not in _NO_LINKS:
        return None
    return StoreUnavailable(
        "the file system has no hard links, which are needed to create a file atomically",
        where=uri,
        remedy="put the store's folder on a file system with hard links, or use a bucket",
    )


def invalid_uri(uri: str) -> UriInvalid:
    """Return the error for a store URI that names no folder."""
    scheme, _, rest = uri.partition("://")
    try:
        path = unquote(rest, errors="strict")
    except UnicodeDecodeError:
        path = None
    remedy = "write file:///absolute/path, with three slashes"
    if scheme != "file" or not rest:
        what = "not a file store URI"
    elif not rest.startswith("/"):
        what, remedy = "the path is not absolute", f"write file:///{rest:.120} if that is the path"
    elif "?" in rest or "#" in rest:
        what, remedy = "a file store has no options", "remove everything from ? or # on"
    elif path is None:
        what = "the percent escapes are not UTF-8"
    elif ".." in path.split("/"):
        what, remedy = "the path contains ..", "write the path without .."
    elif not path.isprintable():
        what = "the path contains a control character"
    else:
        what = "the path is the root of the file system"
    return UriInvalid(what, where=f"store URI {uri!r:.200}", remedy=remedy)
