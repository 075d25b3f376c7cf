"""Makes the keyring of a ``local://`` key URI."""

from __future__ import annotations

import os

from secure_xcom.core.findings import Finding
from secure_xcom.keys.local import keyring_path
from secure_xcom.ops.keyring import create_keyring


def prepare(uri: str) -> Finding:
    """Make the keyring, or keep the one that is there.

    :raises KeyringError: it cannot be made. Whether an existing one can be used is found when it is tried.
    """
    path = keyring_path(uri)
    if os.path.lexists(path):
        return Finding(f"keyring {path}", "ok", "exists and is kept as it is")
    create_keyring(path)
    return Finding(
        f"keyring {path}",
        "ok",
        "made, mode 0600; back it up where only you can read it: without it nothing that it wrapped opens again",
    )
