"""The access policy file as a JSON Schema, for editors and for checks before anything is deployed.

It is made from the models and kept beside them, because an editor reads a file. What no schema can say (names that
stand twice, names of nothing) is said by `secure-xcom policy lint`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secure_xcom.core.access_policy.model import PolicyFile

STORED = Path(__file__).with_name("access_policy.schema.json")
"""What is shipped; ``python -m secure_xcom.core.access_policy.schema`` writes it anew."""
FORMER = Path(__file__).parents[2] / "access" / STORED.name
"""The same file where the ``$schema`` lines of users' access policies name it."""


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a file of version 1."""
    made = PolicyFile.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_plain(made),
        "title": "Access policy of secure_xcom",
    }


def text() -> str:
    """The schema as it is stored."""
    return json.dumps(schema(), indent=2) + "\n"


def write() -> None:
    """Write the stored schema anew."""
    for path in (STORED, FORMER):
        path.write_text(text())


def _plain(node: Any) -> Any:
    """Without what pydantic adds and the file does not have: null for what is left out, titles made from names."""
    if isinstance(node, list):
        return [_plain(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("default"), dict):
        node = {**node, "default": {name: value for name, value in node["default"].items() if value is not None}}
    kept = {name: _plain(value) for name, value in node.items() if not (name == "default" and value is None)}
    if isinstance(kept.get("title"), str):
        del kept["title"]
    given = [entry for entry in kept.get("anyOf", ()) if entry != {"type": "null"}]
    if len(given) == 1:
        del kept["anyOf"]
        kept = {**given[0], **kept}
    return kept


if __name__ == "__main__":
    write()
