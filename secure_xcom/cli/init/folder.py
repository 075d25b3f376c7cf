"""Makes the folder of a ``file://`` store URI."""

from __future__ import annotations

import os
import stat
from urllib.parse import unquote, urlsplit

from secure_xcom.core.errors import StoreUnavailable
from secure_xcom.core.findings import Finding
from secure_xcom.stores.files import FileStore


def prepare(uri: str) -> Finding:
    """Make the folder, mode 0700, or keep the one that is there.

    :raises UriInvalid: the URI is not ``file:///`` and an absolute path.
    :raises StoreUnavailable: the folder cannot be made.
    """
    path = unquote(urlsplit(FileStore(uri).uri).path)
    subject = f"folder {path}"
    if os.path.isdir(path):
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            # Payloads are sealed and their files have mode 0600, but their paths tell DAGs, runs and times.
            return Finding(
                subject,
                "warning",
                f"exists, is kept, and has mode {mode:04o}: others may list what lies in it",
                f"run `chmod 700 {path}`, unless others are meant to read it",
            )
        return Finding(subject, "ok", "exists and is kept as it is")
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.mkdir(path, 0o700)
    except OSError as error:
        raise StoreUnavailable(
            f"the folder cannot be made ({os.strerror(error.errno or 0)})",
            where=uri,
            remedy="make it by hand and give it to the user that Airflow runs as, with mode 0700",
        ) from None
    return Finding(subject, "ok", "made, mode 0700")
