"""Prove who asks, as the access policy says: by an identity token of its Vault."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from secure_xcom.core.operator_errors import RevealNotSetUp
from secure_xcom.ops.service_policies.reveal_names import REVEAL_NAME, viewers_name
from secure_xcom.reveal.identity_tokens import KeySource, Person, bearer_token, person_of
from secure_xcom.reveal.site import Mode, Session, Site
from secure_xcom.reveal.vault_keys import VaultKeys

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.access_policy.reveal_section import Reveal, RevealVault


class VaultPeople:
    """People who logged in at the access policy's Vault. Threads may share it.

    :param make_keys: Vault's address and namespace -> its public keys.
    """

    mode: Mode = "browser"

    def __init__(self, make_keys: Callable[[str, str | None], KeySource] = VaultKeys) -> None:
        self._make_keys = make_keys
        self._lock = threading.Lock()
        self._keys: tuple[tuple[str, str | None], KeySource] | None = None

    def site(self, policy: AccessPolicy) -> Site:
        """See `People.site`."""
        reveal, vault = _sections(policy)
        return Site(reveal.origin, reveal.airflow_origin, (vault.address,))

    def configuration(self, policy: AccessPolicy) -> dict[str, Any]:
        """See `People.configuration`."""
        _, vault = _sections(policy)
        login = {
            "address": vault.address,
            "namespace": vault.namespace,
            "auth_mount": vault.mount,
            "role": REVEAL_NAME,
            "token_role": REVEAL_NAME,
        }
        return {"vault": login, "oidc": None}

    def session(self, policy: AccessPolicy, record: Mapping[str, Any]) -> Session:  # noqa: ARG002  # the interface's
        """See `People.session`."""
        raise RevealNotSetUp("people log in at Vault here, and get no session", where="POST /v1/session")

    def person(self, policy: AccessPolicy, authorization: str) -> Person:
        """Return the person that a request's header proves, with the provider's names of their groups.

        :param authorization: the header ``Authorization``.
        :raises IdentityRefused: it proves nobody; :raises VaultTrouble: Vault's public keys cannot be read.
        """
        person = person_of(bearer_token(authorization), self.keys(policy))
        # Vault names the groups that `secure-xcom policy apply` made for viewers, each for one of the provider's.
        viewers = (viewer for compartment in policy.compartments for viewer in compartment.viewers)
        groups = frozenset(viewer.group for viewer in viewers if viewers_name(viewer.group) in person.groups)
        return Person(person.name, groups)

    def keys(self, policy: AccessPolicy) -> KeySource:
        """Return the public keys of the Vault that the access policy names now.

        :raises RevealNotSetUp: it names none.
        """
        _, vault = _sections(policy)
        place = (vault.address, vault.namespace)
        with self._lock:
            if self._keys is None or self._keys[0] != place:
                self._keys = (place, self._make_keys(*place))
            return self._keys[1]


def _sections(policy: AccessPolicy) -> tuple[Reveal, RevealVault]:
    if policy.reveal is None or policy.reveal.vault is None:
        raise RevealNotSetUp(
            "the access policy has no section `reveal` with `vault`", where="[secure_xcom] access_policy"
        )
    return policy.reveal, policy.reveal.vault
