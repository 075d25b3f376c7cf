"""The middleware that refuses REST writes of XComs: what they write lies in Airflow's database as plaintext.

Airflow's own XCom tab has a pencil for it, and any client may send the same. Root middlewares are Airflow's own
way for plugins to look at requests (``fastapi_root_middlewares``); docs/adr/0070 says why this one is built.
"""

from __future__ import annotations

import json
import re
from typing import Any

from secure_xcom.airflow.plugin.ui.chosen_settings import chosen
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import SecureXComError
from secure_xcom.deployment import airflow_config

# POST and PATCH of airflow/api_fastapi/core_api/routes/public/xcom.py. Every other method of the route reads or
# deletes. A base path may stand before it, and a key with slashes behind it.
_WRITES = frozenset({"POST", "PATCH", "PUT"})
_ENTRIES = re.compile(r"/dags/[^/]+/dagRuns/[^/]+/taskInstances/[^/]+/xcomEntries(?:/|\Z)", re.DOTALL)
_DETAIL = (
    "secure_xcom: an XCom that is written through REST is stored in Airflow's database in plaintext, and no "
    "task could pull it. Clear the task so that it pushes again. ([secure_xcom] refuse_rest_writes)"
)


def refuses(settings: Settings) -> bool:
    """Return whether REST writes are refused: unless a pull gives plaintext, or a setting lets them pass."""
    return settings.refuse_rest_writes and settings.on_plaintext == "refuse" and airflow_config.backend_is_ours()


class RefuseXComWrites:
    """An ASGI middleware."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._on = _is_on()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or answer 403."""
        if (
            self._on
            and scope["type"] == "http"
            and scope["method"].upper() in _WRITES
            and _is_entries(scope["path"])
        ):
            await _refuse(send)
            return
        await self._app(scope, receive, send)


def _is_on() -> bool:
    try:
        return refuses(chosen("refuse_rest_writes", "on_plaintext"))
    except SecureXComError:
        # On is the safe side; pushing and pulling say what is wrong with the settings.
        return airflow_config.backend_is_ours()


def _is_entries(path: str) -> bool:
    return _ENTRIES.search(path) is not None


async def _refuse(send: Any) -> None:
    body = json.dumps({"detail": _DETAIL}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
