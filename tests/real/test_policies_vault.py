"""Compiled HCL on real servers, with raw hvac clients that nothing of this package stands before.

One server holds two compartments with a transit key each, a shared reader that may have one task's wraps, and a
maintenance identity. What each may do is written here by hand.
"""

from __future__ import annotations

import base64
import itertools
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import hvac
import pytest
from hvac.exceptions import Forbidden, InvalidRequest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.keys.vault_context import transit_context
from secure_xcom.ops.service_policies.compile.all_services import Compiled, compile_policy
from tests.proof import odd_bodies
from tests.support.servers.vault_realm import Realm

TEXT = """
version: 1
compartments:
  - name: finance
    dags: ["fin_*"]
    key_uris: ["vault://v/{transit}/keys/{fin}?grant=scoped"]
    store_uri: vault-kv://v/{kv}/data/xcom
    readers: [{{compartment: sales, of_dags: [fin_daily], of_tasks: [publish]}}]
  - name: sales
    dags: ["sales_*"]
    key_uris: ["vault://v/{transit}/keys/{sal}"]
    store_uri: vault-kv://v/{kv}/data/xcom
identities:
  - {{name: finance-worker, workers_of: [finance], vault: {{auth: approle, mount: {approle}}}}}
  - {{name: sales-worker, workers_of: [sales], vault: {{auth: approle, mount: {approle}}}}}
  - {{name: pusher, grants: [{{compartment: finance, as: writer, dags: [fin_daily]}}], vault: {{auth: other}}}}
  - name: caretaker
    grants: [{{compartment: finance, as: maintenance}}, {{compartment: sales, as: maintenance}}]
    vault: {{auth: other}}
  - {{name: auditor, grants: [{{compartment: finance, as: operator}}], vault: {{auth: other}}}}
"""
IDENTITIES = ("finance-worker", "sales-worker", "pusher", "caretaker", "auditor")
# Compartment, DAG, task of the wraps that everyone tries.
PLACES = (
    ("finance", "fin_daily", "publish"),
    ("finance", "fin_daily", "draft"),
    ("finance", "fin_other", "publish"),
    ("sales", "sales_a", "publish"),
    # Of no compartment here, but wrapped with the key of finance: only the context tells it apart.
    ("stray", "fin_daily", "publish"),
)
WHOLE = frozenset(PLACES[:3])
# Act -> identity -> where it is allowed. What is not here is denied.
ALLOWED: dict[str, dict[str, frozenset[tuple[str, str, str]]]] = {
    "encrypt": {
        "finance-worker": WHOLE,
        "sales-worker": frozenset(PLACES[3:4]),
        "pusher": frozenset(PLACES[:2]),
    },
    "decrypt": {
        "finance-worker": WHOLE,
        "sales-worker": frozenset((PLACES[0], PLACES[3])),
        "auditor": WHOLE,
    },
    "rewrap": {"caretaker": frozenset(PLACES[:4])},
    "keys": {"caretaker": frozenset(PLACES), "auditor": WHOLE | {PLACES[4]}},
    "kv-read": {
        "finance-worker": WHOLE,
        "sales-worker": frozenset((PLACES[0], PLACES[1], PLACES[3])),
        "caretaker": frozenset(PLACES[:4]),
        "auditor": WHOLE,
    },
    "kv-create": {
        "finance-worker": WHOLE,
        "sales-worker": frozenset(PLACES[3:4]),
        "pusher": frozenset(PLACES[:2]),
    },
    "kv-update": {},
    "kv-destroy": {
        "finance-worker": WHOLE,
        "sales-worker": frozenset(PLACES[3:4]),
        "pusher": frozenset(PLACES[:2]),
        "caretaker": frozenset(PLACES[:4]),
    },
    "kv-list": {"caretaker": frozenset(PLACES[:4])},
    # Batches hide their contexts, so only who has the whole key may send them.
    "decrypt-batch": {"sales-worker": frozenset(PLACES[3:4])},
    "encrypt-batch": {"sales-worker": frozenset(PLACES[3:4])},
    "rewrap-batch": {"caretaker": frozenset(PLACES[3:4])},
    "upsert": {},
    "export": {},
    "delete-key": {},
    "configure-key": {},
    "sign-in-other-mount": {},
}


@dataclass
class Site:
    """What was made on one server."""

    realm: Realm
    keys: dict[str, str]
    made: Compiled
    approle: str
    wraps: dict[tuple[str, str, str], tuple[str, str]] = field(default_factory=dict)

    def client(self, token: str) -> Any:
        """A raw client."""
        server = self.realm.server
        return hvac.Client(
            url=server.address, token=token, namespace=server.namespace or None, verify=server.ca or True
        )

    def hcl(self, identity: str) -> str:
        """An identity's compiled policy."""
        return self.made.files[f"vault/policies/secure-xcom-{identity}.hcl"]

    def matrix(self, token: str) -> frozenset[tuple[str, tuple[str, str, str]]]:
        """Every act at every place that a token is allowed."""
        client = self.client(token)
        return frozenset((act, place) for act in ALLOWED for place in PLACES if self.may(client, act, place))

    def may(self, client: Any, act: str, place: tuple[str, str, str]) -> bool:
        """Whether the server lets a request through; what it then makes of it is another matter."""
        method, path, body = self.request(act, place)
        try:
            client.adapter.request(method, f"/v1/{path}", json=body)
        except Forbidden:
            return False
        except InvalidRequest:
            # The policy let it through and the engine did not like it: a batch that is half wrong, a cas of 0.
            return True
        except hvac.exceptions.InvalidPath:
            return True
        return True

    def request(self, act: str, place: tuple[str, str, str]) -> tuple[str, str, dict[str, Any] | None]:
        """One request of an act."""
        compartment, dag, task = place
        mount, key = self.realm.transit, self.keys[compartment]
        wrapped, context = self.wraps[place]
        plain = base64.b64encode(b"k" * 32).decode()
        kv, there = self.realm.kv, f"xcom/{compartment}/{dag}/run/{task}/-1/there"
        single = {"plaintext": plain} if act.startswith("encrypt") else {"ciphertext": wrapped}
        if act in ("encrypt", "decrypt", "rewrap"):
            return "post", f"{mount}/{act}/{key}", {**single, "context": context}
        if act.endswith("-batch"):
            operation = act.removesuffix("-batch")
            return "post", f"{mount}/{operation}/{key}", {"batch_input": [{**single, "context": context}]}
        new = f"{there}-{secrets.token_hex(4)}"
        return {
            "keys": ("get", f"{mount}/keys/{key}", None),
            "kv-read": ("get", f"{kv}/data/{there}", None),
            "kv-create": ("post", f"{kv}/data/{new}", {"data": {"p": "x"}, "options": {"cas": 0}}),
            "kv-update": ("post", f"{kv}/data/{there}", {"data": {"p": "y"}}),
            "kv-destroy": ("delete", f"{kv}/metadata/{new}", None),
            "kv-list": ("list", f"{kv}/metadata/xcom/{compartment}/{dag}", None),
            "upsert": (
                "post",
                f"{mount}/encrypt/new-{secrets.token_hex(4)}",
                {"plaintext": plain, "context": context},
            ),
            "export": ("get", f"{mount}/export/encryption-key/{key}", None),
            "delete-key": ("delete", f"{mount}/keys/{key}", None),
            "configure-key": ("post", f"{mount}/keys/{key}/config", {"min_decryption_version": 1}),
            "sign-in-other-mount": ("get", f"other/{mount}/keys/{key}", None),
        }[act]


@pytest.fixture(scope="module")
def site(realm: Realm) -> Iterator[Site]:
    """Two compartments, their keys, one wrap and one payload at each place."""
    keys = {"finance": realm.new_key(), "sales": realm.new_key()}
    keys["stray"] = keys["finance"]
    approle = f"sxt-{secrets.token_hex(4)}"
    realm.server.do("POST", f"sys/auth/{approle}", {"type": "approle"})
    text = TEXT.format(transit=realm.transit, kv=realm.kv, fin=keys["finance"], sal=keys["sales"], approle=approle)
    made = compile_policy(AccessPolicy.parse(text.encode(), where="policy.yaml"))
    found = Site(realm, keys, made, approle)
    for place in PLACES:
        context = encoded(place)
        body = {"plaintext": base64.b64encode(b"k" * 32).decode(), "context": context}
        wrapped = realm.server.do("POST", f"{realm.transit}/encrypt/{keys[place[0]]}", body)["data"]["ciphertext"]
        found.wraps[place] = wrapped, context
        path = f"{realm.kv}/data/xcom/{place[0]}/{place[1]}/run/{place[2]}/-1/there"
        realm.server.do("POST", path, {"data": {"p": "sealed"}})
    yield found
    realm.server.api("DELETE", f"sys/auth/{approle}")


def encoded(place: tuple[str, str, str]) -> str:
    """The context of a wrap, as transit takes it."""
    names = ("compartment", "dag_id", "task_id")
    context = {**dict(zip(names, place, strict=True)), "run_id": "run", "map_index": "-1"}
    return base64.b64encode(transit_context(context)).decode()


def expected(identity: str) -> frozenset[tuple[str, tuple[str, str, str]]]:
    """What an identity may do, as written above."""
    return frozenset((act, place) for act, who in ALLOWED.items() for place in who.get(identity, ()))


@pytest.mark.parametrize("identity", IDENTITIES)
def test_each_identity_may_do_exactly_what_the_file_says(site: Site, identity: str) -> None:
    """Every act at every place is allowed where it should be and denied everywhere else."""
    assert site.matrix(site.realm.may(site.hcl(identity))) == expected(identity)


def test_a_compiled_role_carries_the_policy(site: Site) -> None:
    """A login through the compiled AppRole may do what its identity may."""
    realm = site.realm
    role = json.loads(site.made.files["vault/roles/sales-worker.json"])
    realm.server.do("POST", role["path"], role["body"])
    name = realm.server.new_policy(site.hcl("sales-worker"))
    realm.made.append(f"sys/policies/acl/{name}")
    realm.server.do("POST", role["path"], {"token_policies": [name]})
    role_id = realm.server.do("GET", f"{role['path']}/role-id")["data"]["role_id"]
    secret_id = realm.server.do("POST", f"{role['path']}/secret-id", {})["data"]["secret_id"]
    login = {"role_id": role_id, "secret_id": secret_id}
    auth = realm.server.do("POST", f"auth/{site.approle}/login", login)["auth"]
    assert auth["lease_duration"] == 3600
    assert site.matrix(auth["client_token"]) == expected("sales-worker")


def test_a_compiled_key_has_its_settings(site: Site) -> None:
    """Vault takes the compiled settings of a key, and the key then is what they say."""
    realm = site.realm
    name = f"{realm.transit.replace('/', '~')}~{site.keys['finance']}"
    settings = json.loads(site.made.files[f"vault/transit/{name}.json"])
    path = f"{settings['path']}-made"
    realm.server.do("POST", path, settings["create"])
    realm.server.do("POST", f"{path}/config", settings["config"])
    key = realm.server.do("GET", path)["data"]
    assert (key["derived"], key["exportable"], key["deletion_allowed"]) == (True, False, False)
    assert key["auto_rotate_period"] == 2160 * 3600


# Who has a grant that is limited by context, the place that it is limited to, and places that it is not for.
LIMITED = (
    ("decrypt", "sales-worker", PLACES[0], PLACES[1:3]),
    ("encrypt", "pusher", PLACES[0], (PLACES[2], PLACES[4])),
    ("rewrap", "caretaker", PLACES[0], PLACES[4:]),
)


@pytest.mark.parametrize(("operation", "identity", "own", "others"), LIMITED)
def test_no_odd_request_reaches_another_context(
    site: Site, operation: str, identity: str, own: Any, others: tuple[Any, ...]
) -> None:
    """Batches, other names, duplicates, lists, line ends and queries never reach a context outside of a grant."""
    server, token, key = site.realm.server, site.realm.may(site.hcl(identity)), site.keys["finance"]
    mine, plain = site.wraps[own][1], base64.b64encode(b"k" * 32).decode()
    tried = 0
    bodies: tuple[str, ...] = odd_bodies.DECRYPT
    if operation == "encrypt":
        bodies = tuple(one.replace("ciphertext", "plaintext") for one in bodies)
    for place, body, query in itertools.product(others, bodies, odd_bodies.QUERIES):
        wrapped, theirs = site.wraps[place]
        wrapped = plain if operation == "encrypt" else wrapped
        quoted = quote(theirs, safe="")
        texts = {"wrap": wrapped, "theirs": theirs, "mine": mine, "short": theirs[:64], "quoted": quoted}
        path = f"{site.realm.transit}/{operation}/{key}{query % texts}"
        answer = server.api_text("POST", path, body % texts, token)
        tried += 1
        if operation == "encrypt" and answer.ok:
            # It may wrap in contexts that begin as its own: this is no wrap of the other place.
            made = {"ciphertext": answer.json()["data"]["ciphertext"], "context": theirs}
            assert not server.api("POST", f"{site.realm.transit}/decrypt/{key}", made).ok, body
        else:
            assert not answer.ok, answer.text
            assert plain not in answer.text
    assert tried == len(others) * 100
