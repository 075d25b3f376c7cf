"""``vault://CONN_ID/MOUNT/keys/NAME``: an Ed25519 key of Vault's (or OpenBao's) transit engine.

CONN_ID is as for wrapping keys. Permissions: ``update`` on ``MOUNT/sign/NAME``, ``read`` on ``MOUNT/keys/NAME``.
The key has the type ``ed25519`` and is not derived. Its newest version signs; after a rotation, `verify` needs the
verifier keys of both versions.
"""

from __future__ import annotations

import base64

from secure_xcom.connections.vault.client import VaultClient, vault_client
from secure_xcom.connections.vault.http import Answer
from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.operator_errors import SealedLogError, SigningKeyError
from secure_xcom.core.vault_errors import VaultTrouble
from secure_xcom.keys.vault import split_uri


class VaultSigner:
    """The key in Vault, as the module's docstring describes it.

    :raises UriInvalid: the URI has another form.
    :raises ConfigurationError: the connection or the environment cannot be used.
    """

    def __init__(self, uri: str) -> None:
        conn_id, self._mount, self._name, scoped = split_uri(uri)
        if scoped:
            raise UriInvalid("a signing key takes no ?grant", where=uri, remedy="leave out ?grant=scoped")
        self.uri = uri
        self._client: VaultClient = vault_client(conn_id)

    def public_key(self) -> bytes:
        """Return the public key of the newest version.

        :raises SealedLogError: Vault did not return it, or the key has another type.
        """
        data = self._ask("GET", f"{self._mount}/keys/{self._name}").data
        versions = data.get("keys")
        newest = versions.get(str(data.get("latest_version"))) if isinstance(versions, dict) else None
        encoded = newest.get("public_key") if isinstance(newest, dict) else None
        public = _decoded(encoded)
        if data.get("type") != "ed25519" or len(public) != 32:
            raise SigningKeyError(
                "the key is not an Ed25519 key that signs without a context",
                where=self.uri,
                remedy=f"create one: vault write -f {self._mount}/keys/NAME type=ed25519",
            )
        return public

    def sign(self, text: bytes) -> bytes:
        """Sign a text.

        :raises SealedLogError: Vault did not sign.
        """
        body = {"input": base64.b64encode(text).decode()}
        answer = self._ask("POST", f"{self._mount}/sign/{self._name}", body).data.get("signature")
        return _decoded(str(answer).rpartition(":")[2])

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> Answer:
        try:
            answer = self._client.call(method, path, body)
        except VaultTrouble as trouble:
            raise SealedLogError(
                f"the signing key cannot be used: {trouble.what}", where=self.uri, remedy=trouble.remedy
            ) from None
        if not answer.ok:
            raise SigningKeyError(f"Vault answered {answer.status} for the signing key", where=self.uri)
        return answer


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError:
        return b""
