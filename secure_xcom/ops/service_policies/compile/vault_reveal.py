"""Compile for `secure-xcom reveal`: what people who log in at Vault (or OpenBao) may do there, and how.

A group of viewers gets one policy, an identity group of the type ``external`` with the provider's group as its
alias, and nothing else. Sources: Vault, "Identity: entities and groups", "OIDC auth method", "Identity tokens" and
"/sys/config/cors".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.field_types import seconds
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.reveal_section import Reveal, RevealVault
from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.keys.vault_context import transit_scope
from secure_xcom.ops.service_policies.compile.vault import policy_name, transit_keys
from secure_xcom.ops.service_policies.reveal_names import REVEAL_NAME, viewer_groups, viewers_name
from secure_xcom.ops.service_policies.rights import Known, Scope, scope_of, together
from secure_xcom.ops.service_policies.vault_grants import transit_grant

MARK = "# secure_xcom: viewers "
"""The beginning of the text of each viewers' policy."""
ACCESSOR = "{ACCESSOR}"
"""Stands for the accessor of the OIDC mount, which only its Vault knows."""
# The service checks an identity token at once, so it need not live longer.
_IDENTITY_TOKEN_SECONDS = 120
_DAY = 86_400

# A role without the policy `default` leaves these two out.
_OF_EVERYBODY = """
# Say to the reveal service who this is.
path "identity/oidc/token/{name}" {{
  capabilities = ["read"]
}}
# End this session, and ask what it may do (`secure-xcom policy verify`).
path "auth/token/revoke-self" {{
  capabilities = ["update"]
}}
path "sys/capabilities-self" {{
  capabilities = ["update"]
}}
"""


@dataclass(frozen=True, slots=True)
class VaultObject:
    """One object of the reveal service at Vault, in the form of Vault's API."""

    about: str
    path: str
    body: dict[str, Any]


def scopes_of(policy: AccessPolicy, group: str, known: Known) -> Iterator[tuple[Compartment, Scope]]:
    """Yield the compartments that a group may see, each with its limits."""
    for compartment in policy.compartments:
        scopes = [
            scope_of(
                policy,
                f"viewers {group}",
                compartment,
                None if viewer.dags == ("*",) else viewer.dags,
                None if viewer.tasks == ("*",) else viewer.tasks,
                known,
            )
            for viewer in compartment.viewers
            if viewer.group == group
        ]
        scope = together(scopes)
        if scopes and scope.parts != ():
            yield compartment, scope


def policies(policy: AccessPolicy, known: Known) -> dict[str, str]:
    """Return name -> HCL of the policy of each group. Empty if people do not log in at Vault.

    :raises PolicyInvalid: an identity has the name of a group's policy.
    """
    if policy.reveal is None or policy.reveal.vault is None:
        return {}
    taken = {policy_name(identity): identity.name for identity in policy.identities}
    documents = {}
    for group in viewer_groups(policy):
        name = viewers_name(group)
        if name in taken:
            raise PolicyInvalid(
                f"the identity {taken[name]!r} and the viewers {group!r} would have one policy in Vault",
                where="identities",
                remedy="give the identity a name that does not begin with 'viewers-'",
            )
        documents[name] = _policy_hcl(policy, group, known)
    return documents


def _policy_hcl(policy: AccessPolicy, group: str, known: Known) -> str:
    # One block for each path, with the contexts of all compartments that share the key.
    keys: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for compartment, scope in scopes_of(policy, group, known):
        for key in transit_keys(compartment.all_key_uris):
            names, contexts = keys.setdefault(key, ([], []))
            names.append(compartment.name)
            contexts += [transit_scope(compartment.name, dag, task) for dag, task in scope.pairs()]
    blocks = [
        f"# In {', '.join(names)}.\n{transit_grant('reader', mount, key, list(dict.fromkeys(contexts)))}"
        for (mount, key), (names, contexts) in keys.items()
    ]
    head = (
        f"{MARK}{group}. Compiled from the access policy: change that, not this.\n"
        "# What is not allowed here is denied. A context is a digest of ids (docs/reference/format.md).\n"
    )
    return head + "\n" + "\n".join(blocks) + _OF_EVERYBODY.format(name=REVEAL_NAME)


def objects(policy: AccessPolicy) -> list[VaultObject]:
    """Return the objects that let viewers log in, in the order in which they are made. Without the groups."""
    reveal = policy.reveal
    if reveal is None or reveal.vault is None:
        return []
    template = f'{{"person": {{{{identity.entity.aliases.{ACCESSOR}.name}}}}, "groups": '
    template += "{{identity.entity.groups.names}}}"
    return [
        VaultObject(
            "the key of identity tokens",
            f"identity/oidc/key/{REVEAL_NAME}",
            {
                "algorithm": "ES256",
                "allowed_client_ids": [REVEAL_NAME],
                "rotation_period": _DAY,
                "verification_ttl": _DAY,
            },
        ),
        VaultObject(
            "the identity token, which tells the service who asks",
            f"identity/oidc/role/{REVEAL_NAME}",
            {"key": REVEAL_NAME, "client_id": REVEAL_NAME, "ttl": _IDENTITY_TOKEN_SECONDS, "template": template},
        ),
        VaultObject(
            "the role that people log in with, which has no policy of its own",
            f"auth/{reveal.vault.mount}/role/{REVEAL_NAME}",
            _login_role(reveal, reveal.vault),
        ),
        VaultObject(
            "the origin whose pages may talk to Vault",
            "sys/config/cors",
            {
                "allowed_origins": [reveal.origin],
                "allowed_headers": ["X-Vault-Namespace"] if reveal.vault.namespace else [],
            },
        ),
    ]


def _login_role(reveal: Reveal, vault: RevealVault) -> dict[str, Any]:
    return {
        "role_type": "oidc",
        "allowed_redirect_uris": [redirect_uri(reveal.origin)],
        "user_claim": vault.user_claim,
        "groups_claim": vault.groups_claim,
        "oidc_scopes": list(vault.scopes),
        "token_policies": [],
        "token_no_default_policy": True,
        "token_type": "service",
        "token_ttl": seconds(vault.token_ttl),
        "token_max_ttl": seconds(vault.token_ttl),
    }


def redirect_uri(origin: str) -> str:
    """Return the address that the provider sends people back to."""
    return f"{origin}/callback"


def group_body(group: str, origin: str) -> dict[str, Any]:
    """Return the body of a group's identity group. Its metadata say whose it is."""
    metadata = {"made_by": "secure_xcom", "reveal_origin": origin}
    return {"type": "external", "policies": [viewers_name(group)], "metadata": metadata}


def record(policy: AccessPolicy) -> list[dict[str, Any]]:
    """Return all objects and groups, as they are compiled into a file. Empty if people do not log in at Vault."""
    origin = policy.reveal.origin if policy.reveal else ""
    listed = [{"about": entry.about, "path": entry.path, "body": entry.body} for entry in objects(policy)]
    for group in viewer_groups(policy) if listed else ():
        path = f"identity/group/name/{viewers_name(group)}"
        listed.append(
            {"about": f"the group {group}", "path": path, "body": group_body(group, origin), "alias": group}
        )
    return listed
