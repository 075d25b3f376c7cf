"""The record of a claim: its limits, which no other release may read otherwise."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from secure_xcom.claims.claim import PROOF_BYTES, RECORD_MAX_BYTES, Claim
from secure_xcom.claims.claimant import Claimant
from secure_xcom.core.attempt import INDEX_MAX
from secure_xcom.core.claim_errors import ClaimTampered
from secure_xcom.core.coordinate import MAP_INDEX_MAX, Coordinate

ATTEMPT = "019be2a1-0000-7000-8000-000000000001"


def claim(**changes: Any) -> Claim:
    """A claim that is as it should be."""
    by = Claimant("readers", "run", "load", **{"map_index": -1, "clearing": 0, **changes})
    at = Coordinate("orders", "run", "extract", -1, "api_token")
    return Claim(at, "finance", f"s3://b/{uuid.uuid4()}", by, "2026-01-01T00:00:00Z", b"x" * PROOF_BYTES)


def edited(edit: Callable[[dict[str, Any]], None]) -> bytes:
    """The record of a claim, edited."""
    record = json.loads(claim().dump())
    edit(record["claim"])
    return json.dumps(record).encode()


def parsed(raw: bytes) -> Claim:
    """What it is read as."""
    return Claim.parse(raw, "a place")


@pytest.mark.parametrize(("length", "opens"), [(4096, True), (4097, False)])
def test_a_field_has_at_most_4096_characters(length: int, opens: bool) -> None:
    """A store URI may be long; the limit belongs to the format."""
    unique = str(uuid.uuid4())
    long = "x" * (length - len(unique)) + unique
    raw = edited(lambda fields: fields.update(object=long))
    if opens:
        assert parsed(raw).object == long
        return
    with pytest.raises(ClaimTampered, match="too long"):
        parsed(raw)


@pytest.mark.parametrize(("length", "opens"), [(RECORD_MAX_BYTES, True), (RECORD_MAX_BYTES + 1, False)])
def test_a_record_has_at_most_32_kib(length: int, opens: bool) -> None:
    """What is longer is refused before it is read."""
    raw = claim().dump()
    raw += b" " * (length - len(raw))
    if opens:
        assert parsed(raw).compartment == "finance"
        return
    with pytest.raises(ClaimTampered, match=f"over {RECORD_MAX_BYTES} bytes"):
        parsed(raw)


@pytest.mark.parametrize("name", ["by_dag_id", "by_run_id", "by_task_id"])
@pytest.mark.parametrize("text", ["", "x" * 251])
def test_each_id_of_a_claimant_fits_into_airflows_database(name: str, text: str) -> None:
    """Maintenance asks for them there."""
    with pytest.raises(ClaimTampered, match="malformed"):
        parsed(edited(lambda fields: fields.update({name: text})))


@pytest.mark.parametrize(
    "changes",
    [
        {"clearing": None},
        {"clearing": 0},
        {"clearing": MAP_INDEX_MAX},
        {"map_index": 0},
        {"map_index": MAP_INDEX_MAX},
        {"attempt": ATTEMPT},
        {"iteration": 0},
        {"iteration": INDEX_MAX},
    ],
)
def test_numbers_up_to_their_limits_are_read(changes: dict[str, Any]) -> None:
    """Each comes back as it was, with the fields that are not compared."""
    made = claim(**changes)
    found = parsed(made.dump())
    assert found == made
    assert found.fields() == made.fields()


@pytest.mark.parametrize("name", ["map_index", "by_map_index", "by_clearing"])
@pytest.mark.parametrize("number", [-2, MAP_INDEX_MAX + 1])
def test_numbers_beyond_their_limits_are_refused(name: str, number: int) -> None:
    """They would be an error of the database that is asked for them."""
    with pytest.raises(ClaimTampered, match="malformed"):
        parsed(edited(lambda fields: fields.update({name: str(number)})))


@pytest.mark.parametrize("number", [-1, INDEX_MAX + 1])
def test_an_iteration_beyond_its_limits_is_refused(number: int) -> None:
    """The same for the column of iterations."""
    with pytest.raises(ClaimTampered, match="malformed"):
        parsed(edited(lambda fields: fields.update(by_iteration=str(number))))


@pytest.mark.parametrize("version", [2, 0, 1.0, "1", None, [1]])
def test_another_version_is_refused(version: object) -> None:
    """What a later release writes is not taken for a claim of this one, nor is a number of another kind."""
    record = {**json.loads(claim().dump()), "secure_xcom_claim": version}
    with pytest.raises(ClaimTampered, match="an unknown version") as refused:
        parsed(json.dumps(record).encode())
    assert (refused.value.where, refused.value.remedy) == ("a place", "upgrade secure_xcom")


def test_a_claim_is_printed_without_its_proof() -> None:
    """Nobody needs it in a log."""
    assert "proof" not in repr(claim())
    assert "api_token" in repr(claim())


def test_a_claim_that_is_not_proved_is_none() -> None:
    """It is made without a proof, and nobody reads it so."""
    made = claim()
    bare = Claim(made.coordinate, made.compartment, made.object, made.claimant, made.claimed)
    assert bare.proof == b""
    with pytest.raises(ClaimTampered, match="proof is malformed"):
        parsed(bare.dump())


@pytest.mark.parametrize("name", ["proof", "claim", "secure_xcom_claim", "by_dag_id"])
def test_no_field_is_written_twice(name: str) -> None:
    """Another reader might take the first of the two."""
    raw = claim().dump()
    assert parsed(raw).compartment == "finance"
    with pytest.raises(ClaimTampered, match="not a JSON object"):
        parsed(raw.replace(f'"{name}":'.encode(), f'"{name}": "", "{name}":'.encode()))
