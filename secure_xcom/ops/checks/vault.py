"""Check a transit key, its Vault and this identity there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.findings import Finding
from secure_xcom.core.setup_commands import vault_preview, vault_setup
from secure_xcom.core.suggest import did_you_mean
from secure_xcom.core.vault_errors import VaultDenied, VaultTrouble
from secure_xcom.keys import DataKey
from secure_xcom.keys.vault import VaultTransit
from secure_xcom.ops.error_findings import as_finding

SKEW_SECONDS = 60
"""Vault's JWT method allows 60 seconds of clock skew by default (clock_skew_leeway)."""

_USABLE_SHOWN = 10
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPERATIONS = {"encrypt": "wrap", "decrypt": "unwrap", "rewrap": "rewrap"}
_ROOT = "vault-root-token"
_HEALTH = (200, 429, 472, 473, 501, 503)


def findings(key: VaultTransit) -> list[Finding]:
    """Return all findings, the connection to Vault first. Nothing follows an error that prevents the rest."""
    reported: list[Finding] = []
    try:
        for finding in _all(key):
            reported.append(finding)
    except SecureXComError as error:
        reported.append(as_finding(f"vault {key.conn_id}", error))
    return reported


def _all(key: VaultTransit) -> Iterator[Finding]:
    yield from _transport(key)
    for finding in _health(key):
        yield finding
        if finding.status == "error":
            return
    is_root = False
    for finding in _identity(key):
        is_root = is_root or finding.rule == _ROOT
        yield finding
    if not is_root:
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
            f"{server.address} does not use TLS: data keys and tokens are sent in plaintext",
            "give Vault's listener a certificate and use https",
        )
    if server.verify is False:
        yield Finding(
            subject,
            "error",
            "Vault's certificate is not verified, so anyone on the network path can read data keys",
            "name the CA instead: VAULT_CACERT, or `verify` in the client_kwargs",
        )


def _health(key: VaultTransit) -> Iterator[Finding]:
    subject = f"vault {key.conn_id}"
    # The health endpoint is outside of namespaces and needs no token.
    answer = key.client.wire.send("GET", "sys/health", accept=_HEALTH, namespaced=False)
    version = str(answer.data.get("version", "unknown"))
    if answer.data.get("initialized") is False:
        yield Finding(subject, "error", "Vault is not initialized", "run `vault operator init`")
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
            "synchronize them (NTP): JWT logins and the times in access logs depend on them",
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
            f"the {method} login works, but its token may not look itself up, so it cannot be renewed in time",
            "give the role the policy `default`",
        )
        return
    policies = [*answer.data.get("policies", ()), *(answer.data.get("identity_policies") or ())]
    if "root" in policies:
        # One warning for the login, rather than one for each right on each key.
        yield Finding(
            subject,
            "warning",
            "this is a root token, which may do everything, so rights are not checked: whoever steals it from a "
            "worker controls Vault",
            f"give workers a role with the least rights ({vault_setup()} makes one)",
            _ROOT,
        )
        return
    ttl = answer.data.get("ttl") if answer.data.get("expire_time") else None
    lasting = f"the token expires in {ttl} seconds" if ttl is not None else "the token never expires"
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
            "this identity may not ask for its capabilities, so excessive rights cannot be found here",
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
                f"this identity has {', '.join(too_much)} on {path}"
                + ("; with `create`, a typo in a key URI creates a new key" if "create" in too_much else ""),
                'give it capabilities = ["update"] there',
            )
    for path, words in forbidden.items():
        too_much = sorted({*words, "sudo", "root"}.intersection(held[path]))
        if too_much:
            yield Finding(
                subject,
                "error",
                f"this identity has {', '.join(too_much)} on {path}",
                "remove it: no worker creates, changes, exports or backs up keys",
            )
    if may:
        roles = "; a worker that pushes and pulls needs wrap and unwrap" if len(may) == 1 else ""
        yield Finding(subject, "ok", f"this identity may {', '.join(may)}{roles}")
    else:
        yield Finding(
            subject,
            "error",
            "this identity may neither wrap nor unwrap nor rewrap with this key: the mount or the name may "
            "have a typo, for which Vault gives the same answer",
            _remedy_without_rights(key),
        )


def _remedy_without_rights(key: VaultTransit) -> str:
    """Return what to do, with the keys that the token may use, as Vault's own UI asks for them."""
    write = f"write the role's policy: {vault_preview()} shows it"
    try:
        answer = key.client.call("GET", "sys/internal/ui/resultant-acl")
    except VaultTrouble:
        return write
    paths = [*(answer.data.get("exact_paths") or ()), *(answer.data.get("glob_paths") or ())]
    usable = {
        f"{path[: -len(operation) - len(name) - 2]}/keys/{name}"
        for path in map(str, paths)
        for operation in _OPERATIONS
        if path.endswith(f"/{operation}/{(name := path.rpartition('/')[2])}")
    }
    if not usable:
        return write
    listed = ", ".join(sorted(usable)[:_USABLE_SHOWN])
    return did_you_mean(f"{key.mount}/keys/{key.name}", usable, f"{write}; this identity may use {listed:.400}")


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
            "Vault has no key of this name, or no transit engine at this mount",
            f"create it: {vault_setup()}",
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
        yield Finding(subject, "ok", f"Vault rotates it every {int(period) // 3600} hours")
    else:
        yield Finding(
            subject,
            "warning",
            "Vault does not rotate the key",
            f"run `vault write {key.path('keys')}/config auto_rotate_period=2160h`, or rotate it on a schedule",
        )


def _wrong_with(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    anew = f"create another key ({vault_setup()}) and list it first in the key URIs of the compartment"
    if data.get("derived") is not True:
        yield "the key is not derived: a wrap opens in any encryption context", anew
    if data.get("convergent_encryption") is True:
        yield "the key uses convergent encryption: equal data keys give equal wraps", anew
    if not str(data.get("type", "")).startswith(("aes", "chacha20")):
        yield f"the key is of type {str(data.get('type'))!r:.40}", anew
    if data.get("exportable") is True:
        yield "the key is exportable, and that cannot be undone", anew
    if data.get("allow_plaintext_backup") is True:
        yield "the key allows plaintext backups, and that cannot be undone", anew
    if data.get("deletion_allowed") is True:
        yield (
            "the key can be deleted, and every value with it",
            f"run `vault write .../keys/{data.get('name')}/config deletion_allowed=false`",
        )
    if data.get("soft_deleted") is True:
        yield (
            "the key is soft-deleted",
            f"restore it: `bao write -f .../keys/{data.get('name')}/soft-delete-restore`",
        )


def _key_by_wrap(key: VaultTransit) -> Iterator[Finding]:
    """Check the key of an identity that may not read it, as workers should not: by a wrap."""
    subject = f"key {key.uri}"
    try:
        writes = "update" in key.client.capabilities([key.path("encrypt")])[key.path("encrypt")]
    except VaultDenied:
        writes = False
    if not writes:
        yield Finding(
            subject,
            "ok",
            "the key's settings are hidden from this identity, as they should be; check as maintenance",
        )
        return
    hidden = "its other properties are hidden from this identity, as they should be"
    if key.scoped:
        # Its policy may allow only the contexts of one compartment or DAG, which only its probe knows.
        yield Finding(subject, "ok", f"this identity may wrap in its own scope; {hidden}")
        return
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
        # Denied, or within a namespace, where Vault shows no audit devices.
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
            "Vault has no audit device: unwraps are not logged",
            "run `vault audit enable file file_path=/var/log/vault_audit.log`; OpenBao's API refuses it: add the "
            "stanza `audit` of docs/reference/vault.md to its configuration and restart it",
        )
