"""The transit rows of `secure_xcom.ops.service_policies.verify.vault`: contexts, batches, and keys."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.keys.vault_context import transit_context
from secure_xcom.ops.service_policies.compile.vault import limited_by_context, transit_keys
from secure_xcom.ops.service_policies.rights import Act, Right
from secure_xcom.ops.service_policies.verify.matrix import INSIDE, Trial
from secure_xcom.ops.service_policies.verify.vault_capabilities import CapabilityChecker

# Long enough for the engine to parse, and of no existing key.
_NO_WRAP = "vault:v1:" + base64.b64encode(bytes(60)).decode()
_PLAIN = base64.b64encode(bytes(32)).decode()
_ACTS: dict[str, Act] = {"encrypt": "push", "decrypt": "pull", "rewrap": "rewrap"}
# Transit's other operations on a key, each with its path below the mount; {} is the key.
_NEVER = {
    "rotate": "keys/{}/rotate",
    "configure": "keys/{}/config",
    "trim": "keys/{}/trim",
    "import": "keys/{}/import",
    "import a version": "keys/{}/import_version",
    "soft-delete": "keys/{}/soft-delete",
    "export": "export/encryption-key/{}",
    "export a version": "export/encryption-key/{}/1",
    "back up": "backup/{}",
    "restore": "restore/{}",
    "data key": "datakey/plaintext/{}",
    "wrapped data key": "datakey/wrapped/{}",
    "hmac": "hmac/{}",
    "sign": "sign/{}",
}
_OF_THE_MOUNT = {
    "list keys": "keys",
    "restore any key": "restore",
    "settings of keys": "config/keys",
    "settings of the cache": "cache-config",
}


def rows(
    asker: CapabilityChecker,
    policy: AccessPolicy,
    identity: Identity,
    compartment: Compartment,
    rights: Sequence[Right],
    *,
    always_limited: bool = False,
) -> Iterator[Trial]:
    """Yield every row of one identity and one compartment.

    :param always_limited: True for people, whose policies never allow a batch.
    """
    by_act = {right.act: right for right in rights if right.compartment is compartment and right.keys}
    for (mount, key), single in transit_keys(compartment.all_key_uris).items():
        for operation, act in _ACTS.items():
            if act == "push" and (mount, key) not in transit_keys(compartment.all_key_uris, pushing=True):
                continue
            right = by_act.get(act)
            limited = right is not None and (
                always_limited or limited_by_context(policy, right, (mount, key), single=single)
            )
            path = f"{mount}/{operation}/{key}"
            for place, action, body, expected in _requests(asker, operation, compartment, right, limited=limited):
                allowed = asker.may("POST", path, body)
                yield Trial(identity.name, "vault", action, compartment.name, place, allowed, expected)
        yield from _of_keys(asker, identity, compartment, rights, (mount, key))


def _requests(
    asker: CapabilityChecker, operation: str, compartment: Compartment, right: Right | None, *, limited: bool
) -> Iterator[tuple[str, str, dict[str, Any], bool]]:
    """Yield place, action, body and expected result."""
    text = {"plaintext": _PLAIN} if operation == "encrypt" else {"ciphertext": _NO_WRAP}
    other, named = asker.probe, compartment.name
    if right is None:
        body = {**text, "context": _context(named, other, other)}
        yield INSIDE, operation, body, False
        yield INSIDE, f"{operation} in a batch", {"batch_input": [body]}, False
        return
    whole = not limited
    for dag, task in right.scope.pairs():
        place = INSIDE if dag is None else f"DAG {dag}" + ("" if task is None else f", task {task}")
        context = _context(named, dag or other, task or other)
        body = {**text, "context": context}
        yield place, operation, body, True
        # A batch hides its contexts, so an identity that is limited by them may not send one, even of its own.
        yield place, f"{operation} in a batch", {"batch_input": [body]}, whole
        beside = {**body, "batch_input": [body]}
        yield place, f"{operation} with a batch beside", beside, whole
        yield place, f"{operation} without a context", text, whole
        yield place, f"{operation} without a text", {"context": context}, whole
        yield place, f"{operation} with another parameter", {**body, "associated_data": _PLAIN}, whole
        if task is not None:
            body = {**text, "context": _context(named, str(dag), other)}
            yield f"another task of DAG {dag}", operation, body, False
        if dag is not None and task is None:
            # The DAG's digest is in the task's place: a limit with a missing part would allow it.
            body = {**text, "context": _context(named, other, str(dag))}
            yield f"a task named as DAG {dag}", operation, body, False
    if not right.scope.whole:
        body = {**text, "context": _context(named, other, other)}
        yield "another DAG", operation, body, False
    # A whole grant is for a key of one compartment, so everything that the key wraps is this compartment's.
    dag, task = next(right.scope.pairs())
    body = {**text, "context": _context(other, dag or other, task or other)}
    yield "another compartment's context", operation, body, whole


def _of_keys(
    asker: CapabilityChecker,
    identity: Identity,
    compartment: Compartment,
    rights: Sequence[Right],
    key: tuple[str, str],
) -> Iterator[Trial]:
    mount, name = key
    acts = {
        right.act
        for right in rights
        if right.keys and key in transit_keys(right.compartment.all_key_uris, pushing=right.act == "push")
    }
    expected: list[tuple[str, str, str, set[str]]] = []
    for operation, act in _ACTS.items():
        path = f"{mount}/{operation}/{name}"
        expected.append(
            ("the key", f"{operation} other than by update", path, {"update"} if act in acts else set())
        )
    looks = {"read"} if "look" in acts else set()
    expected.append(("the key", "make, change or delete", f"{mount}/keys/{name}", looks))
    expected += [("the key", action, f"{mount}/{path.format(name)}", set()) for action, path in _NEVER.items()]
    for operation in (*_ACTS, "keys", "datakey/plaintext"):
        action = "make or see" if operation == "keys" else operation
        for ending in (f"-{asker.probe}", f"/{asker.probe}"):
            expected.append(("another key", action, f"{mount}/{operation}/{name}{ending}", set()))
        expected.append(("another key", action, f"{mount}/{operation}/{asker.probe}", set()))
        beside = [f"{one}/{operation}/{name}" for one in asker.beside(mount)]
        expected += [("another mount", action, path, set()) for path in beside]
    expected += [("the mount", action, f"{mount}/{path}", set()) for action, path in _OF_THE_MOUNT.items()]
    capabilities = asker.capabilities([path for _, _, path, _ in expected])
    together: dict[tuple[str, str], bool] = {}
    for place, action, path, given in expected:
        # One row for all names of another key or mount.
        together[place, action] = together.get((place, action), False) or bool(capabilities[path] - given)
    allowed = asker.may("GET", f"{mount}/keys/{name}")
    yield Trial(identity.name, "vault", "look", compartment.name, "the key", allowed, bool(looks))
    for (place, action), more in together.items():
        yield Trial(identity.name, "vault", action, compartment.name, place, more, expected=False)


def _context(compartment: str, dag: str, task: str) -> str:
    names = {"compartment": compartment, "dag_id": dag, "task_id": task, "run_id": "verify", "map_index": "-1"}
    return base64.b64encode(transit_context(names)).decode()
