"""The event as a JSON Schema, made from `secure_xcom.core.event_fields` and shipped as a file for other tools.

``python -m secure_xcom.ops.audit_trail.event_schema`` writes the file anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secure_xcom.core import event_fields
from secure_xcom.core.event import VERSION

_PACKAGE = Path(event_fields.__file__).parents[1]
STORED = (_PACKAGE / "core" / "event.schema.json", _PACKAGE / "audit" / "event.schema.json")
"""The shipped file, and its copy at the path that the schema's ``$id`` names."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an event."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://github.com/secure-xcom/secure-xcom/blob/main/secure_xcom/audit/event.schema.json",
        "title": f"One event of secure_xcom's access log, version {VERSION}",
        "description": (
            f"One line of the access log. Optional fields may be added to version {VERSION}; none is renamed, "
            "dropped or given another meaning, so readers ignore names that they do not know. A field without a "
            "value is absent; readers treat null the same way."
        ),
        "type": "object",
        "required": [name for name, field in event_fields.FIELDS.items() if field.always],
        "properties": {name: _property(field) for name, field in event_fields.FIELDS.items()},
    }


def text() -> str:
    """Return the schema as the file holds it."""
    return json.dumps(schema(), indent=2) + "\n"


def _property(field: event_fields.Field) -> dict[str, Any]:
    if field.always:
        return {**field.schema, "description": field.text}
    return {**field.schema, "type": [field.schema["type"], "null"], "description": field.text}


if __name__ == "__main__":
    for path in STORED:
        path.write_text(text(), encoding="utf-8")
