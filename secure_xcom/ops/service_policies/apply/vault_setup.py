"""Set up a Vault for ``secure-xcom init --vault``: a plan that only reads, then steps that are done once.

Everything here needs an operator's token. Running it again changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from secure_xcom.connections.vault.client import VaultClient
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.core.vault_errors import VaultRefused
from secure_xcom.ops.service_policies.apply.changes import ObjectState, state_of
from secure_xcom.ops.service_policies.vault_grants import ROLES, kv_grant, transit_grant

AppRole = Literal["worker", "writer", "reader", "maintenance"]
APPROLES: dict[AppRole, tuple[str, ...]] = {
    "worker": ("writer", "reader"),
    "writer": ("writer",),
    "reader": ("reader",),
    "maintenance": ("maintenance",),
}
"""The AppRoles that can be created, and the policies of each. Most workers both push and pull."""

_NAME = re.compile(r"\w(?:[\w.-]{0,60}\w)?", re.ASCII)
_PATH = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*", re.ASCII)
_HOURS = re.compile(r"([1-9]\d{0,4})h")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wanted state.

    :param rotate: how often Vault rotates the key, in hours (``2160h``). NIST SP 800-57 allows a wrapping key at
    most
        two years.
    :param kv: mount and prefix of a KV store, or None if payloads are elsewhere.
    :param approles: the AppRoles to create; their tokens last ``token_hours``, their secret ids
    ``secret_id_hours``.
    :raises SettingInvalid: a name or a duration is invalid.
    """

    transit: str = "transit"
    key: str = "secure-xcom"
    rotate: str = "2160h"
    kv: tuple[str, str] | None = None
    approles: tuple[AppRole, ...] = ()
    approle_mount: str = "approle"
    token_hours: int = 1
    secret_id_hours: int = 2160

    def __post_init__(self) -> None:
        for name, text, form in (
            ("transit", self.transit, _PATH),
            ("key", self.key, _NAME),
            ("rotate", self.rotate, _HOURS),
            ("approle mount", self.approle_mount, _PATH),
            *((("KV mount", self.kv[0], _PATH), ("KV prefix", self.kv[1], _PATH)) if self.kv else ()),
        ):
            if not form.fullmatch(text):
                raise SettingInvalid(f"{text!r:.80} is not valid", where=f"init --vault, {name}")

    def policy(self, role: str) -> str:
        """Return the name of a role's policy in Vault, and of an AppRole."""
        return f"secure-xcom-{self.key}-{role}"

    def policy_texts(self) -> dict[str, str]:
        """Return role -> HCL."""
        texts: dict[str, str] = {}
        for role in ROLES:
            text = transit_grant(role, self.transit, self.key)
            texts[role] = text + ("\n" + kv_grant(role, *self.kv) if self.kv else "")
        return texts


@dataclass(frozen=True, slots=True)
class Step:
    """One object to be created, changed, or left as it is.

    :param optional: True if a Vault without this path is acceptable.
    """

    text: str
    state: ObjectState
    method: str = "POST"
    path: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    optional: bool = False


def plan(client: VaultClient, wanted: Wanted) -> list[Step]:
    """Return the steps, in order. Reads only.

    :raises VaultRefused: an object with this name cannot be changed to the wanted state.
    :raises VaultTrouble: Vault does not respond, or denies this to the operator.
    """
    mounts = read(client, "sys/mounts")
    steps = list(_transit_steps(client, wanted, mounts))
    steps += _kv_steps(wanted, mounts)
    for role, text in wanted.policy_texts().items():
        name = wanted.policy(role)
        current = read(client, f"sys/policies/acl/{name}").get("policy")
        steps.append(
            Step(
                f"policy {name}",
                "make" if current is None else "there" if current == text else "change",
                "PUT",
                f"sys/policies/acl/{name}",
                {"policy": text},
            )
        )
    if wanted.approles:
        steps += _approle_steps(client, wanted)
    return steps


def apply(client: VaultClient, steps: list[Step]) -> None:
    """Do the steps that are not done yet.

    :raises VaultTrouble: a step failed; those before it are done, and another run continues there.
    """
    for step in steps:
        if step.state == "there":
            continue
        answer = client.call(step.method, step.path, step.body)
        if not answer.ok and not (step.optional and answer.status in (404, 405)):
            raise VaultRefused(
                f"Vault refuses the step: {step.text}",
                where=f"{client.server.address} {step.path}",
                remedy="check that the path is not in use and that the token is an operator's, then run this "
                "again",
            )


def _transit_steps(client: VaultClient, wanted: Wanted, mounts: Mapping[str, Any]) -> Iterator[Step]:
    mount = mounts.get(f"{wanted.transit}/")
    if mount is not None and mount.get("type") != "transit":
        raise VaultRefused(
            f"the mount {wanted.transit!r} is of type {mount.get('type')!r:.40}",
            where=client.server.address,
            remedy="choose another mount",
        )
    yield Step(
        f"secrets engine transit at {wanted.transit}/",
        "there" if mount else "make",
        "POST",
        f"sys/mounts/{wanted.transit}",
        {"type": "transit", "description": "Wrapping keys"},
    )
    if mount is None:
        # In a new mount, a typo must not create a key. An existing mount may have users who rely on that.
        yield Step(
            "no keys made by encrypting (disable_upsert)",
            "make",
            "POST",
            f"{wanted.transit}/config/keys",
            {"disable_upsert": True},
            optional=True,
        )
    path = f"{wanted.transit}/keys/{wanted.key}"
    key = read(client, path) if mount else {}
    text = f"key {wanted.key}: aes256-gcm96, derived, not exportable"
    if not key:
        yield Step(text, "make", "POST", path, {"type": "aes256-gcm96", "derived": True})
    else:
        never = [
            word
            for word, wrong in (
                ("not derived", key.get("derived") is not True),
                ("exportable", key.get("exportable") is True),
                ("open to plaintext backups", key.get("allow_plaintext_backup") is True),
                ("convergent", key.get("convergent_encryption") is True),
            )
            if wrong
        ]
        if never:
            raise VaultRefused(
                f"the key {wanted.key!r} is {', '.join(never)}, and that cannot be changed",
                where=f"{client.server.address} {path}",
                remedy="choose another name for the key",
            )
        yield Step(text, "there")
    config = {"auto_rotate_period": wanted.rotate, "deletion_allowed": False}
    same = key.get("auto_rotate_period") == _seconds(wanted.rotate) and key.get("deletion_allowed") is False
    yield Step(
        f"rotation every {wanted.rotate}, deletion not allowed",
        "there" if same else "change" if key else "make",
        "POST",
        f"{path}/config",
        config,
    )


def _kv_steps(wanted: Wanted, mounts: Mapping[str, Any]) -> Iterator[Step]:
    if wanted.kv is None:
        return
    name = wanted.kv[0]
    mount = mounts.get(f"{name}/")
    if mount is not None and (mount.get("type") != "kv" or (mount.get("options") or {}).get("version") != "2"):
        raise VaultRefused(f"the mount {name!r} is not KV version 2", remedy="choose another mount for the store")
    yield Step(
        f"secrets engine KV version 2 at {name}/",
        "there" if mount else "make",
        "POST",
        f"sys/mounts/{name}",
        {"type": "kv", "options": {"version": "2"}, "description": "Sealed payloads"},
    )


def _approle_steps(client: VaultClient, wanted: Wanted) -> Iterator[Step]:
    mount = read(client, "sys/auth").get(f"{wanted.approle_mount}/")
    if mount is not None and mount.get("type") != "approle":
        raise VaultRefused(
            f"the auth method at {wanted.approle_mount!r} is {mount.get('type')!r:.40}",
            remedy="choose another mount",
        )
    yield Step(
        f"auth method AppRole at {wanted.approle_mount}/",
        "there" if mount else "make",
        "POST",
        f"sys/auth/{wanted.approle_mount}",
        {"type": "approle"},
    )
    for role in wanted.approles:
        name = wanted.policy(role)
        path = f"auth/{wanted.approle_mount}/role/{name}"
        body = {
            "token_policies": [wanted.policy(held) for held in APPROLES[role]],
            "token_ttl": wanted.token_hours * 3600,
            "token_max_ttl": wanted.token_hours * 24 * 3600,
            "secret_id_ttl": wanted.secret_id_hours * 3600,
            "secret_id_num_uses": 0,
        }
        current = read(client, path) if mount else {}
        same = all(current.get(field) == value for field, value in body.items())
        state = state_of(current or None, same=same)
        yield Step(f"AppRole {name}", state, "POST", path, body)


def read(client: VaultClient, path: str) -> Mapping[str, Any]:
    """Return the data at a path, or nothing if there is none."""
    answer = client.call("GET", path)
    return answer.data if answer.ok else {}


def _seconds(hours: str) -> int:
    return int(hours.removesuffix("h")) * 3600
