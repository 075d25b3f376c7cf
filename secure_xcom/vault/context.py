"""Former path of `secure_xcom.keys.vault_context`, kept for code that imports it."""

from secure_xcom.keys.vault_context import transit_scope

__all__ = ["transit_scope"]
