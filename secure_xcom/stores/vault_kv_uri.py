"""The parts of a ``vault-kv://CONN_ID/MOUNT/PREFIX`` store URI."""

from __future__ import annotations

import re

from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.reference import URI_MAX_CHARACTERS

_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9_.~%-]*"
_URI = re.compile(rf"vault-kv://(?P<conn>[A-Za-z0-9_.-]{{1,200}})/(?P<path>{_SEGMENT}(?:/{_SEGMENT})+)")


def split_uri(uri: str) -> tuple[str, str, str]:
    """Return the connection id, the mount and the prefix of a store URI.

    :raises UriInvalid: it has another form.
    """
    form = _URI.fullmatch(uri)
    if form is not None and len(uri) <= URI_MAX_CHARACTERS:
        segments = form["path"].split("/")
        named = segments.index("data", 1) if "data" in segments[1:] else None
        mount, prefix = (segments[:named], segments[named + 1 :]) if named else (segments[:1], segments[1:])
        if prefix:
            return form["conn"], "/".join(mount), "/".join(prefix)
    raise UriInvalid(
        "not a Vault KV store URI",
        where=f"store URI {uri!r:.200}",
        remedy="write vault-kv://CONN_ID/MOUNT/PREFIX, such as vault-kv://vault_xcom/secret/xcom, or "
        "vault-kv://CONN_ID/MOUNT/WITH/SLASHES/data/PREFIX",
    )
