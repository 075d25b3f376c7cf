"""Writes the test vectors of format.md: one scenario in each file, and the result that any reader must give.

    python -m tests.vectors.generate

The files' form is described in docs/reference/format.md, "Test vectors". A test makes them again and compares.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.vectors import attempts, exclusive, refusals, scenarios
from tests.vectors.build import Vector

FOLDER = Path(__file__).parent


def vectors() -> dict[str, Vector]:
    """File name -> vector."""
    made = {**scenarios.seals(), **scenarios.wraps(), **scenarios.paths(), **scenarios.opened()}
    made |= refusals.references() | refusals.heads() | refusals.payloads() | refusals.keys()
    made |= exclusive.vectors() | attempts.vectors()
    return {f"{name}.json": vector for name, vector in made.items()}


def dump(vector: Vector) -> str:
    """The file's text. ASCII only, so that lone surrogates and unusual characters survive every tool."""
    return json.dumps(vector, indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    """Write all files, and remove those that are no longer made."""
    made = vectors()
    for old in FOLDER.glob("*.json"):
        if old.name not in made:
            old.unlink()
    for name, vector in made.items():
        (FOLDER / name).write_text(dump(vector), encoding="ascii")
    print(f"{len(made)} vectors")


if __name__ == "__main__":
    main()
