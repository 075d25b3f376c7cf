"""Pushes whose row Airflow's API server does not take, and imports in any order."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.airflow.refused_push import check_key
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import CoordinateInvalid
from tests.unit.airflow.test_lazy_sequence import run, set_up

# `secure-xcom init` compares the clock with the time of a file that it writes.
pytestmark = pytest.mark.file_times
CLIENT = httpx.Client(base_url="http://airflow.invalid/execution/")


def reaches_its_row(key: str) -> bool:
    """Say whether the SDK's request (XComOperations.set) names something below the task, by httpx itself."""
    try:
        request = CLIENT.build_request("POST", f"xcoms/d/r/t/{key}", json="reference")
    except (httpx.InvalidURL, UnicodeError):
        return False
    path = unquote(request.url.raw_path.decode().partition("?")[0])
    return path.startswith("/execution/xcoms/d/r/t/") and bool(path[23:].strip("/"))


def is_accepted(key: str) -> bool:
    """Say whether the backend takes a key."""
    try:
        check_key(Coordinate("d", "r", "t", -1, key))
    except CoordinateInvalid:
        return False
    return True


@given(
    st.text(st.sampled_from("./a?#%\n\t\x7f é2e"), min_size=1, max_size=8)
    | st.lists(st.sampled_from((".", "..", "a", "")), min_size=1, max_size=6).map("/".join).filter(bool)
)
def test_a_key_is_refused_exactly_where_its_request_goes_astray(key: str) -> None:
    """What httpx does not send, or sends to no key or to another task's row, is refused before the put."""
    assert is_accepted(key) == reaches_its_row(key)


@pytest.mark.parametrize("key", [".", "..", "a\nb", "a\rb", "\x7f", "../other/k", "a/..", "?", "#x", "/"])
def test_keys_that_never_become_a_row(key: str) -> None:
    """Each is refused in words that say which key to use."""
    with pytest.raises(CoordinateInvalid, match="use a key of letters, digits"):
        check_key(Coordinate("d", "r", "t", -1, key))


def test_a_refused_row_leaves_no_payload(tmp_path: Path) -> None:
    """After 404 and 422 the payload is deleted; after 500 the row may be there, so it stays until gc."""
    command = [sys.executable, "-m", "tests.support.refused_process", str(tmp_path)]
    said = [line for line in run(command, set_up(tmp_path)).splitlines() if "sync" in line]
    assert said == [
        "sync 201 1",
        "async 201 1",
        "sync 404 0",
        "async 404 0",
        "sync 422 0",
        "async 422 0",
        "sync 500 1",
        "async 500 1",
    ]


def test_the_package_is_imported_before_airflow(tmp_path: Path) -> None:
    """Airflow then finds the backend, and logs no circular import."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__XCOM_BACKEND": "secure_xcom.SecureXComBackend",
    }
    code = (
        "import sys; sys.stderr = sys.stdout\n"
        "from secure_xcom import SecureXComBackend\n"
        "from airflow.sdk.execution_time.xcom import XCom\n"
        "print(XCom is SecureXComBackend)\n"
    )
    assert run([sys.executable, "-c", code], environment) == "True\n"
