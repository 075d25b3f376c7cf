"""Apply what `secure-xcom reveal` needs at a Vault: how viewers log in, their policies and groups.

Here alone `policy apply` takes rights away: a group that is no viewer any more loses its identity group and its
policy. It is ours if secure_xcom made it, and if it is for this reveal service or for a key of this policy file:
other files may have viewers in the same Vault. What opens nothing stays: the role to log in with, the identity
key, the token role, and the origin in Vault's CORS settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from secure_xcom.connections.vault.client import VaultClient
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.reveal_section import RevealVault
from secure_xcom.core.vault_errors import VaultDenied, VaultRefused
from secure_xcom.ops.service_policies.apply import vault_setup
from secure_xcom.ops.service_policies.apply.changes import Change, state_of
from secure_xcom.ops.service_policies.apply.vault_policy import compared_policy
from secure_xcom.ops.service_policies.apply.vault_setup import Step, read
from secure_xcom.ops.service_policies.compile import vault_reveal
from secure_xcom.ops.service_policies.compile.all_services import Compiled
from secure_xcom.ops.service_policies.compile.vault import transit_settings
from secure_xcom.ops.service_policies.reveal_names import REVEAL_NAME, VIEWERS_PREFIX, viewer_groups, viewers_name

# Vault adds these to its list by itself (vault/cors.go of OpenBao and Vault).
_HEADERS_OF_VAULT = {
    "Content-Type", "X-Requested-With", "X-Vault-AWS-IAM-Server-ID", "X-Vault-MFA", "Authorization",
    "X-Vault-No-Request-Forwarding", "X-Vault-Wrap-Format", "X-Vault-Wrap-TTL", "X-Vault-Policy-Override",
    "X-Vault-Token",
}  # fmt: skip


def changes(client: VaultClient, policy: AccessPolicy, compiled: Compiled) -> Iterator[Change]:
    """Yield the steps, in order. Planning reads only.

    :raises VaultRefused: there is no OIDC method, or a foreign object has one of our names.
    :raises VaultTrouble: Vault does not respond or denies this to the operator.
    """
    reveal = policy.reveal
    groups = viewer_groups(policy) if reveal is not None and reveal.vault is not None else ()
    # What is taken away comes first: nobody keeps a right because a later step fails.
    yield from _withdrawals(client, policy, {viewers_name(group) for group in groups})
    if reveal is None or reveal.vault is None:
        return
    accessor = _accessor(client, reveal.vault)
    for entry in vault_reveal.objects(policy):
        if entry.path == "sys/config/cors":
            yield _cors(client, reveal.vault, reveal.origin, entry.body)
        else:
            body = _with_accessor(entry.body, accessor)
            current = read(client, entry.path)
            changed = {field: value for field, value in body.items() if not _same(current.get(field), value)}
            state = state_of(current or None, same=not changed)
            diff = tuple(f"{field}: {current.get(field)!r} -> {value!r}" for field, value in changed.items())
            yield _change(client, entry.about, state, ("POST", entry.path, body), diff)
    for group in groups:
        yield _policy(client, group, compiled.files[f"vault/policies/{viewers_name(group)}.hcl"])
        yield _group(client, group, reveal.origin, accessor)


def _accessor(client: VaultClient, vault: RevealVault) -> str:
    method = read(client, "sys/auth").get(f"{vault.mount}/")
    if method is None or method.get("type") not in ("oidc", "jwt"):
        raise VaultRefused(
            f"there is no auth method oidc at {vault.mount!r}",
            where=client.server.address,
            remedy="enable it, set its provider and client (docs/how-to/let-people-see-values.md), because "
            "an operator decides whom Vault trusts; then run this again",
        )
    return str(method["accessor"])


def _with_accessor(body: Mapping[str, Any], accessor: str) -> dict[str, Any]:
    return {
        field: value.replace(vault_reveal.ACCESSOR, accessor) if isinstance(value, str) else value
        for field, value in body.items()
    }


def _same(current: object, desired: object) -> bool:
    # Vault gives back null for an empty list.
    return current == desired or (not current and not desired)


def _change(
    client: VaultClient, text: str, state: Any, request: tuple[str, str, Mapping[str, Any]], diff: tuple[str, ...]
) -> Change:
    method, path, body = request
    step = Step(text, "make", method, path, body)
    return Change(text, state, lambda: vault_setup.apply(client, [step]), diff if state == "change" else ())


def _policy(client: VaultClient, group: str, text: str) -> Change:
    name = viewers_name(group)
    compared = compared_policy(client, name, text, mark=vault_reveal.MARK, remedy="review and delete that policy")
    request = ("PUT", compared.path, {"policy": text})
    return _change(client, f"policy {name}", compared.state, request, compared.diff)


def _group(client: VaultClient, group: str, origin: str, accessor: str) -> Change:
    """Return the change that makes an identity group and its alias, which is the provider's group."""
    name = viewers_name(group)
    path = f"identity/group/name/{name}"
    body = vault_reveal.group_body(group, origin)
    current = read(client, path)
    if current and not _ours(current):
        raise VaultRefused(
            f"secure_xcom did not make the identity group {name!r}",
            where=client.server.address,
            remedy="review and delete that group",
        )
    alias = current.get("alias") or {}
    linked = alias.get("name") == group and alias.get("mount_accessor") == accessor
    same = linked and all(_same(current.get(field), value) for field, value in body.items())

    def do() -> None:
        # The alias needs the id that Vault gives to the group, and an alias of another mount stands in its way.
        steps = [Step(f"group {name}", "make", "POST", path, body)]
        if alias.get("id") and not linked:
            steps.append(Step(f"old alias of {name}", "make", "DELETE", f"identity/group-alias/id/{alias['id']}"))
        vault_setup.apply(client, steps)
        if not linked:
            whole = {"name": group, "mount_accessor": accessor, "canonical_id": read(client, path).get("id")}
            vault_setup.apply(client, [Step(f"alias of {name}", "make", "POST", "identity/group-alias", whole)])

    return Change(f"group {name} of the provider's group {group}", state_of(current or None, same=same), do)


def _cors(client: VaultClient, vault: RevealVault, origin: str, body: Mapping[str, Any]) -> Change:
    text = f"CORS for {origin}"
    if vault.namespace:
        note = (
            f"{text}: Vault has these settings in its root namespace alone, so an operator of it adds the origin"
        )
        return Change(text, "there", lambda: None, notes=(note,))
    current = read(client, "sys/config/cors")
    origins = list(current.get("allowed_origins") or ()) if current.get("enabled") else []
    headers = [name for name in current.get("allowed_headers") or () if name not in _HEADERS_OF_VAULT]
    # What others have set stays, but for the origin that this service had before.
    role = read(client, f"auth/{vault.mount}/role/{REVEAL_NAME}")
    former = {uri.removesuffix("/callback") for uri in role.get("allowed_redirect_uris") or ()} - {origin}
    desired = [listed for listed in origins if listed not in former]
    desired += [origin] if origin not in desired and "*" not in desired else []
    more = [name for name in body["allowed_headers"] if name not in headers]
    state = state_of(origins or None, same=desired == origins and not more)
    whole = {"allowed_origins": desired, "allowed_headers": [*headers, *more]}
    diff = (f"allowed_origins: {origins!r} -> {desired!r}",)
    return _change(client, text, state, ("POST", "sys/config/cors", whole), diff)


def _ours(group: Mapping[str, Any]) -> bool:
    return (group.get("metadata") or {}).get("made_by") == "secure_xcom"


def _withdrawals(client: VaultClient, policy: AccessPolicy, desired: set[str]) -> Iterator[Change]:
    """Yield the removal of each group of viewers, or of its policy, that the policy file no longer has."""
    try:
        names = {*_listed(client, "identity/group/name"), *_listed(client, "sys/policies/acl")}
    except VaultDenied:
        if desired:
            raise
        # Whoever never had viewers may apply with a token that sees no groups.
        return
    origin = policy.reveal.origin if policy.reveal is not None else None
    opens = {f'path "{mount}/decrypt/{key}"' for mount, key in transit_settings(policy)}
    for name in sorted(name for name in names if name.startswith(VIEWERS_PREFIX) and name not in desired):
        group = read(client, f"identity/group/name/{name}")
        text = str(read(client, f"sys/policies/acl/{name}").get("policy") or "")
        made_here = _ours(group) if group else text.startswith(vault_reveal.MARK)
        of_origin = origin is not None and (group.get("metadata") or {}).get("reveal_origin") == origin
        if made_here and (of_origin or any(path in text for path in opens)):
            yield Change(f"viewers {name}: no longer in the policy", "remove", _removing(client, name, text))


def _removing(client: VaultClient, name: str, text: str) -> Any:
    # The group first: without it, nobody has the policy any more. Tokens that are out lose it at once.
    steps = [Step(f"group {name}", "make", "DELETE", f"identity/group/name/{name}", optional=True)]
    if text.startswith(vault_reveal.MARK):
        steps.append(Step(f"policy {name}", "make", "DELETE", f"sys/policies/acl/{name}"))
    return lambda: vault_setup.apply(client, steps)


def _listed(client: VaultClient, path: str) -> list[str]:
    answer = client.call("LIST", path)
    return [str(key) for key in answer.data.get("keys") or ()] if answer.ok else []
