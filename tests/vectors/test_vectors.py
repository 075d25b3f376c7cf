"""The stored vectors: made again they are the same, and every reader gives what they expect."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from secure_xcom import errors
from secure_xcom.claims.claimant import Claimant
from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.branch_routes import routes_of
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Asked, Coordinate, object_path
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Row
from secure_xcom.core.reference import HEADER_BYTES
from secure_xcom.core.seal import unseal
from secure_xcom.keys import DataKey, Wrap
from secure_xcom.keys.local import LocalKeyring
from secure_xcom.sinks.access_log import AccessLog
from tests.support import second_reader
from tests.support.doubles import MemorySink, MemoryStores
from tests.support.stopped_clock import stopped
from tests.vectors.build import CREATED, DATA_KEY
from tests.vectors.generate import FOLDER, dump, vectors

Vector = dict[str, Any]
STORED = {path.name: json.loads(path.read_text(encoding="ascii")) for path in sorted(FOLDER.glob("*.json"))}

# What the format itself decides: these the second reader must refuse as well. The other classes are about the
# product's own settings (access policy, limits, codecs, what was asked for) or about strict reading.
BY_THE_FORMAT = {
    "HeadTampered",
    "KeyVersionUnknown",
    "PayloadSwapped",
    "PayloadTampered",
    "PayloadTruncated",
    "UnwrapRefused",
}


@pytest.fixture(autouse=True)
def _on_the_day_of_the_vectors() -> Iterator[None]:
    """Read them an hour after they were written, whatever the day: some of them expire."""
    with stopped(datetime.fromisoformat(CREATED.replace("Z", "+00:00")) + timedelta(hours=1)):
        yield


def of_kind(kind: str) -> list[Any]:
    """The stored vectors of a kind, named by their files."""
    return [pytest.param(vector, id=name[:-5]) for name, vector in STORED.items() if vector["kind"] == kind]


def local_service(keyring: Vector, uri: str, folder: Path) -> LocalKeyring:
    """The key service over a vector's keyring, written to a file of its own."""
    path = folder / f"{hashlib.sha256(uri.encode()).hexdigest()}.json"
    path.touch(0o600)
    path.write_text(json.dumps(keyring), encoding="utf-8")
    return LocalKeyring(f"local://{path}")


def test_made_again_the_vectors_are_the_same() -> None:
    """The generator gives exactly the stored files, so none was edited, forgotten or left over."""
    made = {name: dump(vector) for name, vector in vectors().items()}
    assert sorted(made) == sorted(STORED)
    for name, text in made.items():
        assert (FOLDER / name).read_text(encoding="ascii") == text, name


def test_every_scenario_is_there() -> None:
    """Each vector has a sentence and one expectation, and every error that it names is one of ours."""
    assert len(STORED) > 100
    for name, vector in STORED.items():
        assert vector["title"].endswith("."), name
        if "error" in vector["expect"]:
            assert issubclass(getattr(errors, vector["expect"]["error"]), errors.SecureXComError), name
    titles = [(vector["kind"], vector["title"]) for vector in STORED.values()]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("vector", of_kind("seal"))
def test_sealed_payloads_open(vector: Vector) -> None:
    """A sealed payload opens to the expected plaintext in the product and in the second reader."""
    key, context = bytes.fromhex(vector["data_key"]), vector["context"].encode()
    message = base64.b64decode(vector["message"], validate=True)
    assert second_reader.canonical(vector["head"]) == context
    opened = b"".join(unseal(key, context, (message,), header=message[:HEADER_BYTES], size=len(message)))
    for plaintext in (opened, second_reader.unseal(key, context, message)):
        assert len(plaintext) == vector["expect"]["plaintext_bytes"]
        assert hashlib.sha256(plaintext).hexdigest() == vector["expect"]["plaintext_sha256"]


@pytest.mark.parametrize("vector", of_kind("wrap"))
def test_wraps(vector: Vector, tmp_path: Path) -> None:
    """A wrap gives the expected data key or class of error, in the product and in the second reader."""
    service = local_service(vector["keyring"], vector["key_uri"], tmp_path)
    answer = service.unwrap_many([Wrap(vector["wrapped"], vector["context"])])[0]
    if "data_key" in vector["expect"]:
        assert answer == DataKey(bytes.fromhex(vector["expect"]["data_key"]))
        again = second_reader.unwrap(vector["keyring"], vector["wrapped"], vector["context"])
        assert again.hex() == vector["expect"]["data_key"]
    else:
        assert type(answer).__name__ == vector["expect"]["error"]
        with pytest.raises(second_reader.Refused):
            second_reader.unwrap(vector["keyring"], vector["wrapped"], vector["context"])


@pytest.mark.parametrize("vector", of_kind("path"))
def test_paths(vector: Vector) -> None:
    """A coordinate's payloads lie in the expected folder."""
    fields = {**vector["coordinate"], "key": "return_value", "map_index": int(vector["coordinate"]["map_index"])}
    compartment = fields.pop("compartment")
    assert object_path(compartment, Coordinate(**fields), "") == vector["expect"]["folder"]


@pytest.mark.parametrize("vector", of_kind("pull"))
def test_pulls(vector: Vector, tmp_path: Path) -> None:
    """A row gives the expected value, or exactly the expected class of error and nothing else."""
    sink = MemorySink()
    pipeline = _pipeline(vector, sink, tmp_path)
    rows = [Row(vector["row"], Asked(**vector["asked"]))]
    expect = vector["expect"]
    claimant = Claimant(**vector["consumer"]) if "consumer" in vector else None
    if "error" in expect:
        with pytest.raises(errors.SecureXComError) as caught:
            pipeline.pull(rows, claimant=claimant)
        assert type(caught.value).__name__ == expect["error"]
        # A refused claim is one event, and the pull that it ends is another.
        assert {record["error"] for record in sink.records} == {expect["error"]}
        assert [record["action"] for record in sink.records].count("claim") == len(sink.records) - 1
    else:
        wanted = base64.b64decode(expect["bytes"]) if "bytes" in expect else expect["value"]
        [value] = pipeline.pull(rows, claimant=claimant)
        assert value == wanted
        assert type(value) is type(wanted)
        assert {record["outcome"] for record in sink.records} == {"ok"}


@pytest.mark.parametrize("vector", of_kind("pull"))
def test_pulls_in_the_second_reader(vector: Vector) -> None:
    """The second reader opens what is to be opened, and refuses what the format itself refuses."""
    objects = {uri: base64.b64decode(text) for uri, text in vector["objects"].items()}
    expect = vector["expect"]
    if "error" not in expect:
        plain = second_reader.open_reference(vector["row"], vector["keyrings"], objects.__getitem__)
        if "bytes" in expect:
            assert plain == base64.b64decode(expect["bytes"])
        elif vector["row"]["head"]["compression"] == "none":
            assert json.loads(plain) == expect["value"]
        second_reader.check_asked(vector["row"]["head"], vector["asked"])
    elif expect["error"] == "AttemptMismatch":
        with pytest.raises(second_reader.Refused):
            second_reader.check_asked(vector["row"]["head"], vector["asked"])
    elif expect["error"] in BY_THE_FORMAT or "What a branch followed" in vector["title"]:
        with pytest.raises(second_reader.Refused):
            second_reader.open_reference(vector["row"], vector["keyrings"], objects.__getitem__)


@pytest.mark.parametrize("vector", of_kind("pull"))
def test_claims_in_the_second_reader(vector: Vector) -> None:
    """The second reader takes the claims that prove themselves, for who they name, and no others."""
    for uri, text in vector["objects"].items():
        if "/~claims/" not in uri:
            continue
        head = vector["row"]["head"]
        assert uri.endswith(second_reader.claims_folder(head) + head["object"][-36:])
        record = json.loads(base64.b64decode(text))
        if vector["expect"].get("error") == "ClaimTampered":
            with pytest.raises(second_reader.Refused):
                second_reader.claimant(record, head, DATA_KEY)
            continue
        by = second_reader.claimant(record, head, DATA_KEY)
        consumer = {name: str(text) for name, text in vector["consumer"].items()}
        assert (by == consumer) is ("error" not in vector["expect"])


@pytest.mark.parametrize("vector", of_kind("pull"))
def test_what_the_scheduler_reads(vector: Vector) -> None:
    """A record that opens shows the scheduler a branching task's own ids and nothing more, without any key."""
    if "error" in vector["expect"]:
        return
    shown = second_reader.routes(vector["row"])
    value = vector["expect"].get("value")
    branches = vector["row"]["head"]["key"] == "skipmixin_key"
    assert bool(shown) is branches
    assert routes_of(vector["row"]["head"]["key"], value) == (value if branches else None)
    if "whatever it says" not in vector["title"] and branches:
        assert shown == value


def _pipeline(vector: Vector, sink: MemorySink, folder: Path) -> Pipeline:
    compartment = Compartment(dags=("*",), **vector["compartment"])
    stores = MemoryStores()
    for uri, text in vector["objects"].items():
        path = uri.removeprefix(f"{compartment.store_uri}/")
        stores(compartment.store_uri).objects[path] = base64.b64decode(text)
    return Pipeline(
        Settings(max_bytes=vector["max_bytes"], inline_max_bytes=65_536),
        AccessPolicy([compartment], digest="vectors", consumers_known=False),
        AccessLog([sink], version="vectors"),
        SensitiveNames(()),
        Codecs(lambda value: value, lambda structure: structure),
        register=lambda secrets: None,
        services=lambda uri: local_service(vector["keyrings"][uri], uri, folder),
        stores=stores,
    )
