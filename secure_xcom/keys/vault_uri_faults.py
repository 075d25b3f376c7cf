"""The error about a Vault key URI that cannot be used. Only a fault loads this module."""

from __future__ import annotations

from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.suggest import closest
from secure_xcom.core.uri_faults import FORMS


def not_vault(uri: str) -> UriInvalid:
    """Return the error about the ``vault://`` URI of a key, naming its wrong part."""
    rest, question, query = uri.removeprefix("vault://").partition("?")
    parts = rest.split("/")
    what = "not a Vault key URI"
    if question and query not in ("grant=scoped", "grant=whole"):
        option, _, value = query.partition("=")
        like = closest(value, ("scoped", "whole")) if option == "grant" else closest(option, ("grant", "wrap"))
        meant = f": did you mean {'grant=' * (option == 'grant')}{like}?" if like else ""
        what = f"unknown option {query!r:.60}{meant}"
    elif not parts[0]:
        what = "the URI has no connection id"
    elif "keys" not in parts[2:]:
        what = "the URI has no /keys/ between a mount and a key's name"
    elif not parts[-1] or parts[-2] != "keys":
        what = "the URI has no key's name after /keys/, or something else after it"
    return UriInvalid(
        what,
        where=f"key URI {uri!r:.200}",
        remedy=f"write {FORMS['key service']['vault']}; CONN_ID is a connection, or default for VAULT_ADDR",
    )
