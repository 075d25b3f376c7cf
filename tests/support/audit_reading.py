"""A second reader of the access log's lines, for tests: it shares no code with the product."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib import resources
from typing import Any

import jsonschema
import rfc8785

SCHEMA: dict[str, Any] = json.loads(
    resources.files("secure_xcom.core").joinpath("event.schema.json").read_text(encoding="utf-8")
)
_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def read_chain(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The events of one chain; fails where a line is no event of the schema, or not behind the one before it."""
    events: list[dict[str, Any]] = []
    previous = "0" * 64
    for number, line in enumerate(lines):
        event = json.loads(line)
        _VALIDATOR.validate(event)
        assert rfc8785.dumps(event) == line, "not canonical"
        assert (event["sequence"], event["previous"]) == (number, previous), "out of its chain"
        previous = hashlib.sha256(line).hexdigest()
        events.append(event)
    assert len({event["chain"] for event in events}) <= 1
    return events


def read_chains(text: bytes) -> dict[str, list[dict[str, Any]]]:
    """The chains of a file: chain id -> events. Every line must be whole."""
    assert not text or text.endswith(b"\n")
    lines: dict[str, list[bytes]] = {}
    for line in text.split(b"\n")[:-1]:
        lines.setdefault(json.loads(line)["chain"], []).append(line)
    return {chain: read_chain(found) for chain, found in lines.items()}
