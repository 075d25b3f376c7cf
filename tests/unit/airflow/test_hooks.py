"""The hooks that Airflow calls: `store_value` and `load_value`, the older ones, and those of a subclass."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.bases.xcom import BaseXCom

from secure_xcom import SecureXComBackend
from tests.unit.airflow.test_lazy_sequence import run, set_up

# `secure-xcom init` compares the clock with the time of a file that it writes.
pytestmark = pytest.mark.file_times


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process got whose backend is a subclass that overrides only the older hooks."""
    return answers(tmp_path_factory.mktemp("hooks"), "Marking")


def answers(folder: Path, backend: str) -> dict[str, Any]:
    """What a process got with a backend of `tests.support.hooks_process`."""
    environment = {
        **set_up(folder),
        "AIRFLOW__CORE__XCOM_BACKEND": f"tests.support.hooks_process.{backend}",
        "AIRFLOW__SECURE_XCOM__INLINE_MAX_BYTES": "0",
    }
    return dict(
        json.loads(
            run([sys.executable, "-m", "tests.support.hooks_process", str(folder)], environment).splitlines()[-1]
        )
    )


def marked(value: object) -> dict[str, object]:
    """What the subclass makes of a value, there and back."""
    return {"pulled": {"pushed": value}}


def test_a_subclass_with_the_older_hooks_keeps_working(said: dict[str, Any]) -> None:
    """Its own hooks see every value once: one, all of a mapped task, and those of a lazy sequence."""
    assert said["one"] == marked(1)
    assert said["all"] == [marked(0), marked(1), marked(2)]
    assert said["sequence"] == [marked(0), marked(1), [marked(1), marked(2)]]


def test_a_hook_of_a_mixin_sees_the_values_of_sequences(tmp_path: Path) -> None:
    """A mixin is no subclass of the backend, and the hook that it gives is called for the configured class."""
    got = answers(tmp_path, "Inherited")
    assert got["one"] == {"Inherited": 1}
    assert got["sequence"] == [{"Inherited": 0}, [{"Inherited": 1}, {"Inherited": 2}]]


@pytest.mark.skipif(not hasattr(BaseXCom, "aset"), reason="this Airflow has no async pushes")
def test_many_async_pushes_and_a_pull_end(said: dict[str, Any]) -> None:
    """Twenty pushes and a pull at the same time end, and pass the subclass's hooks."""
    assert said["many"] == [marked(number) for number in range(20)]


@pytest.mark.skipif(not hasattr(BaseXCom, "aset"), reason="this Airflow has no async pushes")
def test_a_cancelled_push_is_whole_or_nothing(said: dict[str, Any]) -> None:
    """Whenever a push is cancelled, there is a row for each payload and a payload for each row."""
    assert said["cancelled"] > 0
    assert said["same"]


@pytest.mark.skipif(not hasattr(BaseXCom, "store_value"), reason="this Airflow has the older hooks only")
def test_airflow_takes_the_backend_for_one_that_supports_loops() -> None:
    """Airflow 3.4 refuses loops to backends that cannot tell task instances apart."""
    from airflow.sdk.bases import xcom

    assert not xcom._is_legacy_xcom_backend(SecureXComBackend)  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(BaseXCom, "store_value"), reason="this Airflow has the older hooks only")
def test_airflow_still_has_what_is_overridden() -> None:
    """What Airflow's own async pushes and reads go through is overridden: a renamed method would pass us by."""
    for name in ("_store", "_load", "_abuild_set_message", "_asend_set", "_make_set_message", "_get_xcom_db_ref"):
        assert hasattr(BaseXCom, name), name
