"""The way of a value, in memory: what comes back, what is refused, and what is left behind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from secure_xcom.core.access_policy.compartment import Compartment, Reader
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Asked, TaskTry, object_uri
from secure_xcom.core.errors import (
    AuditError,
    CodecUnknown,
    CompartmentUnknown,
    ContextRefused,
    CoordinateMismatch,
    HeadTampered,
    KeyServiceUnavailable,
    ObjectMissing,
    PayloadSwapped,
    PayloadTampered,
    PayloadTruncated,
    PlaintextRefused,
    ReferenceExpired,
    SecureXComError,
    UnwrapRefused,
    ValueNotSerialisable,
    ValueTooLarge,
)
from secure_xcom.core.pipeline.push_and_pull import Push, Row
from secure_xcom.core.policy_errors import AccessRefused
from secure_xcom.core.service_errors import ConnectionUnknown, KeyServiceDenied
from secure_xcom.stores import Store, store
from tests.support.doubles import MemoryStores
from tests.support.world import World, coordinate

CONSUMER = TaskTry("orders", "manual__1", "load", -1, 1)


@pytest.fixture
def world() -> World:
    """A deployment in memory."""
    return World()


def object_path(world: World, reference: dict[str, Any]) -> str:
    """Where the reference's object lies in its store."""
    return str(reference["head"]["object"]).removeprefix(f"{world.store.uri}/")


def stored(world: World, reference: dict[str, Any]) -> bytes:
    """The reference's sealed payload."""
    return b"".join(world.store.get(object_path(world, reference)))


def replace(world: World, reference: dict[str, Any], payload: bytes) -> None:
    """Put other bytes where the reference's object lies, as somebody with the bucket can."""
    world.store.delete_many([object_path(world, reference)])
    world.store.put(object_path(world, reference), [payload])


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        "",
        "text",
        1.5,
        float("inf"),
        10**100,
        [],
        {},
        {"a": [1, {"b": None}]},
        "\ud800",
        b"",
        b"raw",
        "x" * 1_000_000,
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:6]!a}",
)
def test_round_trip(world: World, value: object) -> None:
    """A value comes back equal and of the same type, in another process."""
    pulled = world.pull(world.push(value))
    assert pulled == value
    assert type(pulled) is type(value)


def test_nothing_readable_lies_anywhere(world: World) -> None:
    """Neither the reference nor the object nor the access log holds the value."""
    reference = world.push({"password": "hunter2-hunter2", "user": "someone-special"})
    lying = json.dumps(reference).encode() + stored(world, reference) + json.dumps(world.sink.records).encode()
    assert b"hunter2" not in lying
    assert b"someone-special" not in lying


def test_one_wrap_serves_a_try(world: World) -> None:
    """All XComs of one try share one wrap, and a new try has a key of its own."""
    for key in ("a", "b", "c"):
        world.push(1, coordinate(key=key))
    assert world.service("memory-key://one").requests["wrap"] == 1
    world.pipeline.push([Push(coordinate(), 1)], producer=TaskTry("orders", "r", "extract", -1, 2))
    assert world.service("memory-key://one").requests["wrap"] == 2


def test_a_list_is_unwrapped_in_one_request(world: World) -> None:
    """A mapped task's values come in order, with one request to the key service."""
    rows = [Row(world.push(index, coordinate(map_index=index))) for index in range(50)]
    assert world.process().pull(rows, order=1) == list(range(50))
    assert world.service("memory-key://one").requests["unwrap_many"] == 1


def test_inline() -> None:
    """A small payload may stay in the reference, sealed; nothing is put then."""
    world = World(Settings(inline_max_bytes=500))
    reference = world.push({"a": 1})
    assert "object" not in reference["head"]
    assert world.pull(reference) == {"a": 1}
    assert list(world.store.list()) == []


def test_a_streamed_value() -> None:
    """A payload over the streaming limit comes back the same."""
    world = World(Settings(compression="none"))
    value = bytes(range(256)) * 80_000
    assert world.pull(world.push(value)) == value


@pytest.mark.parametrize("field", ["dag_id", "run_id", "task_id", "key"])
def test_a_moved_reference_is_refused(world: World, field: str) -> None:
    """A reference that comes back for another question is refused before a key is asked for."""
    here = coordinate()
    asked = {name: getattr(here, name) for name in ("dag_id", "run_id", "task_id", "key")} | {field: "other"}
    with pytest.raises(CoordinateMismatch, match=field):
        world.process().pull([Row(world.push(1), Asked(**asked))], consumer=CONSUMER)
    assert world.service("memory-key://one").requests["unwrap_many"] == 0
    refusal = world.sink.records[-1]
    assert (refusal["action"], refusal["outcome"], refusal["error"]) == ("pull", "refused", "CoordinateMismatch")
    assert refusal["consumer"]["task_id"] == "load"


def test_references_exchanged_among_map_indexes_are_refused(world: World) -> None:
    """Rows of a mapped task must come by rising map index, though Airflow does not say which row is which."""
    rows = [Row(world.push(index, coordinate(map_index=index))) for index in range(4)]
    rows[1], rows[2] = rows[2], rows[1]
    with pytest.raises(CoordinateMismatch):
        world.process().pull(rows, order=1)
    with pytest.raises(CoordinateMismatch):
        world.process().pull([rows[0], rows[0]], order=1)


@pytest.mark.parametrize(
    ("field", "text", "error"),
    [
        ("dag_id", "other", ContextRefused),
        ("run_id", "other", ContextRefused),
        ("task_id", "other", ContextRefused),
        ("map_index", "3", ContextRefused),
        ("key", "other", HeadTampered),
        ("compartment", "other", CompartmentUnknown),
        ("codec", "bytes", HeadTampered),
        ("compression", "zstd", HeadTampered),
        ("created", "2020-01-01T00:00:00Z", HeadTampered),
        ("expires", "2999-01-01T00:00:00Z", HeadTampered),
        ("expires", "2020-01-01T00:00:00Z", ReferenceExpired),
    ],
)
def test_an_edited_head_is_refused(world: World, field: str, text: str, error: type[SecureXComError]) -> None:
    """Nothing in the head can be changed, even where nobody says what was asked for."""
    reference = world.push({"a": 1})
    reference["head"][field] = text
    with pytest.raises(error):
        world.pull(reference)


def test_an_edited_inline_head_is_refused_by_the_key() -> None:
    """Without an object the edited coordinate is refused by the wrap's encryption context."""
    world = World(Settings(inline_max_bytes=500))
    reference = world.push(1)
    reference["head"]["task_id"] = "other"
    with pytest.raises(UnwrapRefused):
        world.pull(reference)


def test_an_edited_payload_is_refused(world: World) -> None:
    """A changed byte of the object is found."""
    reference = world.push({"a": 1})
    payload = bytearray(stored(world, reference))
    payload[-1] ^= 1
    replace(world, reference, bytes(payload))
    with pytest.raises(PayloadTampered):
        world.pull(reference)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_cut_or_extended_payload_is_refused(world: World, change: int) -> None:
    """An object of another length is found."""
    reference = world.push({"a": 1})
    payload = stored(world, reference)
    replace(world, reference, payload[:change] if change < 0 else payload + b"x")
    with pytest.raises(PayloadTruncated):
        world.pull(reference)


def test_a_swapped_and_an_older_object_are_refused(world: World) -> None:
    """Neither another XCom's object nor this XCom's earlier one opens in this one's place."""
    older, newer = world.push({"a": 1}), world.push({"a": 2})
    other = world.push({"a": 3}, coordinate(task_id="other"))
    for payload in (stored(world, older), stored(world, other)):
        replace(world, newer, payload)
        with pytest.raises(PayloadSwapped):
            world.pull(newer)


def test_a_missing_object_is_an_error(world: World) -> None:
    """A payload that is gone is never None."""
    reference = world.push({"a": 1})
    world.store.delete_many([object_path(world, reference)])
    with pytest.raises(ObjectMissing):
        world.pull(reference)


def test_a_foreign_key_uri_is_refused(world: World) -> None:
    """Who can write to the database cannot name a key of their own: it is not even asked."""
    reference = world.push({"a": 1})
    reference["keys"][0]["uri"] = "memory-key://attacker"
    with pytest.raises(ContextRefused):
        world.pull(reference)
    assert "memory-key://attacker" not in world.keys


def test_a_foreign_object_is_refused(world: World) -> None:
    """A reference cannot make a worker read from anywhere but below its own coordinate."""
    reference = world.push({"a": 1})
    for uri in (
        "memory://elsewhere/x",
        f"{world.store.uri}/default/../../x",
        world.push(1, coordinate(key="b"))["head"]["object"],
    ):
        edited = {**reference, "head": {**reference["head"], "object": uri}}
        with pytest.raises((ContextRefused, PayloadSwapped)):
            world.pull(edited)


def test_an_unknown_codec_is_refused_by_name(world: World) -> None:
    """A codec of a newer release is named in the error, once the head has proved to be authentic."""
    from secure_xcom.core.codecs import Codecs, compress, decompress

    with pytest.raises(CodecUnknown, match="'arrow'"):
        Codecs(lambda value: value, lambda value: value).decode("arrow", b"", max_bytes=1)
    with pytest.raises(CodecUnknown, match="'lzma'"):
        decompress([b""], "lzma", max_bytes=1)
    name, small = compress(b"a" * 10_000, "zstd")
    with pytest.raises(ValueTooLarge):
        decompress([small], name, max_bytes=9_999)


@pytest.mark.parametrize("mode", ["refuse", "warn", "allow"])
def test_plaintext(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    """A row without a reference is refused, or given and recorded, as the setting says."""
    world = World(Settings(on_plaintext=mode))
    asked = Asked("orders", "extract", "return_value", "run")
    if mode == "refuse":
        with pytest.raises(PlaintextRefused):
            world.pipeline.pull([Row({"a": 1}, asked)])
    else:
        assert world.pipeline.pull([Row({"a": 1}, asked)]) == [{"a": 1}]
        assert ("without a reference" in caplog.text) == (mode == "warn")
    assert world.sink.records[-1]["action"] == "plaintext_seen"
    assert world.sink.records[-1]["outcome"] == ("refused" if mode == "refuse" else "ok")
    assert world.sink.records[-1]["asked"]["task_id"] == "extract"


def test_no_key_no_object(world: World) -> None:
    """A push whose wrap fails leaves nothing in the store, and is recorded."""
    world.service("memory-key://one").unavailable = True
    with pytest.raises(KeyServiceUnavailable):
        world.push({"a": 1})
    assert list(world.store.list()) == []
    assert world.sink.records[-1]["outcome"] == "failed"


def test_what_was_put_is_taken_back_at_once(world: World) -> None:
    """Of several values of which one cannot be pushed nothing stays, and the store is asked once for all."""
    stores = MemoryStores()
    pushes = [Push(coordinate(key=f"k{number}"), value) for number, value in enumerate([1, 2, 3, object()])]
    with pytest.raises(ValueNotSerialisable):
        world.process(stores=stores).push(pushes)
    (only,) = stores.values()
    assert (only.requests["put"], only.requests["delete_many"], only.objects) == (3, 1, {})


def test_no_audit_no_value_and_no_reference(world: World) -> None:
    """What cannot be recorded does not happen: nothing is given, and what was put is taken back."""
    reference = world.push({"a": 1})
    before = [entry.path for entry in world.store.list()]
    world.sink.full = True
    with pytest.raises(AuditError):
        world.pull(reference)
    with pytest.raises(AuditError):
        world.push({"a": 2})
    assert [entry.path for entry in world.store.list()] == before


def test_a_store_that_cannot_be_opened_is_recorded_of_its_own_xcom() -> None:
    """Of several XComs that are pulled at once, the access log has the one whose store is missing here."""
    text = "version: 1\ncompartments:\n" + "".join(
        f"  - {{name: {name}, dags: [{name}], key_uris: ['memory-key://{name}'], store_uri: 'memory://at-{name}', "
        "readers: [{dags: [missing]}]}\n"
        for name in ("missing", "here")
    )
    world = World(policy=AccessPolicy.parse(text.encode(), where="policy.yaml"), store_uri="memory://at-here")
    places = [coordinate(dag_id="missing"), coordinate(dag_id="here")]
    rows = [Row(world.push({"a": 1}, at)) for at in places]

    def stores(uri: str) -> Store:
        if uri == "memory://at-missing":
            raise ConnectionUnknown("no such connection", where=uri)
        return store(uri)

    with pytest.raises(ConnectionUnknown):
        world.process(stores=stores).pull(rows, consumer=TaskTry("missing", "manual__1", "load", -1, 1))
    assert world.sink.records[-1]["producer"]["dag_id"] == "missing"


def test_a_denied_key_is_an_error(world: World) -> None:
    """The key service's refusal reaches the task with the coordinate."""
    reference = world.push({"a": 1})
    world.service("memory-key://one").denied = True
    with pytest.raises(KeyServiceDenied, match="orders/"):
        world.pull(reference)
    assert world.sink.records[-1]["outcome"] == "refused"


def test_any_of_several_keys_opens() -> None:
    """With two key URIs each wraps, and the second opens where the first cannot; the log says which did."""
    policy = AccessPolicy.single(["memory-key://one", "memory-key://two"], "memory://pipeline")
    world = World(policy=policy, store_uri="memory://pipeline")
    reference = world.push({"a": 1})
    world.service("memory-key://one").unavailable = True
    assert world.pull(reference) == {"a": 1}
    assert world.sink.records[-1]["opened_by"] == "memory-key://two"


def test_bad_values_leave_nothing() -> None:
    """Values that are too large or cannot be serialized are refused before anything is written, unquoted."""
    world = World(Settings(max_bytes=100))
    with pytest.raises(ValueTooLarge, match="max_bytes"):
        world.push("x" * 200)
    with pytest.raises(ValueNotSerialisable, match=r"builtins\.object") as caught:
        world.push({"secret-looking": object()}["secret-looking"])
    assert "0x" not in str(caught.value)
    assert list(world.store.list()) == []


def test_masks_are_registered_on_both_ways(world: World) -> None:
    """Values under sensitive names reach the masker on push and on pull."""
    reference = world.push({"password": "hunter2-hunter2", "user": "someone"})
    assert "hunter2-hunter2" in world.masked
    assert "someone" not in world.masked
    world.masked.clear()
    world.pull(reference)
    assert "hunter2-hunter2" in world.masked


def test_compartments() -> None:
    """Another compartment's DAG is refused, a named reader is not, and an unknown consumer is refused."""
    uri = "memory://pipeline"
    compartments = [
        Compartment(
            name="a",
            dags=("a_*",),
            key_uris=("memory-key://a",),
            store_uri=uri,
            readers=(Reader(dags=("b_report",)),),
        ),
        Compartment(name="b", dags=("b_*",), key_uris=("memory-key://b",), store_uri=uri),
    ]
    world = World(policy=AccessPolicy(compartments, digest="d", consumers_known=True), store_uri=uri)
    reference = world.push(1, coordinate(dag_id="a_load"))

    def reader(dag_id: str) -> TaskTry:
        return TaskTry(dag_id, "r", "t", -1, 1)

    assert world.pull(reference, consumer=reader("a_other")) == 1
    assert world.pull(reference, consumer=reader("b_report")) == 1
    for consumer in (reader("b_load"), reader("elsewhere"), None):
        with pytest.raises(AccessRefused):
            world.pull(reference, consumer=consumer)
    with pytest.raises(CompartmentUnknown):
        world.push(1, coordinate(dag_id="nowhere"))


def test_purge_deletes_only_what_is_its_own(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A row's payload goes with the row; a reference that was copied into it cannot delete another's."""
    mine, other = world.push(1), world.push(2, coordinate(task_id="other"))
    here = coordinate()
    asked = Asked(here.dag_id, here.task_id, here.key, here.run_id, -1)
    world.pipeline.purge(Row(other, asked))
    assert world.pull(other) == 2
    assert "CoordinateMismatch" in {entry.get("error") for entry in world.sink.records}
    world.pipeline.purge(Row(mine, asked))
    with pytest.raises(ObjectMissing):
        world.pull(mine)
    world.pipeline.purge(Row({"plain": 1}, asked))


def test_the_access_log_says_what_happened(world: World) -> None:
    """Push and pull are one event each, with ids, key, object and size, and nothing else."""
    world.pull(world.push({"password": "hunter2-hunter2"}), consumer=CONSUMER)
    push, pull = world.sink.records
    assert (push["action"], pull["action"]) == ("push", "pull")
    assert (
        push["producer"]
        == pull["producer"]
        == {
            "dag_id": "orders",
            "run_id": coordinate().run_id,
            "task_id": "extract",
            "map_index": -1,
            "key": "return_value",
        }
    )
    assert pull["consumer"] == {
        "dag_id": "orders",
        "run_id": "manual__1",
        "task_id": "load",
        "map_index": -1,
        "try_number": 1,
    }
    assert pull["opened_by"] == "memory-key://one"
    assert pull["cache_hit"] is False
    assert pull["object"] == push["object"]
    assert pull["size"] == push["size"]
    assert pull["codec"] == "json"
    assert "wrapped" not in json.dumps([push, pull])
    assert "preview" not in json.dumps([push, pull])


def test_the_keys_of_another_try_are_dropped(world: World) -> None:
    """A process that goes on to another task, or to the next try, no longer has the data keys of the last one."""
    process = world.process()
    row = Row(world.push({"a": 1}))
    asked = []
    for consumer in (CONSUMER, CONSUMER, replace_try(CONSUMER, 2), None):
        process.pull([row], consumer=consumer)
        asked.append(world.service("memory-key://one").requests["unwrap_many"])
    assert asked == [1, 1, 2, 2]


def replace_try(task: TaskTry, number: int) -> TaskTry:
    """The same task instance in another try."""
    return TaskTry(task.dag_id, task.run_id, task.task_id, task.map_index, number)


@pytest.mark.parametrize(
    ("store_uri", "place"),
    [
        ("s3://aws_default@bucket/xcom", "s3://bucket/xcom"),
        ("s3://bucket/xcom/?timeout=5", "s3://bucket/xcom"),
        ("file:///sealed/a@b", "file:///sealed/a@b"),
        ("vault-kv://vault_default/secret/xcom", "vault-kv://vault_default/secret/xcom"),
    ],
)
def test_an_object_is_named_without_its_connection(store_uri: str, place: str) -> None:
    """A renamed connection or a changed option of the store leaves every reference readable."""
    assert object_uri(store_uri, "a/b") == f"{place}/a/b"
