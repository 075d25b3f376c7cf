"""What ``secure-xcom check`` says of a Vault, a transit key and the identity that is used there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from secure_xcom.core.errors import SecureXComError, VaultDenied, VaultTrouble
from secure_xcom.core.findings import Finding

if TYPE_CHECKING:
    from secure_xcom.keys.vault import VaultTransit

SKEW_SECONDS = 60
"""Vault's JWT method allows 60 seconds of clock skew by default (clock_skew_leeway)."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPERATIONS = {"encrypt": "wrap", "decrypt": "unwrap", "rewrap": "rewrap"}
_HEALTH = (200, 429, 472, 473, 501, 503)


def findings(key: VaultTransit) -> list[Finding]:
    """All findings, the way to Vault first. After an error that stops the rest, nothing follows."""
    found: list[Finding] = []
    try:
        for finding in _all(key):
            found.append(finding)
    except SecureXComError as error:
        found.append(Finding(f"vault {key.conn_id}", "error", f"{error.what} [{error.where}]", error.remedy))
    return found


def _all(key: VaultTransit) -> Iterator[Finding]:
    yield from _transport(key)
    for finding in _health(key):
        yield finding
        if finding.status == "error":
            return
    yield from _identity(key)
    yield from _rights(key)
    yield from _key(key)
    yield from _audit(key)


def _transport(key: VaultTransit) -> Iterator[Finding]:
    server = key.client.server
    subject = f"vault {key.conn_id}"
    parts = urlsplit(server.address)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        yield Finding(
            subject,
            "error",
            f"{server.address} is not TLS: data keys and tokens pass in clear",
            "give Vault's listener a certificate and write https",
        )
    if server.verify is False:
        yield Finding(
            subject,
            "error",
            "Vault's certificate is not verified, so anybody on the way can read data keys",
            "name the CA instead: VAULT_CACERT, or `verify` among the client_kwargs",
        )


def _health(key: VaultTransit) -> Iterator[Finding]:
    subject = f"vault {key.conn_id}"
    # Health is asked of the server, not of a namespace, and needs no token.
    answer = key.client.wire.send("GET", "sys/health", accept=_HEALTH, namespaced=False)
    version = str(answer.data.get("version", "unknown"))
    if answer.data.get("initialized") is False:
        yield Finding(subject, "error", "Vault is not initialised", "run `vault operator init`")
        return
    if answer.data.get("sealed"):
        yield Finding(subject, "error", f"Vault {version} is sealed", "unseal it (`vault operator unseal`)")
        return
    yield Finding(subject, "ok", f"{key.client.server.address} is reachable and unsealed, version {version}")
    if answer.skew is not None and abs(answer.skew) > SKEW_SECONDS:
        yield Finding(
            subject,
            "warning",
            f"the clocks of Vault and of this machine are {abs(answer.skew):.0f} seconds apart",
            "set them right: JWT logins and the times of access logs depend on them",
        )


def _identity(key: VaultTransit) -> Iterator[Finding]:
    subject = f"vault {key.conn_id}"
    method = key.client.login.method
    try:
        answer = key.client.call("GET", "auth/token/lookup-self")
    except VaultDenied:
        yield Finding(
            subject,
            "warning",
            f"the {method} login works; its token may not look itself up, so it cannot be renewed in time",
            "give the role the policy `default`",
        )
        return
    policies = [*answer.data.get("policies", ()), *(answer.data.get("identity_policies") or ())]
    if "root" in policies:
        yield Finding(
            subject,
            "error",
            "this is a root token: whoever takes it from a worker owns Vault",
            "make a role with least rights (`secure-xcom init --vault`) and revoke this token",
        )
        return
    ttl = answer.data.get("ttl") if answer.data.get("expire_time") else None
    lasting = f"the token lasts {ttl} seconds more" if ttl is not None else "the token never ends"
    renewable = ", and can be renewed" if answer.data.get("renewable") else ""
    yield Finding(
        subject,
        "ok" if ttl is not None else "warning",
        f"logged in by {method}; {lasting}{renewable}; policies: {', '.join(policies)}",
        "" if ttl is not None else "give the token a time to live",
    )


def _rights(key: VaultTransit) -> Iterator[Finding]:
    subject = f"key {key.uri}"
    operations = [key.path(operation) for operation in _OPERATIONS]
    forbidden = {
        key.path("keys"): ("update", "delete", "create", "patch"),
        f"{key.path('keys')}/config": ("update", "create"),
        f"{key.mount}/export/encryption-key/{key.name}": ("read",),
        key.path("backup"): ("read",),
        f"{key.mount}/datakey/plaintext/{key.name}": ("update", "create"),
    }
    try:
        held = key.client.capabilities([*operations, *forbidden])
    except VaultDenied:
        yield Finding(
            subject,
            "warning",
            "this identity may not ask what it may do, so nobody can say here whether that is too much",
            "give the role the policy `default`",
        )
        return
    may = []
    for operation, word in _OPERATIONS.items():
        path = key.path(operation)
        if "update" in held[path] or "root" in held[path]:
            may.append(word)
        too_much = sorted({"create", "sudo", "root", "delete"}.intersection(held[path]))
        if too_much:
            yield Finding(
                subject,
                "error",
                f"this identity holds {', '.join(too_much)} on {path}"
                + ("; with `create` a typing error in a key URI makes a new key" if "create" in too_much else ""),
                'give it capabilities = ["update"] there',
            )
    for path, words in forbidden.items():
        too_much = sorted({*words, "sudo", "root"}.intersection(held[path]))
        if too_much:
            yield Finding(
                subject,
                "error",
                f"this identity holds {', '.join(too_much)} on {path}",
                "take it away: no worker makes, changes, exports or backs up keys",
            )
    if may:
        roles = "; whoever both pushes and pulls needs both" if len(may) == 1 else ""
        yield Finding(subject, "ok", f"this identity may {', '.join(may)}{roles}")
    else:
        yield Finding(
            subject,
            "error",
            "this identity may neither wrap nor unwrap nor rewrap with this key",
            "write the role's policy: `secure-xcom init --vault --dry-run` shows it",
        )


def _key(key: VaultTransit) -> Iterator[Finding]:
    subject = f"key {key.uri}"
    try:
        answer = key.client.call("GET", key.path("keys"))
    except VaultDenied:
        yield from _key_by_wrap(key)
        return
    if not answer.ok:
        yield Finding(
            subject,
            "error",
            "Vault has no key of this name, or no transit at this mount",
            "make it: `secure-xcom init --vault`",
        )
        return
    data = answer.data
    wrong = list(_wrong_with(data))
    for text, remedy in wrong:
        yield Finding(subject, "error", text, remedy)
    period = data.get("auto_rotate_period")
    if not wrong:
        yield Finding(
            subject,
            "ok",
            f"{data.get('type')}, derived, not exportable, no plaintext backup, deletion not allowed; newest "
            f"version {data.get('latest_version')}, oldest that unwraps {data.get('min_decryption_version')}",
        )
    if period:
        yield Finding(subject, "ok", f"rotated every {int(period) // 3600} hours by Vault itself")
    else:
        yield Finding(
            subject,
            "warning",
            "the key is not rotated by Vault itself",
            f"run `vault write {key.path('keys')}/config auto_rotate_period=2160h`, or rotate it on a schedule",
        )


def _wrong_with(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    anew = "make another key (`secure-xcom init --vault`) and name it first in the key URIs of the compartment"
    if data.get("derived") is not True:
        yield "the key is not derived: a wrap opens in any encryption context", anew
    if data.get("convergent_encryption") is True:
        yield "the key encrypts convergently: equal data keys give equal wraps", anew
    if not str(data.get("type", "")).startswith(("aes", "chacha20")):
        yield f"the key is of type {str(data.get('type'))!r:.40}", anew
    if data.get("exportable") is True:
        yield "the key is exportable, and can never be made not to be", anew
    if data.get("allow_plaintext_backup") is True:
        yield "the key allows plaintext backups, and can never be made not to", anew
    if data.get("deletion_allowed") is True:
        yield (
            "deletion of the key is allowed: with it goes every value",
            f"run `vault write .../keys/{data.get('name')}/config deletion_allowed=false`",
        )
    if data.get("soft_deleted") is True:
        yield (
            "the key is deleted for the time being",
            f"restore it: `bao write -f .../keys/{data.get('name')}/soft-delete-restore`",
        )


def _key_by_wrap(key: VaultTransit) -> Iterator[Finding]:
    """The key as a worker sees it that may not read it, which is right so: by whether it wraps."""
    subject = f"key {key.uri}"
    try:
        writes = "update" in key.client.capabilities([key.path("encrypt")])[key.path("encrypt")]
    except VaultDenied:
        writes = False
    if not writes:
        yield Finding(
            subject, "ok", "this identity may not see the key itself, as it should be; check it as maintenance"
        )
        return
    hidden = "its other properties are hidden from this identity, as they should be"
    if key.scoped:
        # Its policy may allow the contexts of one compartment or DAG alone, and only a probe of that knows them.
        yield Finding(subject, "ok", f"this identity may wrap in its own scope; {hidden}")
        return
    from secure_xcom.keys import DataKey

    names = ("compartment", "dag_id", "task_id", "run_id")
    key.wrap(DataKey.generate(), {**dict.fromkeys(names, "secure-xcom-check"), "map_index": "-1"})
    yield Finding(subject, "ok", f"the key wraps and binds wraps to their context; {hidden}")


def _audit(key: VaultTransit) -> Iterator[Finding]:
    subject = f"vault {key.conn_id}"
    try:
        answer = key.client.call("GET", "sys/audit")
    except VaultTrouble:
        answer = None
    if answer is None or not answer.ok:
        # Denied, or asked within a namespace, where Vault shows no audit devices.
        yield Finding(
            subject, "ok", "audit devices are hidden from this identity, as they should be; check as an operator"
        )
        return
    devices = answer.data
    if devices:
        yield Finding(subject, "ok", f"audit devices: {', '.join(sorted(devices))}")
    else:
        yield Finding(
            subject,
            "warning",
            "Vault has no audit device: nobody sees who unwraps",
            "run `vault audit enable file file_path=/var/log/vault_audit.log`",
        )
