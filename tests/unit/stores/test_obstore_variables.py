"""The variables that obstore reads behind our back: all of them are known, and hiding some of them is undone."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest

from secure_xcom.stores.native_environment import hidden_from_obstore
from tests.support.obstore_variables import PREFIXES, in_stubs, unknown_in_binary, variables


def test_no_variable_is_unknown() -> None:
    """The installed obstore knows no variable that tests/real does not try, by its stubs and by its binary."""
    known = {name for prefix in PREFIXES for name in variables(prefix, "http://127.0.0.1:9")}
    assert in_stubs() - known == set()
    # "version" is text of obstore 0.11.0 between two variables' names.
    assert unknown_in_binary() in ("", "version")


def test_what_is_hidden_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the process's own table is changed, only for a moment, and also if making the client fails."""
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms")
    with contextlib.suppress(ZeroDivisionError), hidden_from_obstore():
        assert os.environ["AWS_SERVER_SIDE_ENCRYPTION"] == "aws:kms"
        assert _of_the_process() == b"\xff\n"
        print(1 / 0)
    assert _of_the_process() == b"aws:kms\n"


def _of_the_process() -> bytes:
    return subprocess.run(["printenv", "AWS_SERVER_SIDE_ENCRYPTION"], capture_output=True, check=True).stdout
