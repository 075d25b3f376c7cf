"""Find rights at Vault and at buckets that the role of this process's identity does not need, for ``doctor``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import path_segment
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.findings import Finding
from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.keys import KeyUri, key_service
from secure_xcom.stores import store

Role = Literal["worker", "maintenance"]

# Ends of transit paths that no role needs (docs/reference/vault.md).
_BEYOND_ANY = ("rotate", "config", "trim")
_HARMLESS = {"deny", "list", "read"}


def _remedy(role: Role, login: Role | None) -> str:
    """Return what to do about rights that the role does not need.

    :param login: whose login it is, by what it may do at Vault; None if Vault was not asked or does not say.
    """
    compare = (
        "compare its policy with the one that `secure-xcom policy compile` or "
        "`secure-xcom init --vault --dry-run` writes"
    )
    whose = "maintenance" if login == "maintenance" else "a worker"
    if login == role:
        return f"this is the login of {whose}: {compare}"
    if login is not None:
        return f"this is the login of {whose}: run doctor with --role {login}"
    other = "worker" if role == "maintenance" else "maintenance"
    return f"run doctor with --role {other} if this is the login of that role; otherwise {compare}"


def examine_rights(policy: AccessPolicy, role: Role) -> Iterator[Finding]:
    """Find rights of this process's identity that its role does not need. Nothing is wrapped, opened or written.

    :param role: ``worker`` pushes and pulls; ``maintenance`` rewraps, lists and deletes, and opens nothing.
    """
    reports = _keys_of_reports(policy)
    uris = (uri for compartment in policy.compartments for uri in compartment.all_key_uris)
    services = dict.fromkeys(KeyUri.parse(uri).service for uri in uris)
    logins: set[Role | None] = set()
    for uri in filter(lambda service: service.startswith("vault://"), services):
        try:
            key: Any = key_service(uri)
            needed = _needed(key, role, reports=uri in reports)
            held = key.client.capabilities([*needed, key.path("rewrap"), key.path("decrypt")])
        except SecureXComError as error:
            yield _unknown(uri, error)
            continue
        login = _login(key, held)
        logins.add(login)
        yield from _beyond(uri, role, login, needed, held)
    # Maintenance may write reports in one compartment, so one key that it may rewrap says more than the others.
    known: tuple[Role, ...] = ("maintenance", "worker")
    login = next((each for each in known if each in logins), None)
    examined: set[str] = set()
    for compartment in policy.compartments:
        for uri in compartment.written_store_uris:
            if uri not in examined and not uri.startswith(("file://", "memory://")):
                examined.add(uri)
                yield from _bucket(uri, compartment, role, login)


def _keys_of_reports(policy: AccessPolicy) -> set[str]:
    """Return the keys that the policy lets an identity of maintenance wrap with, for the reports of its DAG."""
    writable = {
        grant.compartment
        for identity in policy.identities
        if any(grant.role == "maintenance" for grant in identity.grants)
        for grant in identity.grants
        if grant.role == "writer"
    }
    return {
        KeyUri.parse(uri).service
        for compartment in policy.compartments
        if compartment.name in writable
        for uri in compartment.all_key_uris
    }


def _needed(key: Any, role: Role, *, reports: bool) -> dict[str, set[str]]:
    """Return the paths to look at, each with the capabilities that the role needs or that do no harm.

    :param key: a transit key; :param reports: maintenance may wrap with it.
    """
    key_path = key.path("keys")
    mount = key_path.removesuffix(f"/keys/{key.name}")
    needed = {
        **{f"{key_path}/{end}": _HARMLESS for end in _BEYOND_ANY},
        key_path: _HARMLESS,
        f"{mount}/export/encryption-key/{key.name}": {"deny"},
        key.path("encrypt"): {"deny", "update"} if role == "worker" or reports else {"deny"},
        "sys/policies/acl/secure-xcom": {"deny"},
    }
    if role == "maintenance":
        needed[key.path("decrypt")] = {"deny"}
    return needed


def _login(key: Any, held: dict[str, Any]) -> Role | None:
    """Return whose login this is, by what it may do with the key; None if it may do nothing."""
    may = {verb for verb in ("rewrap", "encrypt", "decrypt") if "update" in (held.get(key.path(verb)) or ())}
    if not may:
        return None
    return "maintenance" if "rewrap" in may else "worker"


def _beyond(
    uri: str, role: Role, login: Role | None, needed: dict[str, set[str]], held: dict[str, Any]
) -> Iterator[Finding]:
    for path, harmless in needed.items():
        excess = sorted(set(held.get(path) or ()) - harmless)
        if excess:
            text = f"this identity has {', '.join(excess)} on {path}, which the role {role} does not need"
            yield Finding(uri, "error", text, _remedy(role, login), "vault-rights")


def _bucket(uri: str, compartment: Compartment, role: Role, login: Role | None) -> Iterator[Finding]:
    folder = path_segment(compartment.name)
    try:
        target = store(uri)
        first = next(islice(target.list(folder), 1), None)
    except StoreDenied:
        return
    except SecureXComError as error:
        yield _unknown(uri, error)
        return
    if role == "worker":
        text = f"this identity can list {uri}/{folder}, which the role worker does not need"
        yield Finding(uri, "warning", text, _remedy(role, login), "store-rights")
        return
    if first is None:
        return
    try:
        # Reads one chunk of ciphertext and discards it.
        next(target.get(first.path), None)
    except SecureXComError:
        return
    text = f"this identity can read payloads of {uri}, which the role maintenance does not need"
    yield Finding(uri, "warning", text, _remedy(role, login), "store-rights")


def _unknown(uri: str, error: SecureXComError) -> Finding:
    return Finding(uri, "warning", f"{uri}: {error.what}", error.remedy, "rights-not-known")
