"""Translate errors of Vault and refusals of transit into errors of key services.

Each error names the key URI, and so the connection and the key.
"""

from __future__ import annotations

from collections.abc import Sequence

from secure_xcom.connections.vault.http import Answer
from secure_xcom.core.errors import KeyServiceError, KeyServiceUnavailable, KeyVersionUnknown, UnwrapRefused
from secure_xcom.core.service_errors import (
    KeyNotFound,
    KeyServiceDenied,
    KeyServiceLoginRefused,
    KeyServiceSealed,
    KeyServiceThrottled,
    KeyServiceTimeout,
    KeyServiceUntrusted,
    KeyUnbound,
)
from secure_xcom.core.setup_commands import vault_setup
from secure_xcom.core.vault_errors import (
    VaultDenied,
    VaultLoginRefused,
    VaultSealed,
    VaultThrottled,
    VaultTimeout,
    VaultTrouble,
    VaultUnreachable,
    VaultUntrusted,
)

# Subclasses before their base class, because isinstance tells them apart.
_FAMILY: dict[type[VaultTrouble], type[KeyServiceError]] = {
    VaultTimeout: KeyServiceTimeout,
    VaultSealed: KeyServiceSealed,
    VaultThrottled: KeyServiceThrottled,
    VaultUnreachable: KeyServiceUnavailable,
    VaultUntrusted: KeyServiceUntrusted,
    VaultLoginRefused: KeyServiceLoginRefused,
    VaultDenied: KeyServiceDenied,
}


def of_trouble(trouble: VaultTrouble, uri: str) -> KeyServiceError:
    """Return the error for a request that failed as a whole."""
    family = next((ours for theirs, ours in _FAMILY.items() if isinstance(trouble, theirs)), KeyServiceError)
    where = f"{uri} at {trouble.where}" if trouble.where else uri
    return family(trouble.what, where=where, remedy=trouble.remedy)


def of_answer(answer: Answer, uri: str, mount: str, namespace: str) -> KeyServiceError:
    """Return the error for a 400, 404 or 405 response to the whole request."""
    words = " ".join(answer.errors).lower()
    if "key not found" in words:
        return no_key(uri)
    if answer.status == 404:
        return KeyNotFound(
            f"Vault has nothing at the mount {mount!r:.80}{_inside(namespace)}",
            where=uri,
            remedy=f"enable transit there ({vault_setup()}), or correct the mount in the key URI or the "
            "namespace of the connection",
        )
    return of_entry(words, uri)


def of_entry(words: str, uri: str) -> KeyServiceError:
    """Return the error for transit's message about one wrap (Vault, sdk/helper/keysutil/policy.go)."""
    words = words.lower()
    if "too old" in words:
        return KeyVersionUnknown(
            "the key's min_decryption_version is above the version that made this wrap",
            where=uri,
            remedy="lower min_decryption_version, run `secure-xcom rewrap`, and raise it again; or clear the "
            "producing task so that it pushes again",
        )
    if "too new" in words:
        return KeyVersionUnknown(
            "the key has no such version: it was created again, or Vault was restored from an older backup",
            where=uri,
            remedy="restore the key from a Vault backup, or clear the producing task so that it pushes again",
        )
    if any(mark in words for mark in ("authentication failed", "ciphertext", "base64")):
        return UnwrapRefused(
            "the data key does not unwrap: the wrap was edited, or belongs to another coordinate or another key",
            where=uri,
        )
    return KeyServiceError(
        "Vault refuses the request", where=uri, remedy="run `secure-xcom check`; the key may be of another type"
    )


def denied(
    uri: str, path: str, held: Sequence[str] | None, *, namespace: str, scoped: bool, makes_keys: bool
) -> KeyServiceError:
    """Return the error for a denied request, with as much detail as the identity may see.

    :param held: its capabilities on the path, or None if it may not ask for them.
    :param makes_keys: True if the operation would create a missing key, which needs `create`.
    """
    if held is None:
        return KeyServiceDenied(
            f"Vault's policy denies this request on {path}{_inside(namespace)}",
            where=uri,
            remedy=f"check {path} for a typo: Vault gives the same answer for a mount or a key that does not "
            "exist; give the role the policy `default`, so that `secure-xcom check` can report what is "
            "missing",
        )
    if "update" not in held:
        return KeyServiceDenied(
            f"Vault's policy gives this identity no `update` on {path}{_inside(namespace)}",
            where=uri,
            remedy=f"check {path} for a typo: Vault gives the same answer for a mount or a key that does not "
            "exist, and `secure-xcom check` shows the keys that this identity may use; if the names are "
            "right, write the "
            f"role's policy ({vault_setup()})",
        )
    if scoped:
        return KeyServiceDenied(
            f"Vault's policy denies this request on {path}{_inside(namespace)}",
            where=uri,
            remedy=f"check {path} for a typo, because Vault gives the same answer for a key that does not "
            "exist, and check that the DAG or task is in the scope of this identity's policy",
        )
    if makes_keys:
        return no_key(uri)
    return KeyServiceDenied(
        f"Vault's policy denies this request on {path}{_inside(namespace)}, but allows others",
        where=uri,
        remedy="if the policy is limited by parameters, append ?grant=scoped to the key URI",
    )


def no_key(uri: str) -> KeyNotFound:
    """Return the error for a missing key."""
    return KeyNotFound(
        "Vault has no key of this name",
        where=uri,
        remedy=f"create it ({vault_setup()}), or correct the name in the key URI; a deleted key "
        "can only be restored from a Vault backup",
    )


def unbound(uri: str) -> KeyUnbound:
    """Return the error for a key that accepts any context."""
    return KeyUnbound(
        "the key is not derived, so a wrap would open in any encryption context",
        where=uri,
        remedy=f"create a derived key ({vault_setup()} does), and name it in the key URI",
    )


def _inside(namespace: str) -> str:
    return f" in the namespace {namespace!r:.80}" if namespace else ""
