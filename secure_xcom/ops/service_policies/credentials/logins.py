"""Logins of identities: a role id and a secret id of an AppRole, an access key of an IAM user.

Each kind answers the same four questions: whether a login still works, how to make a new one, how to take it back,
and how to end all others. Sources: Vault API, "AppRole auth method"; IAM API Reference, access keys of users.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from secure_xcom.connections.vault.client import VaultClient
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.operator_errors import AwsRefused
from secure_xcom.core.vault_errors import VaultRefused
from secure_xcom.ops.service_policies.apply.vault_setup import read
from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.compile.vault import role

_KEYS_MAX = 2
"""IAM User Guide, "IAM and AWS STS quotas": access keys assigned to a user."""


@dataclass(frozen=True, slots=True)
class Login:
    """A public name and its secret, as an Airflow connection's ``login`` and ``password``."""

    name: str
    secret: str = field(repr=False)


class Logins(Protocol):
    """The logins of one identity at one service. Every method raises only errors of our tree."""

    text: str
    """What is made, for the operator."""

    def works(self, login: Login) -> bool:
        """Check whether the service still accepts a login."""

    def make(self) -> Login:
        """Make a new login; earlier ones stay valid."""

    def take_back(self, login: Login) -> None:
        """End one login."""

    def others(self, login: Login) -> list[str]:
        """Return the ids, not the secrets, of the logins beside this one."""

    def end(self, ids: list[str]) -> None:
        """End logins by their ids."""


class AppRole:
    """The role of an identity at Vault's or OpenBao's AppRole method."""

    def __init__(self, client: VaultClient, identity: Identity) -> None:
        approle = role(identity)
        if approle is None:
            raise VaultRefused(f"{identity.name} has no role that is managed here", where=client.server.address)
        self._client = client
        self._path = approle[0]
        self.text = f"secret id of {self._path}"

    def works(self, login: Login) -> bool:
        """See `Logins.works`."""
        return login.name == self._role_id() and self._accessor(login) is not None

    def make(self) -> Login:
        """See `Logins.make`.

        :raises VaultRefused: there is no such role yet.
        """
        role_id = self._role_id()
        answer = self._client.call("POST", f"{self._path}/secret-id", {}).data
        secret_id = answer.get("secret_id")
        if not role_id or not isinstance(secret_id, str):
            raise self._no_role()
        return Login(role_id, secret_id)

    def take_back(self, login: Login) -> None:
        """See `Logins.take_back`."""
        self._client.call("POST", f"{self._path}/secret-id/destroy", {"secret_id": login.secret})

    def others(self, login: Login) -> list[str]:
        """See `Logins.others`; the ids are accessors."""
        current = self._accessor(login)
        answer = self._client.call("LIST", f"{self._path}/secret-id", accept=(404,))
        accessors = answer.data.get("keys") if answer.ok else None
        return [str(accessor) for accessor in accessors or () if accessor != current]

    def end(self, ids: list[str]) -> None:
        """See `Logins.end`."""
        for accessor in ids:
            body = {"secret_id_accessor": accessor}
            self._client.call("POST", f"{self._path}/secret-id-accessor/destroy", body)

    def _role_id(self) -> str:
        role_id = read(self._client, f"{self._path}/role-id").get("role_id")
        if not isinstance(role_id, str):
            raise self._no_role()
        return role_id

    def _accessor(self, login: Login) -> str | None:
        body = {"secret_id": login.secret}
        # Vault answers 204 without data for an unknown one, and OpenBao 404.
        answer = self._client.call("POST", f"{self._path}/secret-id/lookup", body, accept=(400, 404))
        accessor = answer.data.get("secret_id_accessor") if answer.ok else None
        return accessor if isinstance(accessor, str) else None

    def _no_role(self) -> VaultRefused:
        return VaultRefused(
            f"there is no role {self._path}",
            where=self._client.server.address,
            remedy="run `secure-xcom policy apply FILE --to vault` first",
        )


class AccessKeys:
    """The access keys of an IAM user, on AWS or on a server that has IAM's API."""

    def __init__(self, aws: AwsAccount, principal: str) -> None:
        self._aws = aws
        self._user = principal.rsplit("/", 1)[-1]
        self.text = f"access key of user {self._user}"

    def works(self, login: Login) -> bool:
        """See `Logins.works`. IAM tells no secret, so the key's id and its status decide."""
        return any(
            entry["AccessKeyId"] == login.name and entry.get("Status", "Active") == "Active"
            for entry in self._listed()
        )

    def make(self) -> Login:
        """See `Logins.make`.

        :raises AwsRefused: the user has as many keys as IAM allows.
        """
        if len(self._listed()) >= _KEYS_MAX:
            raise AwsRefused(
                f"user {self._user} has {_KEYS_MAX} access keys, and IAM allows no more",
                where=self._aws.where,
                remedy="end those that no worker uses: `secure-xcom policy credentials FILE --end-old`",
            )
        answer = self._aws.ask("iam", "create_access_key", UserName=self._user) or {}
        key = answer["AccessKey"]
        return Login(key["AccessKeyId"], key["SecretAccessKey"])

    def take_back(self, login: Login) -> None:
        """See `Logins.take_back`."""
        self.end([login.name])

    def others(self, login: Login) -> list[str]:
        """See `Logins.others`; the ids are those of the keys."""
        return [entry["AccessKeyId"] for entry in self._listed() if entry["AccessKeyId"] != login.name]

    def end(self, ids: list[str]) -> None:
        """See `Logins.end`."""
        for key_id in ids:
            self._aws.ask("iam", "delete_access_key", UserName=self._user, AccessKeyId=key_id)

    def _listed(self) -> list[dict[str, Any]]:
        answer = self._aws.ask("iam", "list_access_keys", absent=("NoSuchEntity",), UserName=self._user)
        if answer is None:
            raise AwsRefused(
                f"there is no user {self._user}",
                where=self._aws.where,
                remedy="create it (`aws iam create-user`), or run `secure-xcom policy apply FILE --create-users`",
            )
        keys: list[dict[str, Any]] = answer.get("AccessKeyMetadata", [])
        return keys
