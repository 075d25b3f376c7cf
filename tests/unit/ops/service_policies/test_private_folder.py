"""Files of credentials are read only where their owner alone can have written them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secure_xcom.core.errors import SettingInvalid
from secure_xcom.ops.service_policies.credentials.private_folder import read_private, write_private


def test_a_file_comes_back(tmp_path: Path) -> None:
    """It is the owner's alone."""
    file = tmp_path / "connections.json"
    assert read_private(file) is None
    write_private(file, "é")
    assert (read_private(file), file.stat().st_mode & 0o777) == ("é", 0o600)


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "bytes", "readable"])
def test_what_is_no_file_of_credentials_is_refused(kind: str, tmp_path: Path) -> None:
    """None of them is read, and none is waited for."""
    file = tmp_path / "connections.json"
    if kind == "pipe":
        os.mkfifo(file, 0o600)
    elif kind == "link":
        file.symlink_to(tmp_path / "other")
    elif kind == "folder":
        file.mkdir(mode=0o700)
    else:
        file.write_bytes(b"\xff" if kind == "bytes" else b"{}")
        file.chmod(0o600 if kind == "bytes" else 0o640)
    with pytest.raises(SettingInvalid):
        read_private(file)
