"""The tables of the access policy that the code knows better: fields of the file, and lint's rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from secure_xcom.core.access_policy import schema
from secure_xcom.ops.service_policies.lint.access_policy_rules import RULES
from secure_xcom.ops.service_policies.lint.document_rules import DOCUMENT_RULES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "access-policy.md"
LINT_PAGE = PAGE.with_name("lint-rules.md")
# Each part of the file: its model in the schema, and where it stands.
_PARTS = {
    "": "At the top",
    "Defaults": "`defaults`: values for compartments that do not set a field",
    "Compartment": "Each of `compartments`",
    "Reader": "Each of a compartment's `readers`: all fields that are set must match",
    "Viewer": "Each of a compartment's `viewers`: all fields that are set must match",
    "Route": "Each of a compartment's `routes`: the first one that matches an XCom wins",
    "KeyRetention": "Each of a compartment's `retention_of`: the first one that matches a key wins",
    "RunOn": "A compartment's `tasks_run_on`",
    "Identity": "Each of `identities`",
    "RunsOn": "An identity's `runs_on`",
    "Grant": "Each of an identity's `grants`",
    "VaultAppRole": "An identity's `vault` with `auth: approle`",
    "VaultKubernetes": "... with `auth: kubernetes`",
    "VaultJwt": "... with `auth: jwt`",
    "VaultOther": "... with `auth: other`: the policy is compiled, the role is managed elsewhere",
    "Aws": "An identity's `aws`",
    "Google": "An identity's `google`",
    "Azure": "An identity's `azure`",
    "Reveal": "`reveal`: the service that shows values to viewers",
    "RevealVault": "`vault` of `reveal`: people log in at Vault, and their browsers unwrap",
    "RevealOidc": "`oidc` of `reveal`: people log in at the company's provider, and the service unwraps",
    "OpenPlaces": "`open_places`: places that every DAG may name",
    "LegalHold": "Each of `legal_holds`",
    "Alarm": "Each of `alarms`: events to watch for in the access log",
    "Notify": "Each of an alarm's `notify`: exactly one of log, webhook (or connection) and callback",
}


def fields() -> str:
    """Every field of the file, a table for each part."""
    whole = schema.schema()
    tables = []
    for model, title in _PARTS.items():
        part = whole["$defs"][model] if model else whole
        lines = [f"**{title}**", "", "| field | form | default | meaning |", "|---|---|---|---|"]
        lines += _rows(part, whole["$defs"])
        tables.append("\n".join(lines))
    assert set(_PARTS) - {""} == set(whole["$defs"]), "a part of the file has no table"
    return "\n\n".join(tables)


def _rows(part: dict[str, Any], models: dict[str, Any]) -> Iterator[str]:
    required = set(part.get("required", ()))
    for name, field in part["properties"].items():
        # Where a field says what its model says already, the schema has it once.
        model = models.get(str(field.get("$ref", "")).rpartition("/")[2], {})
        meaning = (field.get("description") or model.get("description", "")).replace("\n", " ").replace("``", "`")
        assert meaning, f"{name} has no docstring"
        yield f"| `{name}` | {_form(field)} | {'-' if name in required else _default(field)} | {meaning} |"


def _form(field: dict[str, Any]) -> str:
    if "const" in field:
        return f"`{str(field['const']).lower()}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return "mapping"
    if "oneOf" in field or "discriminator" in field:
        return "mapping, by its `auth`"
    if field.get("type") == "array":
        below = _form(field["items"])
        return "list of mappings" if below == "mapping" else f"list of {below}s" if " " not in below else below
    if "anyOf" in field:
        return " or ".join(_form(form) for form in field["anyOf"])
    words = {"integer": "number", "boolean": "true or false", "object": "mapping", "string": "string"}
    return words[field["type"]]


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    if default in (None, [], {}, ""):
        return "none" if field.get("type") in ("array", "object") else "not set"
    if isinstance(default, dict):
        return "as below"
    if isinstance(default, list):
        return f"`[{', '.join(map(repr, default))}]`".replace("'", '"')
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def file_rules() -> str:
    """Lint's rules about the file."""
    return _table(RULES)


def document_rules() -> str:
    """Lint's rules about policies of services."""
    return _table(DOCUMENT_RULES)


def _table(rules: dict[str, str]) -> str:
    return "\n".join(
        ["| rule | what it says |", "|---|---|", *(f"| `{rule}` | {text} |" for rule, text in rules.items())]
    )
