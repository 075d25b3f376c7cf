"""The third reader of the format: the modules of the reveal page, run over stored vectors.

Node runs them, that of the machine or the one that Playwright brings; a browser runs the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import secure_xcom

HERE = Path(__file__).parent
STATIC = Path(secure_xcom.__file__).parent / "reveal" / "static"
READER = HERE / "third_reader.mjs"
MODULES = ("cobblestone", "reading", "shown", "json")
KINDS = ("seal", "wrap", "pull")

Vector = dict[str, Any]

# What the reveal service decides before the page gets anything, and what the page does not get at all: the whole
# record, the claims, the access policy, and which attempt or iteration a task would have to get.
OF_THE_SERVICE = {
    "AttemptMismatch",
    "ClaimRefused",
    "ClaimTampered",
    "CodecUnknown",
    "CompartmentUnknown",
    "ContextRefused",
    "ObjectMissing",
    "PlaintextRefused",
    "ReferenceMalformed",
    "ReferenceShredded",
    "ReferenceVersionUnknown",
}


def read_in_node(**given: Any) -> dict[str, Any]:
    """Run the reader in Node. Skips where there is none."""
    done = subprocess.run(
        [_node(), "--no-warnings", str(HERE / "third_reader_node.mjs")],
        input=json.dumps({"static": str(STATIC), **given}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def check(vector: Vector, outcome: Vector) -> None:
    """Check what the reader made of a vector."""
    expected = dict(vector["expect"])
    if vector["kind"] != "pull":
        assert {name: outcome[name] for name in expected if name in outcome} == expected, outcome
    elif isinstance(vector["row"], dict) and vector["row"].get("head", {}).get("exclusive"):
        assert outcome["error"] in ("ClaimRefused", "ReferenceMalformed", "CoordinateMismatch")
    elif "error" not in expected:
        given = {"value": json.loads(outcome["json"])} if "json" in outcome else {"bytes": outcome.get("bytes")}
        assert given == {name: expected[name] for name in given}, outcome
    elif expected["error"] not in OF_THE_SERVICE:
        assert outcome.get("error") == expected["error"], outcome


def _node() -> str:
    if program := shutil.which("node"):
        return program
    playwright = pytest.importorskip("playwright")
    brought = Path(playwright.__file__).parent / "driver" / "node"
    if not brought.exists():
        pytest.skip("no Node: install it, or Playwright, which brings one")
    return str(brought)
