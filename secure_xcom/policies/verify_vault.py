"""What each identity may really do in a Vault, tried with its own token, against what the access policy says.

Nothing is wrapped, opened or changed that matters: requests are made so that Vault's policy lets them through or
not, and the engine then finds nothing to do (a wrap that is none, a payload that is not there).
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secure_xcom.access import AccessPolicy, Compartment, Identity
from secure_xcom.coordinate import path_segment
from secure_xcom.errors import VaultDenied
from secure_xcom.policies.rights import Known, Right, rights_of
from secure_xcom.policies.vault_files import transit_keys
from secure_xcom.stores.vault_kv_uri import split_uri
from secure_xcom.vault.context import transit_context
from secure_xcom.vault.wire import Wire

# Long enough for the engine to look at, and of no key that is.
_NO_WRAP = "vault:v1:" + base64.b64encode(bytes(60)).decode()
_PLAIN = base64.b64encode(bytes(32)).decode()
_ACTS = {"encrypt": "push", "decrypt": "pull", "rewrap": "rewrap", "look": "look"}
_KV = {"create": {"push"}, "read": {"pull", "rewrap"}, "list": {"rewrap"}}


@dataclass(frozen=True, slots=True)
class Tried:
    """One row of the matrix.

    :ivar place: ``inside`` what an identity is limited to, or ``outside`` of it in the same compartment.
    """

    identity: str
    action: str
    compartment: str
    place: str
    allowed: bool
    expected: bool

    @property
    def surprise(self) -> bool:
        """Whether it is not as the access policy says."""
        return self.allowed != self.expected


def verify(
    wire: Wire, policy: AccessPolicy, tokens: Mapping[str, str], dags: Sequence[str] = ()
) -> Iterator[Tried]:
    """Every act of every identity whose token is given, in every compartment.

    :param tokens: identity -> its own token; :param dags: as for `compile_policy`.
    :raises VaultTrouble: Vault does not answer.
    """
    for identity in policy.identities:
        token = tokens.get(identity.name)
        if token is None:
            continue
        rights = rights_of(policy, identity, Known(tuple(dags)))
        for own in policy.compartments:
            mine = {str(right.act): right for right in rights if right.compartment is own}
            for operation, act in _ACTS.items():
                yield from _transit(wire, token, identity, own, operation, mine.get(act))
            yield from _kv(wire, token, identity, own, mine)


def _transit(
    wire: Wire, token: str, identity: Identity, own: Compartment, operation: str, right: Right | None
) -> Iterator[Tried]:
    limited = right is not None and not right.scope.whole
    places = [("inside", *_inside(right))]
    if limited and operation != "look":
        places.append(("outside", f"verify_{secrets.token_hex(4)}", "verify"))
    for mount, key in transit_keys(own.all_key_uris, pushing=operation == "encrypt"):
        for place, dag, task in places:
            names = {
                "compartment": own.name,
                "dag_id": dag,
                "task_id": task,
                "run_id": "verify",
                "map_index": "-1",
            }
            context = base64.b64encode(transit_context(names)).decode()
            if operation == "look":
                allowed = _may(wire, token, "GET", f"{mount}/keys/{key}", None)
            else:
                text = {"plaintext": _PLAIN} if operation == "encrypt" else {"ciphertext": _NO_WRAP}
                allowed = _may(wire, token, "POST", f"{mount}/{operation}/{key}", {**text, "context": context})
            expected = right is not None and place == "inside"
            yield Tried(identity.name, operation, own.name, place, allowed, expected)
        if limited and operation != "look":
            # A batch hides its contexts: who is limited by them may send none.
            body = {"batch_input": [{"plaintext": _PLAIN, "ciphertext": _NO_WRAP, "context": _PLAIN}]}
            allowed = _may(wire, token, "POST", f"{mount}/{operation}/{key}", body)
            yield Tried(identity.name, f"{operation} batch", own.name, "outside", allowed, expected=False)


def _inside(right: Right | None) -> tuple[str, str]:
    dag, task = (None, None) if right is None else next(right.scope.pairs())
    return dag or "verify", task or "verify"


def _kv(
    wire: Wire, token: str, identity: Identity, own: Compartment, mine: Mapping[str, Right]
) -> Iterator[Tried]:
    for uri in own.written_store_uris:
        if not uri.startswith("vault-kv://"):
            continue
        _, mount, prefix = split_uri(uri)
        for action, acts in _KV.items():
            right = next((mine[act] for act in sorted(acts) if act in mine), None)
            dag = path_segment(_inside(right)[0])
            path = f"{prefix}/{path_segment(own.name)}/{dag}/verify/verify/-1/{secrets.token_hex(8)}"
            # A version that cannot be there: the engine refuses what the policy lets through.
            body = {"data": {"verify": ""}, "options": {"cas": 999}} if action == "create" else None
            method = {"create": "POST", "read": "GET", "list": "LIST"}[action]
            kind = "metadata" if action == "list" else "data"
            allowed = _may(wire, token, method, f"{mount}/{kind}/{path}", body)
            yield Tried(identity.name, f"kv {action}", own.name, "inside", allowed, right is not None)


def _may(wire: Wire, token: str, method: str, path: str, body: Mapping[str, Any] | None) -> bool:
    try:
        wire.send(method, path, body, token=token)
    except VaultDenied:
        return False
    return True
