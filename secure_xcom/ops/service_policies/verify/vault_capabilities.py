"""Ask a Vault, with an identity's own token, what its policy allows."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from secure_xcom.connections.vault.http import VaultHttp
from secure_xcom.core.vault_errors import VaultDenied


class CapabilityChecker:
    """One identity's token at one Vault.

    :ivar probe: an unused name for keys, mounts, DAGs and payloads.
    """

    def __init__(self, wire: VaultHttp, token: str) -> None:
        self._wire, self._token = wire, token
        self.probe = f"verify_{secrets.token_hex(4)}"

    def may(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bool:
        """Check whether Vault's policy allows a request.

        :raises VaultTrouble: Vault does not respond.
        """
        try:
            self._wire.send(method, path, body, token=self._token)
        except VaultDenied:
            return False
        return True

    def capabilities(self, paths: Sequence[str]) -> dict[str, set[str]]:
        """Return the token's capabilities at each path.

        :raises VaultDenied: the token may not ask; :raises VaultTrouble: Vault does not respond.
        """
        try:
            answer = self._wire.send("POST", "sys/capabilities-self", {"paths": list(paths)}, token=self._token)
        except VaultDenied as denied:
            raise VaultDenied(
                "the token of an identity may not ask for its own capabilities",
                where=denied.where,
                remedy="use a valid token that has the policy `default`",
            ) from None
        return {path: set(answer.data.get(path) or ()) - {"deny"} for path in paths}

    def beside(self, path: str) -> list[str]:
        """Return the path with each of its segments replaced in turn: a wildcard in its place would match."""
        parts = path.split("/")
        return [
            "/".join([*parts[:position], self.probe, *parts[position + 1 :]]) for position in range(len(parts))
        ]
