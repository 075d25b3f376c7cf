"""Where the API server may read who had an XCom, without a right that it does not have anyway.

That is what ``[secure_xcom] ui_audit_url`` names; without it, the default file of the access log on this machine.
``audit_sinks`` is not read here: it may hold the password of a user who writes events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from secure_xcom.airflow.plugin.ui.chosen_settings import chosen
from secure_xcom.core.errors import SecureXComError
from secure_xcom.deployment import airflow_config
from secure_xcom.deployment.deployment import default_sink
from secure_xcom.sinks.sink_uri import SinkUri

_FILE = "the access log on the API server's machine"
_DATABASE = "the access log in its database"
_UNKNOWN = (
    "The API server does not read the access log. A person with the rights to it can search it with "
    "the command below."
)
_HASHED = (
    "The ids in the access log are hashed, and the API server has no key. A person who has the key can search "
    "it with the command below."
)


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A place of the access log.

    :ivar uri: of the sink; it may hold a password.
    """

    state: Literal["file", "database", "unknown"]
    text: str
    uri: str = field(default="", repr=False)


def log_place() -> LogPlace:
    """Return where the access log is read; of state ``unknown`` where it is not."""
    try:
        settings = chosen("ui_audit_url", "audit_hash_key")
        if settings.audit_hash_key:
            return LogPlace("unknown", _HASHED)
        if settings.ui_audit_url:
            return _named(settings.ui_audit_url)
        default = default_sink(airflow_config.log_folder())
        written = airflow_config.is_written("audit_sinks")
        path = Path(unquote(urlsplit(default).path))
        if not written and path.is_file():
            return LogPlace("file", _FILE, default)
    except SecureXComError as error:
        return LogPlace("unknown", f"The access log cannot be read here: {error.what}.")
    return LogPlace("unknown", _UNKNOWN)


def _named(uri: str) -> LogPlace:
    scheme = SinkUri.parse(uri).scheme
    if scheme == "file":
        return LogPlace("file", _FILE, uri)
    if scheme == "db" or scheme.startswith("db+"):
        return LogPlace("database", _DATABASE, uri)
    return LogPlace("unknown", "[secure_xcom] ui_audit_url names neither a file nor a database.")
