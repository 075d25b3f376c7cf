"""Create the keyring of a ``local://`` key URI."""

from __future__ import annotations

import os

from secure_xcom.core.findings import Finding
from secure_xcom.keys.local import keyring_path
from secure_xcom.ops.keyring import create_keyring


def plan(uri: str) -> Finding:
    """Return what `prepare` would do."""
    path = keyring_path(uri)
    if os.path.lexists(path):
        return Finding(f"keyring {path}", "ok", "exists and would be kept")
    return Finding(f"keyring {path}", "ok", "would be created with mode 0600", details={"changes": True})


def prepare(uri: str) -> Finding:
    """Create the keyring, or keep an existing one.

    :raises KeyringError: it cannot be created. An existing one is tested later.
    """
    path = keyring_path(uri)
    if os.path.lexists(path):
        return Finding(f"keyring {path}", "ok", "exists and is kept")
    create_keyring(path)
    return Finding(
        f"keyring {path}",
        "ok",
        "created with mode 0600; back it up where only you can read it: without it, nothing that it wrapped "
        "can be opened",
    )
