"""The fields of an event as it is written: the only place where their names, types and meanings are declared.

Made from this table: the JSON schema and what a reader accepts (`secure_xcom.ops.audit_trail.event_schema`,
`...entries`), the columns of an export and of a search, the database sink's table, and the table in
docs/reference/access-log.md.
Fields may be added. None is renamed, dropped or given another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from secure_xcom.core.event import VERSION, Action, Outcome

UUID7 = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
HASH = "[0-9a-f]{64}"
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_DIGEST: dict[str, Any] = {"type": "string"}


def _whole_number(minimum: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": minimum}


def _matching(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{pattern}$"}


def _object(properties: dict[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


_TASK = {"dag_id": _TEXT, "run_id": _TEXT, "task_id": _TEXT, "map_index": _whole_number(-1)}
_KEYED = {**_TASK, "key": _TEXT}
_ATTEMPT = {
    "attempt": {
        **_TEXT,
        "description": "The UUID of the task instance: every try and every iteration of a loop has its own.",
    },
    "iteration": {**_whole_number(0), "description": "The iteration of the loop that it is in."},
}
_COORDINATE = {**_KEYED, **_ATTEMPT}
_TRY = {
    **_TASK,
    "try_number": _whole_number(0),
    "bundle": {**_TEXT, "description": "The DAG bundle that the task's code was loaded from."},
    "team": {**_TEXT, "description": "The Airflow team that its DAG belongs to."},
    **_ATTEMPT,
}
_TRY_SCHEMA = _object(_TRY, (*_TASK, "try_number"))
_KEY = _object({"uri": _TEXT, "version": {"type": ["integer", "null"], "minimum": 1}}, ("uri",))
_MISSED = _object({"sink": _TEXT, "events": _whole_number(1)}, ("sink", "events"))


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a written event.

    :ivar text: its meaning, one line.
    :ivar schema: the JSON Schema of its value.
    :ivar always: whether every event has it.
    :ivar since: the release that added it.
    :ivar columns: column -> SQL type, for a field that the database sink has columns for. An object's columns are
        some of its properties.
    """

    text: str
    schema: Mapping[str, Any]
    always: bool = False
    since: str = "0.1.0"
    columns: Mapping[str, str] = field(default_factory=dict)


def _always(text: str, schema: Mapping[str, Any], **columns: str) -> Field:
    return Field(text, schema, always=True, columns=columns)


FIELDS: dict[str, Field] = {
    "time": _always(
        "When it was written: UTC, RFC 3339 with microseconds, by the worker's clock.",
        _matching(TIME),
        time="CHAR(27)",
    ),
    "action": _always(
        "What was done or attempted.", {"type": "string", "enum": list(get_args(Action))}, action="VARCHAR(20)"
    ),
    "outcome": _always(
        "ok: done. refused: a policy, a key service, a store or the seal refused. failed: an error prevented it.",
        {"type": "string", "enum": list(get_args(Outcome))},
        outcome="VARCHAR(10)",
    ),
    "error": Field("The class of the error, for an outcome that is not ok.", _TEXT),
    "compartment": Field("The compartment whose rules decided.", _TEXT, columns={"compartment": "VARCHAR(400)"}),
    "rule": Field(
        "The rule of the access policy that decided on a push, a pull, a purge, a reveal, or an open of an "
        "expired XCom.",
        _TEXT,
    ),
    "producer": Field(
        "The XCom's own coordinate, as its reference states it.",
        _object(_COORDINATE, tuple(_KEYED)),
        columns=dict.fromkeys(("dag_id", "run_id", "task_id"), "VARCHAR(400)"),
    ),
    "consumer": Field(
        "The task instance's try that received or was refused a value, as its process states it: for pull, "
        "plaintext_seen and claim.",
        _TRY_SCHEMA,
    ),
    "task": Field("The task instance's try, as its process states it: for all other actions.", _TRY_SCHEMA),
    "keys": Field(
        "The keys that wrapped the data key: each key's URI, and its version where the service numbers versions.",
        {"type": "array", "items": _KEY},
    ),
    "opened_by": Field(
        "The URI of the key that unwrapped the data key. Absent from a reveal whose data key the person's browser "
        "unwraps after this event.",
        _TEXT,
    ),
    "object": Field("The sealed payload's URI; absent for an inline payload.", _TEXT),
    "size": Field("The sealed payload's size in bytes.", _whole_number(0)),
    "codec": Field("The codec's name.", _TEXT),
    "cache_hit": Field(
        "Whether the data key was in the process's memory, so that no key service was called.", {"type": "boolean"}
    ),
    "policy": Field("SHA-256 of the access policy, in hexadecimal.", _DIGEST),
    "policy_before": Field("SHA-256 of the previous access policy: for policy_change.", _DIGEST),
    "operator": Field(
        "The person who ran the command, as given to it: for open and for maintenance. For reveal, the person who "
        "logged in.",
        _TEXT,
    ),
    "reason": Field("The operator's reason: for open and reveal.", _TEXT),
    "sensitive": Field(
        "Whether the XCom's key, or a field that its preview shows, has a sensitive name: for reveal.",
        {"type": "boolean"},
    ),
    "asked": Field(
        "What was asked of Airflow's database, where producer alone does not say it: for outcomes other than ok, "
        "and for plaintext_seen. Parts that were left open are absent.",
        _object(_COORDINATE, ()),
    ),
    "missed": Field(
        "How many events of this chain each optional sink missed: for chain_end.",
        {"type": "array", "items": _MISSED},
    ),
    "host": _always("The worker's host name.", _TEXT),
    "pid": _always("The process's id on that host.", _whole_number(0)),
    "release": _always("The release of secure_xcom.", _TEXT),
    "version": _always("The version of the event format.", {"type": "integer", "const": VERSION}),
    "id": _always("UUIDv7 of the event.", _matching(UUID7), id="CHAR(36)"),
    "chain": _always(
        "UUIDv7 of the chain. A process has one chain at a time; a forked child starts its own.",
        _matching(UUID7),
        chain="CHAR(36)",
    ),
    "sequence": _always("The event's number in its chain, from 0.", _whole_number(0), sequence="BIGINT"),
    "previous": _always(
        "SHA-256 of the previous line in the chain, without its newline, in lowercase hexadecimal; 64 zeros for "
        "the first event.",
        _matching(HASH),
    ),
}
"""Field name -> field, in the order of the documentation and of an export."""


def schema_of(path: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the JSON Schema of a field, or of a property of an object field: ``("producer", "dag_id")``."""
    schema = FIELDS[path[0]].schema
    for name in path[1:]:
        schema = schema["properties"][name]
    return schema


def python_type(schema: Mapping[str, Any]) -> Any:
    """Return a value's type: ``str``, ``int`` or ``bool``; a dict for an object, a one-item list for an array."""
    kinds = schema["type"]
    kind = kinds if isinstance(kinds, str) else kinds[0]
    if kind == "object":
        return {name: python_type(part) for name, part in schema["properties"].items()}
    if kind == "array":
        return [python_type(schema["items"])]
    return {"string": str, "integer": int, "boolean": bool}[kind]
