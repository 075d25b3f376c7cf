"""The form of paths, for every store.

Paths come from references that are not authenticated yet, so their form is always checked.
"""

from __future__ import annotations

import re

from secure_xcom.core.errors import PathInvalid

PATH_MAX_BYTES = 1024
"""The longest key of S3 and of Google Cloud Storage in bytes (their "object key naming guidelines")."""

# The alphabet of coordinate.path_segment. 255 bytes is the longest name of Linux's file systems and of
# SeaweedFS; the look-ahead refuses "." and "..", which stores and tools treat as folders.
_PATH = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.~%-]{1,255}(?:/(?!\Z)|\Z))+")


def checked_path(path: str, uri: str) -> str:
    """Return the path, checked.

    :raises PathInvalid: it does not consist of ``A-Z a-z 0-9 _ . ~ % -`` in segments of 1 to 255 bytes, holds a
        segment ``.`` or ``..``, begins or ends with a slash, or is over 1,024 bytes.
    """
    if len(path) > PATH_MAX_BYTES or not _PATH.fullmatch(path):
        raise PathInvalid(f"{path!r:.120} is not a valid object path", where=uri)
    return path


def checked_prefix(prefix: str, uri: str) -> str:
    """Return the prefix of a listing, checked, without a trailing slash. Empty for the whole store.

    :raises PathInvalid: see `checked_path`.
    """
    bare = prefix.removesuffix("/")
    return checked_path(bare, uri) if prefix else ""
