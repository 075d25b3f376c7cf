"""Check a local keyring: its versions, its age, and a file that cannot be used."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from secure_xcom.keys.keyring import Keyring, Version
from secure_xcom.keys.local import LocalKeyring
from secure_xcom.ops.checks.key_services import check_key_service
from secure_xcom.ops.keyring import create_keyring, dump


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a keyring with one version."""
    file = tmp_path / "keys" / "keyring.json"
    create_keyring(str(file))
    return file


@pytest.fixture
def keyring(path: Path) -> LocalKeyring:
    """Return the key service of the keyring."""
    return LocalKeyring(f"local://{path}")


def test_check_says_whom_it_serves(keyring: LocalKeyring) -> None:
    """A healthy keyring's findings are fine, tell its versions, and say that it is for one machine."""
    findings = check_key_service(keyring)
    assert {finding.status for finding in findings} == {"ok"}
    text = " ".join(finding.text for finding in findings)
    assert "1 version(s)" in text
    assert "0 day(s) old" in text
    assert "for one machine" in text


def test_check_warns_of_an_old_version(path: Path) -> None:
    """A newest version of over a year is a warning that says to rotate."""
    old = Version(datetime.now(timezone.utc) - timedelta(days=400), b"\x17" * 32)
    path.write_bytes(dump(Keyring({1: old}, 1)))
    finding = check_key_service(LocalKeyring(f"local://{path}"))[0]
    assert finding.status == "warning"
    assert "400 day(s)" in finding.text
    assert "rotate" in finding.remedy


def test_check_of_an_unusable_keyring_is_a_finding(keyring: LocalKeyring, path: Path) -> None:
    """A missing, an exposed and a broken keyring are findings with a remedy, not exceptions."""
    path.chmod(0o644)
    path_findings = [check_key_service(keyring)]
    path.chmod(0o600)
    path.write_text("{}")
    path_findings.append(check_key_service(keyring))
    path.unlink()
    path_findings.append(check_key_service(keyring))
    for findings in path_findings:
        assert [finding.status for finding in findings] == ["error"]
        assert findings[0].remedy
