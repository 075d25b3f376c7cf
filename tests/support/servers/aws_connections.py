"""Airflow's AWS connections for tests, in the environment, and an environment without the caller's own AWS."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.connections.aws.identity import forget_identities

REGION = "eu-west-1"
ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key"


def clean_environment(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Leave nothing of the caller's AWS settings, and no login of another test."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    # The address of a cloud's metadata service answers slowly where there is no cloud.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_identities()


def connect(
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str,
    *,
    login: str | None = ACCESS_KEY,
    password: str | None = SECRET_KEY,
    config: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    **extra: Any,
) -> str:
    """Add a connection as Airflow's users write it, and return its id. An option that is None is left out."""
    conn_id = f"aws_{uuid.uuid4().hex[:8]}"
    given = {"endpoint_url": endpoint, "region_name": REGION, "config_kwargs": config, **(options or {}), **extra}
    connection = {
        "conn_type": "aws",
        "login": login,
        "password": password,
        "extra": {name: value for name, value in given.items() if value is not None},
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    return conn_id
