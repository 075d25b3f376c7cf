"""Create the folder of a ``file://`` store URI."""

from __future__ import annotations

import os
import stat
from urllib.parse import unquote, urlsplit

from secure_xcom.core.findings import Finding
from secure_xcom.core.store_errors import StoreUnavailable
from secure_xcom.stores.files import FileStore


def plan(uri: str) -> Finding:
    """Return what `prepare` would do.

    :raises UriInvalid: the URI is not ``file:///`` and an absolute path.
    """
    path = unquote(urlsplit(FileStore(uri).uri).path)
    if os.path.isdir(path):
        return Finding(f"folder {path}", "ok", "exists and would be kept")
    return Finding(f"folder {path}", "ok", "would be created with mode 0700", details={"changes": True})


def prepare(uri: str) -> Finding:
    """Create the folder with mode 0700, or keep an existing one.

    :raises UriInvalid: the URI is not ``file:///`` and an absolute path.
    :raises StoreUnavailable: the folder cannot be created.
    """
    path = unquote(urlsplit(FileStore(uri).uri).path)
    subject = f"folder {path}"
    if os.path.isdir(path):
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            # Payloads are sealed and their files have mode 0600, but their paths reveal DAGs, runs and times.
            return Finding(
                subject,
                "warning",
                f"exists, is kept, and has mode {mode:04o}: other users can list it",
                f"run `chmod 700 {path}`, unless other users are meant to read it",
            )
        return Finding(subject, "ok", "exists and is kept")
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.mkdir(path, 0o700)
    except OSError as error:
        raise StoreUnavailable(
            f"the folder cannot be created ({os.strerror(error.errno or 0)})",
            where=uri,
            remedy="create it yourself with mode 0700, owned by the user that Airflow runs as",
        ) from None
    return Finding(subject, "ok", "created with mode 0700")
