"""The stored chains of events: every release gives these lines for these events, and they fit the schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from secure_xcom.core.event_chain import Chain
from tests.support.audit_reading import SCHEMA, read_chain
from tests.vectors.audit_chains import FOLDER, chains, dump

STORED = {path.name: json.loads(path.read_text(encoding="ascii")) for path in sorted(FOLDER.glob("*.json"))}


def test_made_again_the_chains_are_the_same() -> None:
    """The generator gives exactly the stored files."""
    assert {name: dump(stored) for name, stored in chains().items()} == {
        name: (FOLDER / name).read_text(encoding="ascii") for name in STORED
    }


@pytest.mark.parametrize("name", STORED)
def test_the_product_writes_these_lines(name: str) -> None:
    """The same events in the same chain are the same bytes, with the product's own encoder."""
    stored = STORED[name]
    chain = Chain(stored["chain"])
    assert [chain.add(event).data.decode() for event in stored["events"]] == stored["lines"]


@pytest.mark.parametrize("name", STORED)
def test_the_lines_are_a_chain_of_the_schema(name: str) -> None:
    """Stored lines are whole chains and hold to the shipped schema, which knows each of their names."""
    events = read_chain(line.encode() for line in STORED[name]["lines"])
    assert len(events) == len(STORED[name]["events"])
    known = set(SCHEMA["properties"])
    assert all(set(event) <= known for event in events)


def test_every_action_has_a_stored_line() -> None:
    """No action is without a vector."""
    stored: list[dict[str, Any]] = [event for file in STORED.values() for event in file["events"]]
    assert {event["action"] for event in stored} == set(SCHEMA["properties"]["action"]["enum"])
