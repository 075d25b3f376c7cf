"""What can be wrong with a Vault, told apart once (`secure_xcom.connections.vault`).

The key service and the store say it in their own errors. No text of Vault's or hvac's is passed on: it can hold
tokens, JWT claims and parameters.
"""

from __future__ import annotations

from secure_xcom.core.errors import SecureXComError


class VaultTrouble(SecureXComError):
    """Vault did not carry out a request."""

    met_by = "an operator's command that administers Vault; a task sees it as an error of the key service or store"
    page = "docs/reference/vault.md"

    retry = False
    """Whether the same request may succeed in a moment."""

    after = 0.0
    """How long Vault asks to wait before the next request, in seconds."""

    attempts = 1
    """How often it was sent; over 1, an earlier attempt may have been carried out."""


class VaultUnreachable(VaultTrouble):
    """The connection failed, the response was cut off, or its status was 5xx."""

    retry = True
    remedy = (
        "check that Vault runs at this address and that no firewall or proxy blocks it, then run the task again"
    )


class VaultTimeout(VaultUnreachable):
    """Vault did not respond in time."""

    remedy = (
        "find out why Vault is slow, or give it more time: VAULT_CLIENT_TIMEOUT, or `timeout` in the "
        "client_kwargs of the connection"
    )


class VaultSealed(VaultUnreachable):
    """Vault is sealed."""

    remedy = "unseal it (`vault operator unseal`), or repair its auto-unseal"


class VaultThrottled(VaultUnreachable):
    """A rate limit quota of Vault is exceeded."""

    remedy = "raise the rate limit quota (`vault read sys/quotas/rate-limit/NAME`), or run fewer tasks at a time"


class VaultUntrusted(VaultTrouble):
    """The TLS handshake failed."""

    remedy = (
        "set the CA of Vault's certificate: VAULT_CACERT, or `verify` in the client_kwargs of the connection; "
        "for mutual TLS VAULT_CLIENT_CERT and VAULT_CLIENT_KEY, or `cert`"
    )


class VaultLoginRefused(VaultTrouble):
    """Vault refused the login, or the token is no longer valid."""


class VaultDenied(VaultTrouble):
    """Vault's policy refuses this identity, or Vault does not know its token: both are a 403."""

    token_unknown = False
    """Whether Vault's words are those for a token that it does not know."""


class VaultRefused(VaultTrouble):
    """Vault accepts the identity, but not the request."""

    remedy = "compare the version of Vault with docs/reference/vault.md, and run `secure-xcom check`"
