"""The KV rows of `secure_xcom.ops.service_policies.verify.vault`: missing payloads at paths of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.coordinate import path_segment
from secure_xcom.ops.service_policies.rights import Act, Right
from secure_xcom.ops.service_policies.verify.matrix import INSIDE, Trial
from secure_xcom.ops.service_policies.verify.vault_capabilities import CapabilityChecker
from secure_xcom.stores.vault_kv_uri import split_uri

# The capabilities of each act at a payload's data and metadata
# (`secure_xcom.ops.service_policies.vault_grants.kv_grant`).
_DATA: dict[Act, set[str]] = {"push": {"create"}, "pull": {"read"}, "rewrap": {"read"}}
_METADATA: dict[Act, set[str]] = {"push": {"delete"}, "rewrap": {"list", "delete"}}
_NEVER = ("delete", "undelete", "destroy", "subkeys")


def rows(
    asker: CapabilityChecker, identity: Identity, compartment: Compartment, rights: Sequence[Right]
) -> Iterator[Trial]:
    """Yield every row of one identity and one compartment."""
    granted = [right for right in rights if right.compartment is compartment and right.act != "look"]
    for uri in compartment.all_store_uris:
        if not uri.startswith("vault-kv://"):
            continue
        _, mount, prefix = split_uri(uri)
        of_store = [right for right in granted if right.act != "push" or uri in compartment.written_store_uris]
        dags = {dag for right in of_store for dag in right.scope.dags if dag is not None}
        places = {INSIDE: asker.probe} if not dags else {f"DAG {dag}": dag for dag in sorted(dags)}
        if dags:
            places["another DAG"] = asker.probe
        folder = f"{prefix}/{path_segment(compartment.name)}".strip("/")
        for place, dag in places.items():
            giving = {right.act for right in of_store if right.scope.whole or dag in right.scope.dags}
            cells = _payload(asker, mount, f"{folder}/{path_segment(dag)}", giving)
            for action, allowed, expected in cells:
                yield Trial(identity.name, "vault", action, compartment.name, place, allowed, expected)
        acts = {right.act for right in of_store if right.scope.whole}
        for place, action, allowed, expected in _folders(asker, mount, prefix, folder, acts):
            yield Trial(identity.name, "vault", action, compartment.name, place, allowed, expected)


def _payload(
    asker: CapabilityChecker, mount: str, folder: str, giving: set[Act]
) -> Iterator[tuple[str, bool, bool]]:
    probe_path = f"{folder}/verify/verify/-1/{asker.probe}"
    # An impossible version: the engine refuses a request that the policy allows.
    new: dict[str, Any] = {"data": {"verify": ""}, "options": {"cas": 999}}
    yield "kv create", asker.may("POST", f"{mount}/data/{probe_path}", new), "push" in giving
    yield "kv read", asker.may("GET", f"{mount}/data/{probe_path}"), bool(giving & {"pull", "rewrap"})
    yield "kv list", asker.may("LIST", f"{mount}/metadata/{folder}"), "rewrap" in giving
    destroys = bool(giving & {"push", "rewrap"})
    yield "kv destroy", asker.may("DELETE", f"{mount}/metadata/{probe_path}"), destroys
    data, metadata = set[str](), set[str]()
    for act in giving:
        data |= _DATA.get(act, set())
        metadata |= _METADATA.get(act, set())
    expected = {
        "kv overwrite, or more of the data": (f"{mount}/data/{probe_path}", data),
        "kv more of the metadata": (f"{mount}/metadata/{probe_path}", metadata),
        **{f"kv {kind} versions": (f"{mount}/{kind}/{probe_path}", set()) for kind in _NEVER},
    }
    beside = list(_beside(asker, mount, folder))
    capabilities = asker.capabilities([*(path for path, _ in expected.values()), *beside])
    for action, (path, given) in expected.items():
        yield action, bool(capabilities[path] - given), False
    yield "kv beside any part of the path", any(capabilities[path] for path in beside), False


def _beside(asker: CapabilityChecker, mount: str, folder: str) -> Iterator[str]:
    """Yield paths that differ from a payload's path in one segment above its DAG, of the folder and below it."""
    above, _, dag = folder.rpartition("/")
    for kind in ("data", "metadata"):
        for path in (*asker.beside(f"{mount}/{kind}/{above}"), f"{mount}/{kind}/{above}-{asker.probe}"):
            yield from (path, f"{path}/{dag}", f"{path}/{dag}/verify")


def _folders(
    asker: CapabilityChecker, mount: str, prefix: str, folder: str, acts: set[Act]
) -> Iterator[tuple[str, str, bool, bool]]:
    listing = {"list"} if "rewrap" in acts else set()
    other = f"{prefix}/{asker.probe}".strip("/")
    expected = [
        ("the folder", "kv more of the folder", f"{mount}/metadata/{folder}", listing),
        ("another folder", "kv data", f"{mount}/data/{other}/verify", set[str]()),
        ("another folder", "kv metadata", f"{mount}/metadata/{other}/verify", set[str]()),
        ("the mount", "kv data", f"{mount}/data/{asker.probe}", set[str]()),
        ("the mount", "kv metadata", f"{mount}/metadata/{asker.probe}", set[str]()),
        ("the mount", "kv settings", f"{mount}/config", set[str]()),
    ]
    capabilities = asker.capabilities([path for _, _, path, _ in expected])
    yield "the folder", "kv list", asker.may("LIST", f"{mount}/metadata/{folder}"), bool(listing)
    for place, action, path, given in expected:
        yield place, action, bool(capabilities[path] - given), False
