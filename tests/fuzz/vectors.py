"""Inputs from the stored vectors, so that the fuzzer begins with what the formats really look like."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
VECTORS = TESTS / "vectors"


def _cases() -> Iterator[dict[str, Any]]:
    for path in sorted(VECTORS.glob("*.json")):
        yield json.loads(path.read_bytes())


def rows() -> Iterator[bytes]:
    """Yield the rows of Airflow's table that the vectors pull."""
    for case in _cases():
        if "row" in case:
            yield json.dumps(case["row"]).encode()


def claims() -> Iterator[bytes]:
    """Yield the claims that lie in the vectors' stores."""
    for case in _cases():
        for uri, payload in (case.get("objects") or {}).items():
            if "/~claims/" in uri:
                yield base64.b64decode(payload)


def keyrings() -> Iterator[bytes]:
    """Yield the keyrings of the vectors."""
    seen = set()
    for case in _cases():
        seen |= {json.dumps(keyring) for keyring in (case.get("keyrings") or {}).values()}
    for text in sorted(seen):
        yield text.encode()


def chains() -> Iterator[bytes]:
    """Yield the access log of each stored chain, as a file sink writes it."""
    for path in sorted((VECTORS / "audit").glob("*.json")):
        yield b"".join(line.encode() + b"\n" for line in json.loads(path.read_bytes())["lines"])


def encoded(codec: str) -> bytes:
    """Return the stored bytes of a codec."""
    return (VECTORS / "codecs" / codec).read_bytes()
