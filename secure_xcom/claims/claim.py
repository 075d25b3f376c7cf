"""A claim: who claimed which push, proved with the data key; dump and strict parse.

Its bytes are specified in docs/reference/format.md, "Claims".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secure_xcom.claims.claimant import Claimant, Target
from secure_xcom.core import clock
from secure_xcom.core.attempt import INDEX_MAX
from secure_xcom.core.canonical_json import canonical_json
from secure_xcom.core.claim_errors import ClaimTampered
from secure_xcom.core.coordinate import MAP_INDEX_MAX, Coordinate
from secure_xcom.core.errors import CoordinateInvalid
from secure_xcom.core.reference import TIME_FORMAT

TAG = "secure_xcom_claim"
PROOF_BYTES = 72
"""A sealed payload of no plaintext."""
RECORD_MAX_BYTES = 32_768
"""The longest legal claim has eight ids of 250 characters and a key of 512, of up to 12 escaped bytes each."""

_UNIQUE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TEXT_MAX_CHARACTERS = 4096
_FIELDS = (
    "dag_id", "run_id", "task_id", "map_index", "key", "compartment", "object",
    "by_dag_id", "by_run_id", "by_task_id", "by_map_index", "by_clearing", "claimed",
)  # fmt: skip
_BY_ATTEMPT = "by_attempt"
"""Absent in claims of the first releases, and where the attempt was not known."""
_BY_ITERATION = "by_iteration"
"""Present where the claimant is in a loop."""
_OPTIONAL = {_BY_ATTEMPT, _BY_ITERATION}


@dataclass(frozen=True, slots=True)
class Claim:
    """Who claimed what and when.

    :ivar claimed: UTC, RFC 3339, whole seconds.
    :ivar proof: an empty payload, sealed with the data key; its context is `context`. Only who could unwrap the
        data key can have made it.
    """

    coordinate: Coordinate
    compartment: str
    object: str
    claimant: Claimant
    claimed: str
    proof: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, target: Target, claimant: Claimant) -> Claim:
        """Return a claim that is made now, to be proved."""
        now = clock.now().strftime(TIME_FORMAT)
        return cls(target.coordinate, target.compartment, target.object, claimant, now)

    def fields(self) -> dict[str, str]:
        """Return the fields that the proof covers, all as strings."""
        of, by = self.coordinate, self.claimant
        values = (
            of.dag_id, of.run_id, of.task_id, str(of.map_index), of.key, self.compartment, self.object,
            by.dag_id, by.run_id, by.task_id, str(by.map_index),
            "" if by.clearing is None else str(by.clearing), self.claimed,
        )  # fmt: skip
        fields = dict(zip(_FIELDS, values, strict=True))
        if by.attempt is not None:
            fields[_BY_ATTEMPT] = by.attempt
        if by.iteration is not None:
            fields[_BY_ITERATION] = str(by.iteration)
        return fields

    def context(self) -> bytes:
        """Return the proof's context: canonical JSON (RFC 8785). Its tag keeps it apart from that of a head."""
        return canonical_json({TAG: "1", **self.fields()})

    def dump(self) -> bytes:
        """Return the record as it is kept: JSON."""
        proof = base64.b64encode(self.proof).decode()
        return json.dumps({TAG: 1, "claim": self.fields(), "proof": proof}).encode()

    @classmethod
    def read(cls, raw: bytes, where: str) -> Claim | ClaimTampered:
        """Return what `parse` returns, or the error that it raises."""
        try:
            return cls.parse(raw, where)
        except ClaimTampered as error:
            return error

    @classmethod
    def parse(cls, raw: bytes, where: str) -> Claim:
        """Read a record strictly.

        :raises ClaimTampered: the record is invalid. The message names the part, never its content.
        """
        if len(raw) > RECORD_MAX_BYTES:
            raise ClaimTampered(f"over {RECORD_MAX_BYTES} bytes", where=where)
        try:
            record = json.loads(raw, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            raise ClaimTampered("the record is not a JSON object", where=where) from None
        if not isinstance(record, dict) or set(record) != {TAG, "claim", "proof"} or record[TAG] is True:
            raise ClaimTampered("the record is not a claim", where=where)
        if record[TAG] != 1 or not isinstance(record[TAG], int):
            raise ClaimTampered("the claim has an unknown version", where=where, remedy="upgrade secure_xcom")
        fields, proof = record["claim"], record["proof"]
        if not isinstance(fields, dict) or set(fields) - _OPTIONAL != set(_FIELDS) or not isinstance(proof, str):
            raise ClaimTampered("a field of the claim is missing or unknown", where=where)
        if not all(isinstance(text, str) and len(text) <= _TEXT_MAX_CHARACTERS for text in fields.values()):
            raise ClaimTampered("a field of the claim is not a string or is too long", where=where)
        return cls._of(fields, _bytes(proof, where), where)

    @classmethod
    def _of(cls, fields: Mapping[str, str], proof: bytes, where: str) -> Claim:
        try:
            ids = [fields[name] for name in ("dag_id", "run_id", "task_id")]
            coordinate = Coordinate(ids[0], ids[1], ids[2], int(fields["map_index"]), fields["key"])
            clearing = int(fields["by_clearing"]) if fields["by_clearing"] else None
            by = [fields[name] for name in ("by_dag_id", "by_run_id", "by_task_id")]
            attempt = fields.get(_BY_ATTEMPT)
            iteration = int(fields[_BY_ITERATION]) if _BY_ITERATION in fields else None
            claimant = Claimant(by[0], by[1], by[2], int(fields["by_map_index"]), clearing, attempt, iteration)
            # Its ids are asked for in Airflow's database, so they are such as can stand there.
            _ = Coordinate(by[0], by[1], by[2], claimant.map_index, "-")
            time.strptime(fields["claimed"], TIME_FORMAT)
            # Lone surrogates can neither be proved nor kept.
            "".join(fields.values()).encode()
        except (ValueError, CoordinateInvalid):
            raise ClaimTampered("a field of the claim is malformed", where=where) from None
        claim = cls(coordinate, fields["compartment"], fields["object"], claimant, fields["claimed"], proof)
        numbers = (coordinate.map_index, claimant.map_index, clearing or 0)
        if not all(-1 <= number <= MAP_INDEX_MAX for number in numbers) or not 0 <= (iteration or 0) <= INDEX_MAX:
            # Airflow's database is asked for these, and its columns are INTEGERs.
            raise ClaimTampered("a field of the claim is malformed", where=where)
        uuids = [claim.object[-36:], *([] if attempt is None else [attempt])]
        if claim.fields() != fields or not all(map(_UNIQUE.fullmatch, uuids)):
            raise ClaimTampered("a field of the claim is not in its canonical form", where=where)
        return claim

    def check_target(self, target: Target) -> None:
        """Check that the claim is on this target and no other.

        :raises ClaimTampered: the claim was moved or copied.
        """
        if (self.coordinate, self.compartment, self.object) != (
            target.coordinate,
            target.compartment,
            target.object,
        ):
            raise ClaimTampered("the claim is on another XCom: it was moved", where=str(target.coordinate))


def _bytes(text: str, where: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != PROOF_BYTES or base64.b64encode(raw).decode() != text:
        raise ClaimTampered("the claim's proof is malformed", where=where)
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a field is written twice")
    return record
