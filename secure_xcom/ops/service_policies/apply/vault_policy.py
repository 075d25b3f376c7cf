"""Compare a policy that is in a Vault with the compiled one. A policy of somebody else is never overwritten."""

from __future__ import annotations

import difflib
from typing import NamedTuple

from secure_xcom.connections.vault.client import VaultClient
from secure_xcom.core.vault_errors import VaultRefused
from secure_xcom.ops.service_policies.apply.changes import ObjectState, state_of
from secure_xcom.ops.service_policies.apply.vault_setup import read


class ComparedPolicy(NamedTuple):
    """The plan for a policy: its path, its state, and its diff if it changes."""

    path: str
    state: ObjectState
    diff: tuple[str, ...]


def compared_policy(client: VaultClient, name: str, text: str, *, mark: str, remedy: str) -> ComparedPolicy:
    """Compare a policy. Reads only.

    :param mark: what the text of each policy of this kind begins with.
    :raises VaultRefused: there is one that secure_xcom did not make.
    """
    path = f"sys/policies/acl/{name}"
    current = read(client, path).get("policy")
    if isinstance(current, str) and not current.startswith(mark):
        raise VaultRefused(
            f"secure_xcom did not make the policy {name!r}", where=client.server.address, remedy=remedy
        )
    state = state_of(current, same=current == text)
    if state != "change":
        return ComparedPolicy(path, state, ())
    lines = difflib.unified_diff(str(current).splitlines(), text.splitlines(), "current", "desired", lineterm="")
    return ComparedPolicy(path, state, tuple(lines))
