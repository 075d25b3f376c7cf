"""The folder of a bucket or of a KV engine that a URI names. A deployment on files does not load this."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from secure_xcom.core.access_policy.folders import Folder

_LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|::1")
_PORTS = {"http": 80, "https": 443}


def bucket_folder(scheme: str, place: str, query: str, below: tuple[str, ...]) -> tuple[str, Folder]:
    """Return a folder below a store or a sink, and the text that shows it.

    :param place: the URI's text between the scheme and the options; :param query: its options.
    :param below: the folder's path below the URI's own.
    """
    authority, _, path = place.partition("/")
    # A proxy may decode a path once more than we do, so two spellings of one path count as the same path.
    parts = [unquote(part) for part in path.split("/") if part]
    if scheme == "vault-kv":
        # MOUNT/PREFIX, or MOUNT/WITH/SLASHES/data/PREFIX: `secure_xcom.stores.vault_kv_uri`.
        position = parts.index("data", 1) if "data" in parts[1:] else 0
        name, parts = "/".join(parts[: position or 1]), parts[position + 1 :]
    else:
        name = authority.rpartition("@")[2].lower()
    inside = tuple("/".join([*parts, *below]).split("/"))
    shown = f"{scheme}://{'/'.join([name, *inside])}"
    return shown, Folder((scheme, name), inside, _server(scheme, query))


def _server(scheme: str, query: str) -> str:
    options = dict(parse_qsl(query))
    if endpoint := options.get("endpoint"):
        try:
            parts = urlsplit(endpoint)
            host, port = (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            # Whoever uses the URI reports what is wrong with it.
            return ""
        return f"{'localhost' if _LOOPBACK.fullmatch(host) else host}:{port}"
    return options.get("account", "").lower() if scheme == "abfs" else ""
