"""The quick parser of references: what it returns is what the strict one returns, and it never returns more."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.core.coordinate import ID_MAX_CHARACTERS, KEY_MAX_CHARACTERS
from secure_xcom.core.reference import HEADER_BYTES, LARGEST_BYTES, URI_MAX_CHARACTERS, Head, Reference, WrappedKey
from secure_xcom.core.reference import parse as strict
from secure_xcom.ops.stored_row import decoded
from secure_xcom.ops.usual_reference import usual_reference

HEAD = Head(
    "orders",
    "scheduled__2026-12-03T00:00:00+00:00",
    "extract",
    "-1",
    "return_value",
    "finance",
    "json",
    "zstd",
    "2026-12-03T12:00:00Z",
    object="s3://bucket/xcom/finance/orders/run/extract/-1/019ab9a0-0000-7000-8000-000000000001",
    expires="2027-01-02T12:00:00Z",
)
KEYS = (WrappedKey("vault://vault_default/transit/keys/xcom-finance", "vault:v1:abcd"),)
REFERENCE = Reference(HEAD, KEYS, bytes(range(HEADER_BYTES)), 1234).with_preview(
    {"user": "str(5)", "lines": [1, 2]}
)
RECORD = REFERENCE.dump()
HEADER = RECORD["seal"]["header"]

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, 1.0, 72.0, -1, 10**30, "", " ", "x", "-1", "0", "07", "+7", "9999999999",
    "10000000000", "2026-02-30T12:00:00Z", "2026-12-03T12:00:00Z\n", "żluťý", "\x00", "\ud800", "\x01",
    "a" * ID_MAX_CHARACTERS, "a" * (ID_MAX_CHARACTERS + 1), "a" * (KEY_MAX_CHARACTERS + 1),
    "a" * (URI_MAX_CHARACTERS + 1), "x" * 4097, [], [[]], {}, {"a": 1}, HEADER, HEADER[:-1], HEADER + "=",
    HEADER[:-2] + "/=", HEADER + "\n", base64.b64encode(bytes(55)).decode(), LARGEST_BYTES, LARGEST_BYTES + 1,
    71, 72,
)  # fmt: skip
FIELDS = (
    *(("head", name) for name in (*HEAD.dump(), "readers", "exclusive", "attempt", "region", "iteration", "more")),
    *(("seal", name) for name in ("header", "size", "more")),
    *(("keys", 0, name) for name in ("uri", "wrapped", "more")),
    *(
        (name,)
        for name in ("secure_xcom", "head", "keys", "seal", "payload", "preview", "shredded", "followed", "more")
    ),
    ("keys",),
)
CHANGES = st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(("remove", *ODD))), max_size=3)
TEXTS = (
    json.dumps,
    lambda record: json.dumps(record, ensure_ascii=False),
    lambda record: json.dumps(record, indent=1).replace('"head"', '"head": {}, "head"'),
    lambda record: json.dumps(record)[:-1] + ', "seal": {}}',
    lambda record: json.dumps(record)[:-1] + ', "preview": NaN}',
    lambda record: json.dumps(record)[:-1] + ', "preview": 1e999}',
    lambda record: json.dumps(record)[:-1] + ', "preview": "\x01"}',
    lambda record: json.dumps(record)[:-1] + ', "preview": "\\ud800"}',
    lambda record: json.dumps(record)[:-1] + ', "preview": ' + "[" * 70 + "]" * 70 + "}",
    lambda record: json.dumps(record)[:-1] + ', "preview": ' + "9" * 4000 + "}",
    lambda record: json.dumps(record)[:-1],
    lambda record: json.dumps(record) + "x",
    lambda record: json.dumps([record]),
    lambda record: json.dumps(record).replace("finance", "\\u0066inance"),
)


def changed(changes: list[tuple[tuple[Any, ...], Any]]) -> dict[str, Any]:
    """A record with fields removed, added or replaced."""
    record: dict[str, Any] = json.loads(json.dumps(RECORD))
    for path, value in changes:
        inner: Any = record
        for name in path[:-1]:
            inner = (
                inner[name]
                if isinstance(inner, list) and inner
                else inner.get(name, {})
                if isinstance(inner, dict)
                else {}
            )
        if not isinstance(inner, dict):
            continue
        if value == "remove":
            inner.pop(path[-1], None)
        else:
            inner[path[-1]] = value
    return record


@pytest.mark.parametrize(
    "record", [RECORD, {**RECORD, "preview": None}, {k: v for k, v in RECORD.items() if k != "preview"}]
)
def test_the_usual_reference_is_parsed(record: dict[str, Any]) -> None:
    """What a push writes is parsed, with a preview or without."""
    assert usual_reference(json.dumps(record)) == strict(record)


@given(changes=CHANGES, text_of=st.sampled_from(TEXTS))
def test_it_returns_what_the_strict_parser_returns(
    changes: list[tuple[tuple[Any, ...], Any]], text_of: Any
) -> None:
    """Whatever a row holds: either nothing is said of it, or exactly what the strict parser says."""
    text = text_of(changed(changes))
    found = usual_reference(text)
    assert found is None or found == strict(decoded(text))
