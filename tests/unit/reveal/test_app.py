"""The HTTP interface: what is handed out, and each refusal by its class."""

from __future__ import annotations

import base64
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.attempt import Attempt
from secure_xcom.core.cobblestone import Cobblestone256Decryptor
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import encryption_context
from secure_xcom.core.reference import parse
from secure_xcom.core.store_errors import StoreUnavailable
from secure_xcom.keys import DataKey, Wrap
from secure_xcom.keys.vault_context import transit_context
from secure_xcom.stores import store
from tests.support.reveal_service import (
    AIRFLOW,
    KEY,
    ORIGIN,
    VAULT,
    Issuer,
    RevealWorld,
    body,
    policy_text,
    request_headers,
)
from tests.support.world import coordinate

# It does not compress, so it is not kept inline, and it is sent in several pieces.
LARGE = os.urandom(400_000).hex()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RevealWorld]:
    """The service."""
    made = RevealWorld(tmp_path)
    yield made
    made.close()


def ask(
    world: RevealWorld, *, headers: dict[str, str] | None = None, token: str | None = None, **changes: Any
) -> tuple[int, dict[str, Any]]:
    """The status and the answer of a request."""
    sent = headers or request_headers(world.issuer.token() if token is None else token)
    with world.client() as client:
        response = client.post("/v1/reveal", headers=sent, json=body(**changes))
    return response.status_code, response.json()


def refusal(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    """The status and the class of a refusal, which has no bytes of any XCom."""
    status, record = answer
    assert set(record) == {"error", "what", "where", "remedy"}
    return status, record["error"]


def live_attempt(world: RevealWorld) -> str:
    """The current attempt of the only task instance."""
    (attempt,) = world.table.attempts.values()
    return str(attempt)


def events(world: RevealWorld) -> list[dict[str, Any]]:
    """What the access log has of reveals."""
    return [record for record in world.sink.records if record["action"] == "reveal"]


# --- what is handed out -----------------------------------------------------------------------------------


def test_a_viewer_gets_what_opens_the_value(world: RevealWorld) -> None:
    """The answer has the head, the sealed payload, and a wrap that the key service opens in the given context."""
    reference = parse(world.put({"answer": 42}))
    status, answer = ask(world)
    assert status == 200
    assert answer["head"] == reference.head.dump()
    assert (answer["person"], answer["compartment"], answer["rule"]) == ("ana@example.com", "orders", "viewers[0]")
    assert answer["data"] is None
    (wrap,) = answer["wraps"]
    context = encryption_context("orders", coordinate())
    assert (wrap["mount"], wrap["key"]) == ("transit", "orders")
    assert base64.b64decode(wrap["context"]) == transit_context(context)
    (key,) = world.keys.unwrap_many([Wrap(wrap["wrapped"], context)])
    assert isinstance(key, DataKey)
    decryptor = Cobblestone256Decryptor(key.secret, reference.head.canonical())
    payload = base64.b64decode(answer["payload"])
    assert decryptor.update(payload) + decryptor.finalize() == b'{"answer":42}'


def test_a_payload_of_a_store_comes_in_pieces(world: RevealWorld) -> None:
    """A payload that is an object, and longer than a piece, arrives whole."""
    reference = parse(world.put(LARGE))
    assert reference.head.object is not None
    with world.client() as client:
        response = client.post("/v1/reveal", headers=request_headers(world.issuer.token()), json=body())
    assert response.status_code == 200
    assert response.text.count('"payload"') == 1
    answer = response.json()
    payload = base64.b64decode(answer["payload"])
    assert len(payload) == answer["seal"]["size"] == reference.size
    assert payload[:56] == base64.b64decode(answer["seal"]["header"])


def test_the_event_is_written_before_the_answer(world: RevealWorld) -> None:
    """The answer names the event, which has the person, the reason, the rule and the keys."""
    world.put({"password": "s3cr3t-of-orders"})
    _, answer = ask(world)
    (event,) = events(world)
    assert event["id"] == answer["event"]
    assert (event["outcome"], event["operator"], event["reason"]) == ("ok", "ana@example.com", "incident 4711")
    assert (event["rule"], event["keys"]) == ("viewers[0]", [{"uri": KEY, "version": 1}])
    assert event["sensitive"] is True
    assert "opened_by" not in event
    assert "s3cr3t" not in json.dumps(answer)


def test_the_page_learns_which_names_are_sensitive(tmp_path: Path) -> None:
    """The names come with the value, and whether all of it is masked."""
    world = RevealWorld(
        tmp_path, extra="    mask_values: all", settings=Settings.parse({"not_sensitive_names": "token_kind"})
    )
    world.put(1)
    _, answer = ask(world)
    assert answer["sensitive"] == {
        "names": ["password", "token"],
        "listed": [],
        "exceptions": ["token_kind"],
        "all": True,
    }
    world.close()


def test_the_wraps_of_other_keys_stay_here(world: RevealWorld) -> None:
    """A wrap by a key that is not the compartment's own is not handed out beside one that is."""
    record = world.put(1)
    record["keys"].append({"uri": "vault://vault_xcom/transit/keys/other", "wrapped": "vault:v1:AAAA"})
    world.table.put(coordinate(), record)
    status, answer = ask(world)
    assert status == 200
    assert [wrap["key"] for wrap in answer["wraps"]] == ["orders"]


@pytest.mark.parametrize("archived", [False, True])
def test_the_current_attempt_or_the_named_one(tmp_path: Path, archived: bool) -> None:
    """On Airflow 3.4 a request reaches the current attempt, or the attempt that it names."""
    world = RevealWorld(tmp_path, Schema.ATTEMPTS)
    at = coordinate()
    world.table.put(at, None)
    first = live_attempt(world)
    world.put("first", coordinate(attempt=Attempt(first)))
    world.table.retry(at)
    second = live_attempt(world)
    world.put("second", coordinate(attempt=Attempt(second)))
    status, answer = ask(world, attempt=first if archived else None)
    assert status == 200
    assert answer["head"]["attempt"] == (first if archived else second)
    assert refusal(ask(world, attempt=str(uuid.uuid4()))) == (404, "XComNotFound")
    world.close()


def test_a_row_of_another_attempt_is_refused(tmp_path: Path) -> None:
    """A reference that was copied from an earlier try into the row of a later one is refused."""
    world = RevealWorld(tmp_path, Schema.ATTEMPTS)
    at = coordinate()
    world.table.put(at, None)
    first = live_attempt(world)
    reference = world.put("first", coordinate(attempt=Attempt(first)))
    world.table.retry(at)
    world.table.put(at, reference)
    assert refusal(ask(world)) == (409, "AttemptMismatch")
    world.close()


def test_several_iterations_need_an_attempt(tmp_path: Path) -> None:
    """A coordinate of several iterations of a loop is refused; one that names its attempt is revealed."""
    world = RevealWorld(tmp_path, Schema.ATTEMPTS)
    region, at = uuid.uuid4(), coordinate()
    for index in range(3):
        world.table.iterate(at, region, index, world.world.push(index, at))
    assert refusal(ask(world)) == (409, "CoordinateMismatch")
    table = world.table.tables.tables["task_instance"]
    with world.table.engine.connect() as connection:
        some = connection.execute(table.select()).mappings().first()
    assert some is not None
    assert ask(world, attempt=str(some["id"]))[0] == 200
    world.close()


# --- who asks -----------------------------------------------------------------------------------------------


def _other_key() -> Issuer:
    return Issuer(signers={"key-1": ("RS256", rsa.generate_private_key(65537, 2048))})


def test_a_person_of_no_viewing_group_is_refused(world: RevealWorld) -> None:
    """Somebody else's token gets nothing, and learns not even whether there is an XCom."""
    world.put(1)
    token = world.issuer.token(person="mia@example.com", groups=["secure-xcom-viewers-marketing"])
    there = ask(world, token=token)
    assert refusal(there) == (403, "AccessRefused")
    absent = ask(world, token=token, at=coordinate(task_id="absent"))
    assert {**there[1], "where": ""} == {**absent[1], "where": ""}
    assert [(event["outcome"], event["operator"]) for event in events(world)] == [
        ("refused", "mia@example.com")
    ] * 2


def test_a_changed_policy_is_in_force_at_once(world: RevealWorld) -> None:
    """Who was taken out of the viewers is refused with the next request; a broken policy closes the service."""
    world.put(1)
    assert ask(world)[0] == 200
    world.write_policy(policy_text(world.store_uri, viewers="somebody-else"))
    assert refusal(ask(world)) == (403, "AccessRefused")
    world.write_policy("version: 1\ncompartments: [")
    assert refusal(ask(world)) == (503, "PolicyInvalid")
    with world.client() as client:
        assert client.get("/healthz").status_code == 503


@pytest.mark.parametrize(
    ("token", "status"),
    [
        (lambda world: "", 401),
        (lambda world: "a.b.c", 401),
        (lambda world: world.issuer.token(exp=int(time.time()) - 1), 401),
        (lambda world: world.issuer.token(aud="airflow"), 401),
        (lambda world: world.issuer.token(iss="https://elsewhere.example.com"), 401),
        (lambda world: _other_key().token(), 401),
        (lambda world: world.issuer.token(person=None), 401),
    ],
)
def test_who_proves_nothing_is_refused(world: RevealWorld, token: Any, status: int) -> None:
    """A token that is missing, malformed, expired, for others, of others or forged gives nothing and no event."""
    world.put(1)
    assert refusal(ask(world, token=token(world))) == (status, "IdentityRefused")
    assert events(world) == []


def test_the_header_must_be_a_bearer_token(world: RevealWorld) -> None:
    """A token in another scheme, or in a cookie, is none."""
    world.put(1)
    token = world.issuer.token()
    headers = request_headers(token) | {"Authorization": f"Basic {token}", "Cookie": f"_token={token}"}
    assert refusal(ask(world, headers=headers)) == (401, "IdentityRefused")


@pytest.mark.parametrize("origin", [AIRFLOW, "https://evil.example.com", "null", f"{ORIGIN}/", ORIGIN.upper(), ""])
def test_only_our_own_page_may_ask(world: RevealWorld, origin: str) -> None:
    """Another origin, Airflow's among them, is refused before the token is looked at."""
    world.put(1)
    assert refusal(ask(world, headers=request_headers("", Origin=origin))) == (403, "RevealOriginRefused")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_form_is_refused(world: RevealWorld, content_type: str) -> None:
    """What a page elsewhere can send without being asked is no request."""
    headers = request_headers(world.issuer.token(), Content_Type=content_type)
    assert refusal(ask(world, headers=headers)) == (400, "RevealRequestInvalid")


def test_the_eleventh_in_a_minute_is_refused(world: RevealWorld) -> None:
    """Ten in a minute for each person; the refusals are one event, and after a minute it goes on."""
    world.put(1)
    token = world.issuer.token()
    with world.client() as client:
        codes = [
            client.post("/v1/reveal", headers=request_headers(token), json=body()).status_code for _ in range(13)
        ]
    assert codes == [200] * 10 + [429] * 3
    assert [event["outcome"] for event in events(world)] == ["ok"] * 10 + ["refused"]
    other = world.issuer.token(person="bob@example.com")
    assert ask(world, token=other)[0] == 200
    world.clock += 61
    assert ask(world)[0] == 200


# --- what is asked for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": ""},
        {"reason": "  "},
        {"reason": 7},
        {"reason": "x" * 501},
        {"reason": "two\nlines"},
        {"attempt": "not-a-uuid"},
        {"reference": {"secure_xcom": 1}},
        {"coordinate": None},
        {"coordinate": {"dag_id": "orders"}},
    ],
)
def test_a_malformed_request_is_refused(world: RevealWorld, changes: dict[str, Any]) -> None:
    """A reason is required; a field that is unknown, such as a reference, or of another type, is refused."""
    assert refusal(ask(world, **changes)) == (400, "RevealRequestInvalid")


@pytest.mark.parametrize("index", [True, 1.5, "1", -2, 2**31])
def test_a_map_index_is_a_whole_number(world: RevealWorld, index: object) -> None:
    """No other number reaches the database."""
    record = body()["coordinate"] | {"map_index": index}
    assert refusal(ask(world, coordinate=record)) == (400, "RevealRequestInvalid")


def test_a_long_body_is_refused(world: RevealWorld) -> None:
    """A body is read up to its limit only."""
    with world.client() as client:
        response = client.post("/v1/reveal", headers=request_headers(""), content=b'"' + b"x" * 20_000)
        assert refusal((response.status_code, response.json())) == (400, "RevealRequestInvalid")
        nested = client.post("/v1/reveal", headers=request_headers(world.issuer.token()), content=b"[" * 16_000)
    assert refusal((nested.status_code, nested.json())) == (400, "RevealRequestInvalid")


def test_an_id_that_cannot_be_one_is_refused(world: RevealWorld) -> None:
    """An id with a NUL never reaches the database."""
    record = body()["coordinate"] | {"task_id": "a\x00b"}
    assert refusal(ask(world, coordinate=record)) == (400, "CoordinateInvalid")


# --- what is in the row -------------------------------------------------------------------------------------


def test_an_absent_xcom(world: RevealWorld) -> None:
    """A viewer is told that there is no such XCom."""
    assert refusal(ask(world)) == (404, "XComNotFound")
    assert events(world)[0]["error"] == "XComNotFound"


def test_a_dag_of_no_compartment(world: RevealWorld) -> None:
    """There are no viewers where there is no compartment."""
    assert refusal(ask(world, at=coordinate(dag_id="stray"))) == (403, "CompartmentUnknown")


@pytest.mark.parametrize("value", ["plain", {"some": "value"}, None, [1, 2]])
def test_a_plain_value_is_not_shown(world: RevealWorld, value: object) -> None:
    """A row without a reference is none of this service's."""
    world.table.put(coordinate(), value)
    assert refusal(ask(world)) == (409, "PlaintextRefused")


@pytest.mark.parametrize(
    ("field", "other"), [("task_id", "load"), ("key", "another"), ("run_id", "manual__2"), ("map_index", "3")]
)
def test_an_edited_head_is_refused(world: RevealWorld, field: str, other: str) -> None:
    """A head that says another coordinate belongs to another row."""
    record = world.put(1)
    record["head"][field] = other
    world.table.put(coordinate(), record)
    assert refusal(ask(world)) == (409, "CoordinateMismatch")


def test_a_head_of_another_compartment(world: RevealWorld) -> None:
    """The compartment is the DAG's own, whatever the head says."""
    record = world.put(1)
    record["head"]["compartment"] = "other"
    world.table.put(coordinate(), record)
    assert refusal(ask(world)) == (403, "CompartmentUnknown")


def test_an_object_elsewhere(world: RevealWorld) -> None:
    """An object outside the compartment's stores, or of another coordinate, is never fetched."""
    record = world.put(LARGE)
    name = record["head"]["object"]
    unique = name[-36:]
    for elsewhere in (
        f"memory://elsewhere/orders/orders/{unique}",
        f"{world.store_uri}other/other/orders/manual__1/extract/-1/{unique}",
        name.replace("/extract/", "/load/"),
        f"{name[:-36]}../{unique}",
        f"file:///etc/{unique}",
    ):
        record["head"]["object"] = elsewhere
        world.table.put(coordinate(), record)
        assert refusal(ask(world)) == (409, "ContextRefused"), elsewhere


def test_a_key_elsewhere(world: RevealWorld) -> None:
    """A wrap by a key that is not the compartment's is not handed out."""
    record = world.put(1)
    for uri in ("vault://vault_xcom/transit/keys/other", "vault://evil/transit/keys/orders", "local:///k.json"):
        record["keys"] = [{"uri": uri, "wrapped": record["keys"][0]["wrapped"]}]
        world.table.put(coordinate(), record)
        assert refusal(ask(world)) == (409, "ContextRefused")


def test_a_compartment_without_a_key_in_vault(tmp_path: Path) -> None:
    """No browser opens what no Vault wrapped."""
    world = RevealWorld(tmp_path)
    world.write_policy(policy_text(world.store_uri, key="local:///keys/orders.json"))
    record = world.put(1)
    record["keys"][0]["uri"] = "local:///keys/orders.json"
    world.table.put(coordinate(), record)
    assert refusal(ask(world)) == (409, "ContextRefused")
    world.close()


def test_an_expired_xcom(tmp_path: Path) -> None:
    """Retention holds for people too."""
    world = RevealWorld(tmp_path, extra="    retention: 1m")
    record = world.put(1)
    record["head"]["expires"] = "2026-01-01T00:00:00Z"
    world.table.put(coordinate(), record)
    assert refusal(ask(world)) == (410, "ReferenceExpired")
    world.close()


def test_an_exclusive_xcom(tmp_path: Path) -> None:
    """An exclusive XCom is for one task instance, and so is one that the policy has made exclusive since."""
    world = RevealWorld(tmp_path, extra="    exclusive: [once]")
    at = coordinate(key="once")
    record = world.put(1, at)
    assert record["head"]["exclusive"] == "store"
    assert refusal(ask(world, at=at)) == (403, "ClaimRefused")
    shredded = {**record, "keys": [], "shredded": "2026-01-01T00:00:00Z"}
    shredded.pop("preview", None)
    world.table.put(at, shredded)
    assert refusal(ask(world, at=at)) == (410, "ReferenceShredded")
    world.close()


def test_a_key_that_became_exclusive(world: RevealWorld) -> None:
    """What the policy makes exclusive is not shown any more, also where the head does not say so."""
    world.put(1)
    world.write_policy(policy_text(world.store_uri, extra="    exclusive: [return_value]"))
    assert refusal(ask(world)) == (403, "ClaimRefused")


def test_a_value_over_the_limit(tmp_path: Path) -> None:
    """What is larger than may be revealed is not fetched."""
    world = RevealWorld(tmp_path, settings=Settings.parse({"max_bytes": "1000"}))
    world.put(LARGE[:2000])
    assert refusal(ask(world)) == (413, "ValueTooLarge")
    world.close()


def test_a_row_that_is_too_long(world: RevealWorld) -> None:
    """A row that is longer than references are is not read."""
    world.table.put(coordinate(), {"secure_xcom": 1, "head": "x" * 200_000})
    assert refusal(ask(world)) == (409, "ReferenceMalformed")


def test_a_swapped_object(world: RevealWorld) -> None:
    """An object that is not the sealed payload, or longer, is not handed out; the log says that it was refused."""
    record = world.put(LARGE)
    path = record["head"]["object"].removeprefix(f"{world.store_uri}/")
    payload = b"".join(store(world.store_uri).get(path))
    for bad, error in (
        (payload[:-1], "PayloadTruncated"),
        (payload + b"x", "PayloadTruncated"),
        (b"x" * len(payload), "PayloadSwapped"),
    ):
        store(world.store_uri).delete_many([path])
        store(world.store_uri).put(path, [bad])
        assert refusal(ask(world)) == (409, error)
    assert {event["outcome"] for event in events(world)} == {"refused"}


# --- what fails ---------------------------------------------------------------------------------------------


def test_without_a_sink_there_are_no_bytes(world: RevealWorld) -> None:
    """An access log that takes no event gives nothing out, and once it does, the refusal is in it."""
    world.put(1)
    world.sink.full = True
    assert refusal(ask(world)) == (503, "AuditError")
    world.sink.full = False
    assert ask(world)[0] == 200


def test_without_the_database(world: RevealWorld) -> None:
    """A database that is away is our error, without its text."""
    world.put(1)
    world.table.execute("ALTER TABLE xcom RENAME TO away")
    status, record = ask(world)
    assert refusal((status, record)) == (503, "DatabaseFailed")
    assert "SELECT" not in json.dumps(record)
    assert events(world)[0]["outcome"] == "failed"


def test_without_the_store(tmp_path: Path) -> None:
    """A store that is away is a failure in the log, and nothing is handed out."""

    class Away:
        uri = "memory://away"

        def get_many(self, *_: object) -> Iterator[StoreUnavailable]:
            yield StoreUnavailable("away", where=self.uri)

    world = RevealWorld(tmp_path, stores=lambda _: Away())  # type: ignore[arg-type, return-value]  # all it needs
    world.put(LARGE)
    assert refusal(ask(world)) == (502, "StoreUnavailable")
    assert events(world)[0]["outcome"] == "failed"
    world.close()


def test_a_foreign_error_is_not_told(world: RevealWorld) -> None:
    """The text of an error that is not ours stays in the service's log."""

    def policy() -> AccessPolicy:
        raise ZeroDivisionError("something with s3cr3t in it")

    object.__setattr__(world.service, "policy", policy)
    status, record = ask(world)
    assert refusal((status, record)) == (500, "RevealError")
    assert "s3cr3t" not in json.dumps(record)


# --- pages and headers --------------------------------------------------------------------------------------


def test_the_configuration_of_the_page(world: RevealWorld) -> None:
    """The page learns where people log in, and nothing of compartments."""
    with world.client() as client:
        record = client.get("/config.json").json()
    assert record["mode"] == "browser"
    assert record["airflow_origin"] == AIRFLOW
    assert record["vault"] == {
        "address": VAULT,
        "namespace": None,
        "auth_mount": "oidc",
        "role": "secure-xcom-reveal",
        "token_role": "secure-xcom-reveal",
    }
    assert (record["max_bytes"], record["hide_after_seconds"]) == (8 << 20, 60)
    assert "orders" not in json.dumps(record)


@pytest.mark.parametrize("path", ["/", "/login", "/config.json", "/v1/reveal", "/healthz", "/metrics", "/nowhere"])
def test_every_answer_has_the_headers(world: RevealWorld, path: str) -> None:
    """Only the page itself may be framed, and by Airflow alone; nothing is kept, sniffed or referred to."""
    with world.client() as client:
        headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert f"connect-src 'self' {VAULT};" in policy
    assert (f"frame-ancestors {AIRFLOW};" in policy) == (path == "/")
    assert ("frame-ancestors 'none';" in policy) == (path != "/")
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert ("unsafe-none" in headers["cross-origin-opener-policy"]) == (path == "/login")
    assert "server" not in headers


@pytest.mark.parametrize("path", ["../request.py", "..%2frequest.py", "%2e%2e/request.py", "/etc/passwd", "x"])
def test_no_other_file_is_served(world: RevealWorld, path: str) -> None:
    """A path never leaves the page's own files."""
    with world.client() as client:
        response = client.get(f"/static/{path}")
    assert refusal((response.status_code, response.json())) == (404, "RevealError")


def test_the_metrics_count_and_name_nobody(world: RevealWorld) -> None:
    """Answers are counted by outcome and class; no id and no person is a label."""
    world.put(1)
    ask(world)
    ask(world, token=world.issuer.token(groups=[]))
    ask(world, token="")
    with world.client() as client:
        text = client.get("/metrics").text
    assert 'secure_xcom_reveal_requests_total{outcome="ok",error=""} 1' in text
    assert 'secure_xcom_reveal_requests_total{outcome="refused",error="AccessRefused"} 1' in text
    assert 'secure_xcom_reveal_requests_total{outcome="refused",error="IdentityRefused"} 1' in text
    assert "secure_xcom_reveal_seconds_count 3" in text
    assert "ana" not in text
    assert "orders" not in text
