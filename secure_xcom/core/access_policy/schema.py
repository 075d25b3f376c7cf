"""The JSON Schema of the access policy file, for editors and for checks before deployment.

It is generated from the models and stored beside them, because an editor reads a file. `secure-xcom policy lint`
checks what a schema cannot express (duplicate names, unknown names).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secure_xcom.core.access_policy.policy_file import IMPLEMENTATIONS, model_of

STORED = Path(__file__).with_name("access_policy.schema.json")
"""The shipped file; ``python -m secure_xcom.core.access_policy.schema`` regenerates it."""
FORMER = Path(__file__).parents[2] / "access" / STORED.name
"""A copy at the path that ``$schema`` lines of users' access policies name."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a file of version 1."""
    made = model_of(frozenset(IMPLEMENTATIONS)).model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_plain(made),
        "title": "Access policy of secure_xcom",
    }


def text() -> str:
    """Return the schema as it is stored."""
    return json.dumps(schema(), indent=2) + "\n"


def write() -> None:
    """Regenerate the stored schema."""
    for path in (STORED, FORMER):
        path.write_text(text())


def _plain(node: Any) -> Any:
    """Return a node without what pydantic adds: null for omitted fields, titles made from names."""
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
