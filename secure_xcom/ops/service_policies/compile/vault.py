"""Compile for Vault (or OpenBao): each identity's policy and auth role, and each transit key's settings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from secure_xcom.core.access_policy.field_types import seconds
from secure_xcom.core.access_policy.identities import Identity, VaultAppRole, VaultJwt, VaultKubernetes
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import CLAIMS, path_segment
from secure_xcom.keys import KeyUri
from secure_xcom.keys.vault import split_uri as split_key
from secure_xcom.keys.vault_context import transit_scope
from secure_xcom.ops.service_policies.rights import Act, Right, Scope
from secure_xcom.ops.service_policies.vault_grants import KvRole, Role, kv_grant, look_grant, transit_grant
from secure_xcom.stores.vault_kv_uri import split_uri as split_kv

_ROLE: dict[Act, Role] = {"push": "writer", "pull": "reader", "rewrap": "maintenance"}


def policy_name(identity: Identity) -> str:
    """Return the name of an identity's policy in Vault."""
    return f"secure-xcom-{identity.name}"


def transit_keys(uris: Sequence[str], *, pushing: bool = False) -> dict[tuple[str, str], bool]:
    """Return mount and name of the transit keys among key URIs, and whether each grant is scoped.

    :param pushing: True to leave out keys that only open (``wrap=never``).
    """
    keys: dict[tuple[str, str], bool] = {}
    for uri in map(KeyUri.parse, uris):
        if uri.name.startswith("vault://") and not (pushing and uri.wrap == "never"):
            _, mount, name, scoped = split_key(uri.service)
            keys[mount, name] = keys.get((mount, name), True) and scoped
    return keys


def policy_hcl(policy: AccessPolicy, identity: Identity, rights: Sequence[Right], notes: list[str]) -> str | None:
    """Return an identity's policy, or None if it has no rights in Vault."""
    # One block for each path: how Vault merges two blocks of a path depends on their order.
    transit: dict[tuple[Act, str, str], tuple[list[str], set[str]]] = {}
    kv: dict[tuple[str, str, str], list[KvRole]] = {}
    for right in rights:
        compartment = right.compartment
        keys = transit_keys(compartment.all_key_uris, pushing=right.act == "push") if right.keys else {}
        for (mount, name), single in keys.items():
            scopes, names = transit.setdefault((right.act, mount, name), ([], set()))
            names.add(compartment.name)
            if right.act != "look" and limited_by_context(policy, right, (mount, name), single=single):
                scopes += _scopes(compartment.name, right.scope)
                if not single:
                    notes.append(
                        f"{identity.name}: {right.act} in {compartment.name} is limited by context, so its key "
                        f"URI for {name} needs ?grant=scoped: Vault refuses batches there"
                    )
        uris = compartment.written_store_uris if right.act == "push" else compartment.all_store_uris
        for uri in uris:
            if uri.startswith("vault-kv://") and right.act != "look":
                _, mount, prefix = split_kv(uri)
                for dag in right.scope.dags:
                    below = path_segment(compartment.name) + ("" if dag is None else f"/{path_segment(dag)}")
                    roles = kv.setdefault((mount, prefix, below), [])
                    roles += [role for role in (_ROLE[right.act],) if role not in roles]
                    if compartment.exclusive and right.claims and right.act != "push":
                        role: KvRole = "claimant" if right.act == "pull" else "maintenance"
                        kv.setdefault((mount, prefix, f"{CLAIMS}/{below}"), []).append(role)
    blocks = [
        f"# In {', '.join(sorted(names))}.\n{_transit(act, mount, name, list(dict.fromkeys(scopes)))}"
        for (act, mount, name), (scopes, names) in transit.items()
    ]
    blocks += [kv_grant(roles, *place) for place, roles in kv.items()]
    if not blocks:
        return None
    head = (
        f"# secure_xcom: identity {identity.name}. Compiled from the access policy: change that, not this.\n"
        "# What is not allowed here is denied. A context is a digest of ids (docs/reference/format.md).\n"
    )
    return head + "\n" + "\n".join(dict.fromkeys(blocks))


def limited_by_context(policy: AccessPolicy, right: Right, key: tuple[str, str], *, single: bool) -> bool:
    """Check whether a right on a transit key is limited to single requests of its own contexts.

    :param single: True if the key URI has ``?grant=scoped``.
    """
    return single or not right.scope.whole or _owners(policy)[key] != {right.compartment.name}


@lru_cache(maxsize=2)
def _owners(policy: AccessPolicy) -> dict[tuple[str, str], set[str]]:
    owners: dict[tuple[str, str], set[str]] = {}
    for compartment in policy.compartments:
        for key in transit_keys(compartment.all_key_uris):
            owners.setdefault(key, set()).add(compartment.name)
    return owners


def _scopes(compartment: str, scope: Scope) -> list[str]:
    return [transit_scope(compartment, dag, task) for dag, task in scope.pairs()]


def _transit(act: Act, mount: str, name: str, scopes: Sequence[str]) -> str:
    if act == "look":
        return look_grant(mount, name)
    text = transit_grant(_ROLE[act], mount, name, scopes)
    # Maintenance also has the right to look, which is a block of its own.
    return text.split("\n# See versions")[0] if act == "rewrap" else text


def role(identity: Identity) -> tuple[str, dict[str, Any]] | None:
    """Return path and body of an identity's role at its auth method; None if it is managed elsewhere."""
    vault = identity.vault
    if not isinstance(vault, VaultAppRole | VaultKubernetes | VaultJwt):
        return None
    body: dict[str, Any] = {"token_policies": [policy_name(identity)], "token_type": "service"}
    # An hour is enough to start a task, and tokens are renewed for up to a day: a leaked token lasts no longer.
    body["token_ttl"] = seconds(vault.token_ttl) if vault.token_ttl else 3600
    body["token_max_ttl"] = seconds(vault.token_max_ttl) if vault.token_max_ttl else max(86_400, body["token_ttl"])
    if vault.bound_cidrs:
        body["token_bound_cidrs"] = list(vault.bound_cidrs)
    if isinstance(vault, VaultAppRole):
        body["bind_secret_id"] = True
        body["secret_id_ttl"] = seconds(vault.secret_id_ttl) if vault.secret_id_ttl else 7_776_000
        body["secret_id_num_uses"] = vault.secret_id_num_uses
    elif isinstance(vault, VaultKubernetes):
        body["bound_service_account_names"] = list(vault.service_accounts)
        body["bound_service_account_namespaces"] = list(vault.namespaces)
        if vault.audience:
            body["audience"] = vault.audience
    else:
        body["role_type"] = "jwt"
        body["user_claim"] = vault.user_claim
        body["bound_audiences"] = list(vault.bound_audiences)
        if vault.bound_subject:
            body["bound_subject"] = vault.bound_subject
        if vault.bound_claims:
            body["bound_claims"] = dict(sorted(vault.bound_claims.items()))
    return f"auth/{vault.mount or vault.auth}/role/{vault.role or identity.name}", body


def transit_settings(policy: AccessPolicy) -> dict[tuple[str, str], dict[str, Any]]:
    """Return mount and name of each transit key -> the settings that it is created and configured with."""
    return {
        key: {
            "path": f"{key[0]}/keys/{key[1]}",
            "compartments": sorted(names),
            # Derived, so that a wrap opens only with its own context. The other settings cannot be undone.
            "create": {
                "type": "aes256-gcm96",
                "derived": True,
                "exportable": False,
                "allow_plaintext_backup": False,
            },
            "config": {"auto_rotate_period": "2160h", "deletion_allowed": False},
        }
        for key, names in sorted(_owners(policy).items())
    }
