"""What the DAGs of these tests share: canaries, and notes of what a consumer got.

The notes lie outside of what the leak hunt searches, and hold digests only.
"""

from __future__ import annotations

import json
import os
from typing import Any

from airflow.sdk import get_current_context

from tests.e2e.describe import digest, type_name
from tests.e2e.hunt import canary, number_canary

_SEED = "SECURE_XCOM_E2E_SEED"
_NOTES = "SECURE_XCOM_E2E_NOTES"


def secret(path: str) -> str:
    """The canary of a path; that it was used is noted, so that the hunt knows what to look for."""
    _note({"canary": path})
    return canary(os.environ[_SEED], path)


def spiky(path: str) -> str:
    """A canary among characters that repr, JSON, shells and URLs write differently."""
    return f"{secret(path)} \"double' \\back\\slash & é<"


def number(path: str) -> int:
    """A canary that is a number."""
    _note({"number": path})
    return number_canary(os.environ[_SEED], path)


def task_instance() -> Any:
    """The running task instance; its asynchronous pulls are not of the type that Airflow gives it."""
    return get_current_context()["ti"]


def got(name: str, value: object) -> None:
    """Note what a consumer got: its type and a digest."""
    _note({"got": name, "type": type_name(value), "digest": digest(value)})


def said(name: str, text: str) -> None:
    """Note something that is no secret."""
    _note({"said": name, "text": text})


def _note(record: dict[str, Any]) -> None:
    # One write to a file opened for appending: lines of tasks that run at the same time do not mix.
    descriptor = os.open(os.environ[_NOTES], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(record).encode() + b"\n")
    finally:
        os.close(descriptor)
