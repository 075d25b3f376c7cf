"""What the plugin tells Airflow of the page: the app, its two places in the UI, and the middleware."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf

PREFIX = "/secure-xcom"
NAME = "Sealed XComs"
"""Of both entries, and so of the one global that Airflow's UI looks for: two names for one bundle break when
somebody goes from one to the other (the module is evaluated once)."""

_BUNDLE = "secure_xcom.js"


def fastapi_apps() -> list[dict[str, Any]]:
    """Return the app and where it is mounted."""
    from secure_xcom.airflow.plugin.ui.app import make_app

    return [{"app": make_app(), "url_prefix": PREFIX, "name": "secure_xcom"}]


def fastapi_root_middlewares() -> list[dict[str, Any]]:
    """Return the middleware that refuses REST writes of XComs."""
    from secure_xcom.airflow.plugin.ui.refusing import RefuseXComWrites

    return [{"middleware": RefuseXComWrites, "args": [], "kwargs": {}, "name": "secure_xcom: no REST writes"}]


def react_apps() -> list[dict[str, Any]]:
    """Return the tab on task instances and the page under Browse."""
    bundle = {"name": NAME, "bundle_url": _bundle_url()}
    return [
        {**bundle, "destination": "task_instance", "url_route": "sealed-xcoms"},
        {**bundle, "destination": "nav", "category": "browse", "url_route": "sealed-xcoms-browse"},
    ]


def _bundle_url() -> str:
    """Return the module's path, with a part that changes with its content: browsers keep modules for long."""
    content = Path(__file__).with_name("static").joinpath(_BUNDLE).read_bytes()
    base = urlsplit(str(conf.get("api", "base_url", fallback="") or "")).path.rstrip("/")
    return f"{base}{PREFIX}/static/{_BUNDLE}?v={hashlib.sha256(content).hexdigest()[:16]}"
