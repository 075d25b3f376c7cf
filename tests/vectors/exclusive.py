"""Scenarios of exclusive XComs: claims that are held, forged or moved, and what a shredding leaves."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

from tests.support import second_reader
from tests.vectors.build import CREATED, DATA_KEY, STORE_URI, UNIQUE, Edit, Vector, b64, error, pulled, salt, value

CONSUMER: dict[str, str | int] = {"dag_id": "report", "run_id": "run_1", "task_id": "load", "map_index": 2}
_OTHER = {**CONSUMER, "map_index": 3}
_LOOPED = {**CONSUMER, "iteration": 2}
_ATTEMPT = "019be2a1-0000-7000-8000-000000000001"


def _claimed(
    by: dict[str, Any], title: str, change: Callable[[Any], None] | None = None, attempt: str | None = None
) -> Edit:
    def edit(vector: Vector) -> None:
        head = vector["row"]["head"]
        record = second_reader.claim(head, by, CREATED, DATA_KEY, salt(f"claim: {title}"), attempt)
        if change:
            change(record)
        uri = f"{STORE_URI}/{second_reader.claims_folder(head)}{UNIQUE}"
        vector["objects"][uri] = b64(json.dumps(record).encode())

    return edit


def _made(
    title: str,
    expect: Vector,
    edit: Edit | None = None,
    head: dict[str, str] | None = None,
    consumer: dict[str, Any] = CONSUMER,
) -> Vector:
    vector = pulled(title, expect, head={"exclusive": "store", **(head or {})})
    vector["consumer"] = copy.deepcopy(consumer)
    if edit:
        edit(vector)
    return vector


def _nobody(vector: Vector) -> None:
    del vector["consumer"]


def _any_run(vector: Vector) -> None:
    vector["asked"]["run_id"] = None


def _shredded(vector: Vector) -> None:
    vector["row"]["keys"] = []
    vector["row"]["shredded"] = CREATED


def _shredded_with_keys(vector: Vector) -> None:
    vector["row"]["shredded"] = CREATED


def _shredded_shared(vector: Vector) -> None:
    _shredded(vector)
    del vector["row"]["head"]["exclusive"]


def _moved(record: Any) -> None:
    record["claim"]["key"] = "other"


def _renamed(record: Any) -> None:
    record["claim"]["by_map_index"] = "2"


def _later(record: Any) -> None:
    record["claim"]["claimed"] = "2026-11-22T10:00:01Z"


def _of_another_attempt(record: Any) -> None:
    record["claim"]["by_attempt"] = _ATTEMPT.replace("1-0000", "2-0000")


def _of_no_attempt(record: Any) -> None:
    del record["claim"]["by_attempt"]


def _of_another_iteration(record: Any) -> None:
    record["claim"]["by_iteration"] = "1"


def _of_no_iteration(record: Any) -> None:
    del record["claim"]["by_iteration"]


def _of_an_odd_iteration(record: Any) -> None:
    record["claim"]["by_iteration"] = "02"


def _of_an_odd_attempt(record: Any) -> None:
    record["claim"]["by_attempt"] = "1"


def _forged(record: Any) -> None:
    proof = bytearray(base64.b64decode(record["proof"]))
    proof[-1] ^= 1
    record["proof"] = b64(bytes(proof))


def _inline(vector: Vector) -> None:
    row = vector["row"]
    row["payload"] = vector["objects"].pop(row["head"].pop("object"))


def vectors() -> dict[str, Vector]:
    """All of them."""
    titles = {
        "pull-exclusive": "An exclusive value that nobody has claimed opens.",
        "pull-exclusive-claimed": "An exclusive value opens for the task instance that has claimed it.",
        "pull-exclusive-attempt": "A claim may name the claimant's attempt.",
        "refused-claim-attempt-edited": "A claim with another attempt does not prove itself.",
        "refused-claim-attempt-dropped": "A claim without the attempt that it was made by does not prove itself.",
        "refused-claim-attempt-odd": "An attempt is a UUID.",
        "pull-exclusive-iteration": "An exclusive value opens for the iteration that has claimed it.",
        "refused-exclusive-other-iteration": "It is refused to another iteration of the same task.",
        "refused-exclusive-no-iteration": "It is refused to the same task outside of loops.",
        "refused-claim-iteration-edited": "A claim with another iteration does not prove itself.",
        "refused-claim-iteration-dropped": "A claim without the iteration that made it does not prove itself.",
        "refused-claim-iteration-odd": "An iteration has no leading zeros.",
        "refused-exclusive-claimed": "An exclusive value is refused to another task instance than its claimant.",
        "refused-claim-moved": "A claim on another XCom is none on this one.",
        "refused-claim-renamed": "A claim whose claimant was changed to the consumer does not prove itself.",
        "refused-claim-edited": "A claim with another time does not prove itself.",
        "refused-claim-forged": "A claim with a changed proof does not prove itself.",
        "refused-exclusive-nobody": "An exclusive value is refused where nobody says who pulls.",
        "refused-exclusive-any-run": "An exclusive value is refused to a pull of any run.",
        "refused-exclusive-elsewhere": "Claims that are kept in a database are not looked for in the store.",
        "refused-exclusive-inline": "The payload of an exclusive value is an object.",
        "refused-shredded": "A shredded value is refused by that.",
        "refused-shredded-with-keys": "A shredded record has no keys.",
        "refused-shredded-shared": "Only an exclusive value is shredded.",
    }
    moved = _claimed(CONSUMER, titles["refused-claim-moved"], _moved)
    renamed = _claimed(_OTHER, titles["refused-claim-renamed"], _renamed)
    edited = _claimed(CONSUMER, titles["refused-claim-edited"], _later)
    forged = _claimed(CONSUMER, titles["refused-claim-forged"], _forged)
    mine = _claimed(CONSUMER, titles["pull-exclusive-claimed"])
    others = _claimed(_OTHER, titles["refused-exclusive-claimed"])
    cases: dict[str, tuple[Vector, Edit | None]] = {
        "pull-exclusive": (value(), None),
        "pull-exclusive-claimed": (value(), mine),
        "pull-exclusive-attempt": (value(), _claimed(CONSUMER, titles["pull-exclusive-attempt"], None, _ATTEMPT)),
        "refused-exclusive-claimed": (error("ClaimRefused"), others),
        "refused-claim-moved": (error("ClaimTampered"), moved),
        "refused-claim-renamed": (error("ClaimTampered"), renamed),
        "refused-claim-edited": (error("ClaimTampered"), edited),
        "refused-claim-forged": (error("ClaimTampered"), forged),
        "refused-exclusive-nobody": (error("ClaimRefused"), _nobody),
        "refused-exclusive-any-run": (error("ClaimRefused"), _any_run),
        "refused-exclusive-inline": (error("ReferenceMalformed"), _inline),
        "refused-shredded": (error("ReferenceShredded"), _shredded),
        "refused-shredded-with-keys": (error("ReferenceMalformed"), _shredded_with_keys),
        "refused-shredded-shared": (error("ReferenceMalformed"), _shredded_shared),
    }
    for name, change in (
        ("refused-claim-attempt-edited", _of_another_attempt),
        ("refused-claim-attempt-dropped", _of_no_attempt),
        ("refused-claim-attempt-odd", _of_an_odd_attempt),
    ):
        cases[name] = (error("ClaimTampered"), _claimed(CONSUMER, titles[name], change, _ATTEMPT))
    made = {name: _made(titles[name], expect, edit) for name, (expect, edit) in cases.items()}
    name = "pull-exclusive-iteration"
    made[name] = _made(titles[name], value(), _claimed(_LOOPED, titles[name]), consumer=_LOOPED)
    # What a claim was edited to is what its reader is, so that its proof alone refuses it.
    for name, edited_to, reader in (
        ("refused-claim-iteration-edited", _of_another_iteration, {**_LOOPED, "iteration": 1}),
        ("refused-claim-iteration-dropped", _of_no_iteration, CONSUMER),
        ("refused-claim-iteration-odd", _of_an_odd_iteration, _LOOPED),
    ):
        claim = _claimed(_LOOPED, titles[name], edited_to)
        made[name] = _made(titles[name], error("ClaimTampered"), claim, consumer=reader)
    for name, reader in (
        ("refused-exclusive-other-iteration", {**_LOOPED, "iteration": 1}),
        ("refused-exclusive-no-iteration", CONSUMER),
    ):
        made[name] = _made(titles[name], error("ClaimRefused"), _claimed(_LOOPED, titles[name]), consumer=reader)
    name = "refused-exclusive-elsewhere"
    made[name] = _made(titles[name], error("ClaimRefused"), head={"exclusive": "database"})
    made["refused-clock-skewed"] = pulled(
        "A value that expires and was made in the far future is refused: this clock cannot tell.",
        error("ClockSkewed"),
        head={"created": "9998-01-01T00:00:00Z", "expires": "9999-01-01T00:00:00Z"},
    )
    return made
