"""Apply a compiled access policy to a Vault: a plan that only reads, then steps that are done once.

A foreign object with one of our names is refused, not overwritten. Nothing is deleted but the rights of viewers
whom the policy no longer has (`secure_xcom.ops.service_policies.apply.vault_reveal`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from secure_xcom.connections.vault.client import VaultClient
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.vault_errors import VaultRefused
from secure_xcom.ops.service_policies.apply import vault_reveal, vault_setup
from secure_xcom.ops.service_policies.apply.changes import Change, state_of
from secure_xcom.ops.service_policies.apply.vault_policy import compared_policy
from secure_xcom.ops.service_policies.apply.vault_setup import Step, Wanted, read
from secure_xcom.ops.service_policies.compile.all_services import Compiled
from secure_xcom.ops.service_policies.compile.vault import policy_name, transit_settings
from secure_xcom.stores.vault_kv_uri import split_uri

_MARK = "# secure_xcom: identity "


@dataclass(frozen=True, slots=True)
class Planned:
    """A step, and its diff if the object already exists."""

    step: Step
    diff: tuple[str, ...] = ()


def plan(client: VaultClient, policy: AccessPolicy, compiled: Compiled) -> list[Planned]:
    """Return the steps, in order. Reads only, so a run after a failed one does the rest.

    :raises VaultRefused: a foreign object has one of our names; :raises VaultTrouble: Vault does not respond or
        denies this to the operator.
    """
    planned = [*_engines(client, policy), *_policies(client, policy, compiled), *_roles(client, policy, compiled)]
    # Two keys of one mount plan the mount twice, because neither has created it yet.
    return list({(entry.step.method, entry.step.path, entry.step.text): entry for entry in planned}.values())


def changes(client: VaultClient, policy: AccessPolicy, compiled: Compiled) -> list[Change]:
    """Return the same as `Change` objects, each of which does its own step.

    :raises VaultTrouble: see `plan`.
    """

    def doing(step: Step) -> Callable[[], None]:
        return lambda: vault_setup.apply(client, [step])

    engine_changes = [
        Change(planned.step.text, planned.step.state, doing(planned.step), planned.diff)
        for planned in plan(client, policy, compiled)
    ]
    return [*engine_changes, *vault_reveal.changes(client, policy, compiled)]


def _engines(client: VaultClient, policy: AccessPolicy) -> Iterator[Planned]:
    uris = (
        uri
        for compartment in policy.compartments
        for uri in compartment.all_store_uris
        if uri.startswith("vault-kv://")
    )
    stores = sorted({split_uri(uri)[1:] for uri in uris})
    for mount, key in transit_settings(policy):
        # Stores are part of a key's plan: the store of a compartment without a key in Vault is not created here.
        yield from _of_setup(client, Wanted(transit=mount, key=key))
        for store in stores:
            yield from _of_setup(client, Wanted(transit=mount, key=key, kv=store))


def _of_setup(client: VaultClient, desired: Wanted) -> Iterator[Planned]:
    for step in vault_setup.plan(client, desired):
        # Its policies are for a whole key; here each identity has its own policy.
        if not step.path.startswith("sys/policies/"):
            yield Planned(step)


def _policies(client: VaultClient, policy: AccessPolicy, compiled: Compiled) -> Iterator[Planned]:
    for identity in policy.identities:
        name = policy_name(identity)
        text = compiled.files.get(f"vault/policies/{name}.hcl")
        if text is None:
            continue
        remedy = "rename the identity, or review and delete that policy"
        compared = compared_policy(client, name, text, mark=_MARK, remedy=remedy)
        step = Step(f"policy {name}", compared.state, "PUT", compared.path, {"policy": text})
        yield Planned(step, compared.diff)


def _roles(client: VaultClient, policy: AccessPolicy, compiled: Compiled) -> Iterator[Planned]:
    methods = read(client, "sys/auth")
    for identity in policy.identities:
        file = compiled.files.get(f"vault/roles/{identity.name}.json")
        if file is None or identity.vault is None:
            continue
        role = json.loads(file)
        mount = identity.vault.mount or identity.vault.auth
        method = methods.get(f"{mount}/")
        if method is None and identity.vault.auth == "approle":
            text = f"auth method AppRole at {mount}/"
            yield Planned(Step(text, "make", "POST", f"sys/auth/{mount}", {"type": "approle"}))
        elif method is None or method.get("type") not in (identity.vault.auth, "oidc"):
            raise VaultRefused(
                f"there is no auth method {identity.vault.auth} at {mount!r}",
                where=client.server.address,
                remedy="enable and configure it, because an operator decides whom it trusts; then run this again",
            )
        current = read(client, role["path"]) if method else {}
        if current and policy_name(identity) not in (current.get("token_policies") or ()):
            raise VaultRefused(
                f"secure_xcom did not make the role {role['path']!r}",
                where=client.server.address,
                remedy="give the identity another role, or review and delete that role",
            )
        yield _role(identity.name, role, current)


def _role(name: str, role: Mapping[str, Any], current: Mapping[str, Any]) -> Planned:
    body = role["body"]
    changed = {field: value for field, value in body.items() if current.get(field) != value}
    state = state_of(current or None, same=not changed)
    lines = tuple(f"{field}: {current.get(field)!r} -> {value!r}" for field, value in changed.items())
    return Planned(Step(f"role of {name}", state, "POST", role["path"], body), lines if state == "change" else ())
