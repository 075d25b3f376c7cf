"""Prove who asks, as the access policy says: by an identity token of its Vault."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from secure_xcom.core.errors import IdentityRefused, RevealNotSetUp
from secure_xcom.ops.service_policies.reveal_names import viewers_name
from secure_xcom.reveal.identity import KeySource, Person, person_of
from secure_xcom.reveal.vault_keys import VaultKeys

if TYPE_CHECKING:
    from secure_xcom.core.access_policy import AccessPolicy

_SCHEME = "Bearer "


class VaultPeople:
    """People who logged in at the access policy's Vault. Threads may share it.

    :param make_keys: Vault's address and namespace -> its public keys.
    """

    def __init__(self, make_keys: Callable[[str, str | None], KeySource] = VaultKeys) -> None:
        self._make_keys = make_keys
        self._lock = threading.Lock()
        self._keys: tuple[tuple[str, str | None], KeySource] | None = None

    def person(self, policy: AccessPolicy, authorization: str) -> Person:
        """Return the person that a request's header proves, with the provider's names of their groups.

        :param authorization: the header ``Authorization``.
        :raises IdentityRefused: it proves nobody; :raises VaultTrouble: Vault's public keys cannot be read.
        """
        if not authorization.startswith(_SCHEME):
            raise IdentityRefused("the request has no identity token", where="Authorization")
        person = person_of(authorization.removeprefix(_SCHEME).strip(), self.keys(policy))
        # Vault names the groups that `secure-xcom policy apply` made for viewers, each for one of the provider's.
        viewers = (viewer for compartment in policy.compartments for viewer in compartment.viewers)
        groups = frozenset(viewer.group for viewer in viewers if viewers_name(viewer.group) in person.groups)
        return Person(person.name, groups)

    def keys(self, policy: AccessPolicy) -> KeySource:
        """Return the public keys of the Vault that the access policy names now.

        :raises RevealNotSetUp: it names none.
        """
        vault = None if policy.reveal is None else policy.reveal.vault
        if vault is None:
            raise RevealNotSetUp("the access policy has no `reveal.vault`", where="[secure_xcom] access_policy")
        place = (vault.address, vault.namespace)
        with self._lock:
            if self._keys is None or self._keys[0] != place:
                self._keys = (place, self._make_keys(*place))
            return self._keys[1]
