"""What Vault's troubles and transit's refusals are in the words of a key service.

Each error names the key URI, and with it the connection and the key.
"""

from __future__ import annotations

from collections.abc import Sequence

from secure_xcom.connections.vault.http import Answer
from secure_xcom.core.errors import (
    KeyNotFound,
    KeyServiceDenied,
    KeyServiceError,
    KeyServiceLoginRefused,
    KeyServiceSealed,
    KeyServiceThrottled,
    KeyServiceTimeout,
    KeyServiceUnavailable,
    KeyServiceUntrusted,
    KeyUnbound,
    KeyVersionUnknown,
    UnwrapRefused,
    VaultDenied,
    VaultLoginRefused,
    VaultSealed,
    VaultThrottled,
    VaultTimeout,
    VaultTrouble,
    VaultUnreachable,
    VaultUntrusted,
)

# Special kinds before the general one: they are told apart by isinstance.
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
    """What stopped the whole request."""
    family = next((ours for theirs, ours in _FAMILY.items() if isinstance(trouble, theirs)), KeyServiceError)
    at = f"{uri} at {trouble.where}" if trouble.where else uri
    return family(trouble.what, where=at, remedy=trouble.remedy)


def of_answer(answer: Answer, uri: str, mount: str, namespace: str) -> KeyServiceError:
    """What a 400, 404 or 405 says of the request as a whole."""
    words = " ".join(answer.errors).lower()
    if "key not found" in words:
        return no_key(uri)
    if answer.status == 404:
        return KeyNotFound(
            f"Vault has nothing at the mount {mount!r:.80}{_inside(namespace)}",
            where=uri,
            remedy="enable transit there (`secure-xcom init --vault`), or correct the mount in the key URI or the "
            "namespace of the connection",
        )
    return of_entry(words, uri)


def of_entry(words: str, uri: str) -> KeyServiceError:
    """What transit's words say of one wrap (Vault, sdk/helper/keysutil/policy.go)."""
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
            "the key has no such version: it was made anew, or Vault was restored from an older backup",
            where=uri,
            remedy="restore the key from a backup of Vault, or clear the producing task so that it pushes again",
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
    """Why Vault denies, as far as the identity may know.

    :param held: its capabilities on the path, or None where it may not ask for them.
    :param makes_keys: the operation would make the key that is not there, for which it needs `create`.
    """
    if held is None:
        return KeyServiceDenied(
            f"Vault's policy denies this request on {path}{_inside(namespace)}",
            where=uri,
            remedy="give the role the policy `default`, so that `secure-xcom check` can say what it lacks",
        )
    if "update" not in held:
        return KeyServiceDenied(
            f"Vault's policy gives this identity no `update` on {path}{_inside(namespace)}",
            where=uri,
            remedy="write the role's policy (`secure-xcom init --vault --dry-run` shows it), or correct the "
            "connection",
        )
    if scoped:
        return KeyServiceDenied(
            f"Vault's policy denies this request on {path}{_inside(namespace)}",
            where=uri,
            remedy="see that the DAG or task is in the scope of this identity's policy, and that the key exists",
        )
    if makes_keys:
        return no_key(uri)
    return KeyServiceDenied(
        f"Vault's policy denies this request on {path}{_inside(namespace)}, and takes others",
        where=uri,
        remedy="where the policy is limited by parameters, end the key URI in ?grant=scoped",
    )


def no_key(uri: str) -> KeyNotFound:
    """There is no key of this name at the mount."""
    return KeyNotFound(
        "Vault has no key of this name",
        where=uri,
        remedy="make it (`secure-xcom init --vault`), or correct the name in the key URI; a key that was deleted "
        "comes back only from a backup of Vault",
    )


def unbound(uri: str) -> KeyUnbound:
    """The key takes any context."""
    return KeyUnbound(
        "the key is not derived, so a wrap would open in any encryption context",
        where=uri,
        remedy="make a key that is derived (`secure-xcom init --vault` does), and name it in the key URI",
    )


def _inside(namespace: str) -> str:
    return f" in the namespace {namespace!r:.80}" if namespace else ""
