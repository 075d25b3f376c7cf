"""Try what people may do in a Vault with a viewer's own token, and compare it with the access policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from secure_xcom.connections.vault.http import VaultHttp
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.compile.vault_reveal import scopes_of
from secure_xcom.ops.service_policies.reveal_names import REVEAL_NAME, viewer_groups, viewers_name
from secure_xcom.ops.service_policies.rights import Known, Right
from secure_xcom.ops.service_policies.verify import vault_kv, vault_transit
from secure_xcom.ops.service_policies.verify.matrix import Trial
from secure_xcom.ops.service_policies.verify.vault import SERVICE, system_rows
from secure_xcom.ops.service_policies.verify.vault_capabilities import CapabilityChecker


def verified_groups(policy: AccessPolicy) -> dict[str, str]:
    """Return name -> group for each group of viewers; names begin with ``viewers-`` and are those of trials."""
    if policy.reveal is None or policy.reveal.vault is None:
        return {}
    return {viewers_name(group).removeprefix("secure-xcom-"): group for group in viewer_groups(policy)}


def verify_viewers(
    wire: VaultHttp, policy: AccessPolicy, tokens: Mapping[str, str], dags: Sequence[str] = ()
) -> Iterator[Trial]:
    """Yield the result of every act of a viewer of each group with a token, in every compartment.

    :param tokens: name of `verified_groups` -> the token of a person who is in this group and in no other.
    :param dags: as for `compile_policy`.
    :raises VaultTrouble: Vault does not respond.
    """
    for name, group in verified_groups(policy).items():
        token = tokens.get(name)
        if token is None or policy.reveal is None or policy.reveal.vault is None:
            continue
        asker = CapabilityChecker(wire, token)
        # Of an identity, the trials need the name alone.
        viewer = Identity.model_construct(name=name)
        scopes = scopes_of(policy, group, Known(tuple(dags)))
        rights = [Right(viewer, compartment, "pull", scope, claims=False) for compartment, scope in scopes]
        for compartment in policy.compartments:
            yield from vault_transit.rows(asker, policy, viewer, compartment, rights, always_limited=True)
            # Sealed payloads come from the reveal service, which has rights of its own.
            yield from vault_kv.rows(asker, viewer, compartment, ())
        may_get_token = asker.may("GET", f"identity/oidc/token/{REVEAL_NAME}")
        yield Trial(name, "vault", "identity token", "-", SERVICE, allowed=may_get_token, expected=True)
        more = {
            "change own group": f"identity/group/name/{viewers_name(group)}",
            "change the token role": f"identity/oidc/role/{REVEAL_NAME}",
            "change the identity key": f"identity/oidc/key/{REVEAL_NAME}",
            "another identity token": f"identity/oidc/token/{asker.probe}",
            "change CORS": "sys/config/cors",
            "renew own token": "auth/token/renew-self",
        }
        yield from system_rows(asker, viewer, policy.reveal.vault.mount, REVEAL_NAME, more)
