"""Try each identity's actual rights in a Vault with its own token, and compare them with the access policy.

Nothing of value is wrapped, opened or changed. Requests that do nothing after Vault's policy allowed them are
really made: with an invalid wrap, or for a missing payload. For requests that would rotate a key or write a
policy, the identity's token asks ``sys/capabilities-self`` instead, which applies the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from secure_xcom.connections.vault.http import VaultHttp
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.compile.vault import policy_name
from secure_xcom.ops.service_policies.rights import Known, rights_of
from secure_xcom.ops.service_policies.verify import vault_kv, vault_transit
from secure_xcom.ops.service_policies.verify.matrix import Trial
from secure_xcom.ops.service_policies.verify.vault_capabilities import CapabilityChecker

SERVICE = "the service"


def verify(
    wire: VaultHttp, policy: AccessPolicy, tokens: Mapping[str, str], dags: Sequence[str] = ()
) -> Iterator[Trial]:
    """Yield the result of every act of every identity with a token, in every compartment.

    :param tokens: identity -> its own token; :param dags: as for `compile_policy`.
    :raises VaultTrouble: Vault does not respond.
    """
    for identity in policy.identities:
        token = tokens.get(identity.name)
        if token is None:
            continue
        asker = CapabilityChecker(wire, token)
        rights = rights_of(policy, identity, Known(tuple(dags)))
        for compartment in policy.compartments:
            yield from vault_transit.rows(asker, policy, identity, compartment, rights)
            yield from vault_kv.rows(asker, identity, compartment, rights)
        mount, role = "approle", identity.name
        if identity.vault is not None:
            mount, role = identity.vault.mount or identity.vault.auth, identity.vault.role or identity.name
        yield from system_rows(asker, identity, mount, role)


def system_rows(
    asker: CapabilityChecker, identity: Identity, mount: str, role: str, more: Mapping[str, str] | None = None
) -> Iterator[Trial]:
    """Yield the rights with which an identity could escape its policy. Nobody has any of them.

    :param mount: where it logs in, with which role; :param more: action -> path of more such rights.
    """
    ways = {
        "read own policy": f"sys/policies/acl/{policy_name(identity)}",
        "write a policy": f"sys/policies/acl/{asker.probe}",
        "write an old-style policy": f"sys/policy/{asker.probe}",
        "create a token": "auth/token/create",
        "create an orphan token": "auth/token/create-orphan",
        "create a token role": f"auth/token/roles/{asker.probe}",
        "change own role": f"auth/{mount}/role/{role}",
        "make a secret id": f"auth/{mount}/role/{role}/secret-id",
        "make another role": f"auth/{mount}/role/{asker.probe}",
        "enable an auth method": f"sys/auth/{asker.probe}",
        "mount an engine": f"sys/mounts/{asker.probe}",
        "move a mount": "sys/remount",
        "change audit devices": f"sys/audit/{asker.probe}",
        "read raw storage": "sys/raw/core",
        "make an entity": "identity/entity",
        "seal": "sys/seal",
        **(more or {}),
    }
    capabilities = asker.capabilities(list(ways.values()))
    for action, path in ways.items():
        yield Trial(identity.name, "vault", action, "-", SERVICE, allowed=bool(capabilities[path]), expected=False)
