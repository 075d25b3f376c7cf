"""A worker's process: nothing but its own environment, a job on standard input, its answer on standard output.

    python -m tests.proof.worker push|pull|attack < JOB.json

The environment holds what Airflow gives a task: the settings, the connections of this worker's identity, and the
ids of the task. In an attack the process belongs to the attacker, who patches our checks as he likes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

Row = dict[str, Any]


def push(job: dict[str, Any]) -> Any:
    """Push values as Airflow does; the references that its database would hold."""
    from secure_xcom import SecureXComBackend

    return [SecureXComBackend.serialize_value(one["value"], **one["at"]) for one in job["xcoms"]]


def pull(job: dict[str, Any]) -> Any:
    """Pull rows as Airflow does; the value, or the name of the error."""
    from secure_xcom import SecureXComBackend, SecureXComError

    found: list[dict[str, Any]] = []
    for row in job["rows"]:
        try:
            found.append({"value": SecureXComBackend.deserialize_value(SimpleNamespace(value=row))})
        except SecureXComError as error:
            found.append({"error": type(error).__name__, "text": str(error)})
    return found


def attack(job: dict[str, Any]) -> Any:
    """Every route to somebody else's XCom. A row for each: the wall, the route, what came back."""
    from tests.proof import bucket_routes, vault_routes

    rows = list(with_our_code(job["rows"]))
    rows += vault_routes.rows(json.loads(os.environ["AIRFLOW_CONN_VAULT_XCOM"]), job)
    rows += bucket_routes.rows(json.loads(os.environ["AIRFLOW_CONN_S3_XCOM"]), job)
    return rows


def with_our_code(rows: list[Any]) -> Iterator[Row]:
    """Our own code with its checks patched out: the whole pull, then each half of it by itself."""
    from secure_xcom import SecureXComBackend
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.access_policy.verdict import Verdict
    from secure_xcom.core.coordinate import encryption_context
    from secure_xcom.core.pipeline.open_payload import place_within
    from secure_xcom.core.reference import parse
    from secure_xcom.keys import DataKey, Wrap, key_service
    from secure_xcom.stores import store

    def always(self: AccessPolicy, coordinate: Any, compartment: str, consumer: Any) -> Verdict:
        return Verdict(self.resolve(coordinate), "patched")

    AccessPolicy.decide = always  # type: ignore[method-assign]  # it is the attacker's own process
    policy = AccessPolicy.load(os.environ["AIRFLOW__SECURE_XCOM__ACCESS_POLICY"])
    for number, row in enumerate(rows):
        reference = parse(row)
        own = policy.resolve(reference.head.coordinate)
        wrap = Wrap(reference.keys[0].wrapped, encryption_context(own.name, reference.head.coordinate))
        uri, path = place_within(reference, own, "") or ("", "")
        single = key_service(own.key_uris[0])
        whole = key_service(own.key_uris[0].partition("?")[0])
        wall = "vault" if uri.startswith("vault-kv") else "bucket"
        where = store(uri)
        ways: dict[str, tuple[str, Callable[[], Any]]] = {
            "pull": (
                "vault and bucket",
                partial(SecureXComBackend.deserialize_value, SimpleNamespace(value=row)),
            ),
            "unwrap": ("vault", partial(single.unwrap_many, [wrap])),
            "unwrap two at once": ("vault", partial(whole.unwrap_many, [wrap] * 2)),
            "rewrap": ("vault", partial(single.rewrap_many, [wrap])),
            "wrap": ("vault", partial(single.wrap, DataKey.generate(), wrap.context)),
            "get": (wall, partial(_listed, where.get, path)),
            "list": (wall, partial(_listed, where.list, "finance/")),
            "delete": (wall, partial(where.delete_many, [path])),
        }
        for what, (behind, call) in ways.items():
            yield _tried(behind, f"our code: {what} of row {number}", call)


def _listed(call: Callable[[str], Any], path: str) -> list[Any]:
    return list(call(path))


def _tried(wall: str, route: str, call: Callable[[], Any]) -> Row:
    try:
        found = call()
    except Exception as error:  # noqa: BLE001  # an attacker takes what comes
        found = error
    if isinstance(found, list) and len(found) and isinstance(found[0], Exception):
        # What is wrong with one of many stands in its place.
        found = found[0]
    if isinstance(found, Exception):
        return {"wall": wall, "route": route, "status": type(found).__name__, "body": str(found)}
    return {"wall": wall, "route": route, "status": "opened", "body": repr(found)}


if __name__ == "__main__":
    print(json.dumps({"push": push, "pull": pull, "attack": attack}[sys.argv[1]](json.load(sys.stdin))))
