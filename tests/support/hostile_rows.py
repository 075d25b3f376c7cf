"""Hostile rows, claims and objects, made by a seed: what anybody may write who runs a task.

Each is a change of something that the product has made itself, one field at a time and in every odd kind, so that
most of it stays right and only what is odd decides.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

TAG = "secure_xcom"


def deep(levels: int) -> Any:
    """Lists in lists."""
    return json.loads("[" * levels + "]" * levels)


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**30, -(10**30), 10**4000, 2**63, 2**31, 0.5, 1e308, float("nan"),
    float("inf"), -0.0, "", " ", "\x00", "\ud800", "a\udfffb", "..", "../../etc/passwd", "/", "//", "%2e%2e", "~",
    "~claims", ".", "-", "-1", "00", "1e9", "9999999999", "x" * 300, "x" * 5000, "\u202e", "\n", "=1+1", "é" * 200,
    "pay", "other", "default", "store", "database", "secure_xcom", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "local:v1:AAAA",
    "local:v999999999:AAAA", "vault:v1:AAAA", "vault://x", "aws-kms:x:AAAA", "file:///etc/passwd",
    "vault://c/m; echo ~/keys/x", [], {}, [[]], [None], {"": None}, {"secure_xcom": 1}, [{"uri": []}],
    ["file:///a", "file:///b"], {"object": {"object": 1}}, deep(50), deep(900),
)  # fmt: skip
"""One of each odd kind."""

WHOLE: tuple[Any, ...] = (
    {TAG: 1}, {TAG: None}, {TAG: []}, {TAG: 2}, {TAG: -1}, {TAG: 10**4000}, {TAG: 1.0}, {TAG: True}, {TAG: "1"},
    {TAG: 1, "head": None}, {TAG: 1, "head": []}, {TAG: 1, "head": {"object": []}},
    {TAG: 1, "head": {"object": {}}},
    {TAG: 1, "head": {"object": 7}}, {TAG: 2, "head": {"object": ["x"]}}, {TAG: 1, "head": {"object": "\ud800"}},
    {TAG: 1, "head": {"object": "x" * 200_000}}, {TAG: 1, "head": {"object": ["x" * 200_000]}},
    {TAG: 1, "preview": deep(900)}, {TAG: 1, "more": deep(900)}, {TAG: 1, "head": "", "payload": ""},
)  # fmt: skip
"""Rows that carry the tag, and little else."""

TEXTS: tuple[str, ...] = (
    '{"secure_xcom": 1' + "0" * 5000 + "}",
    '{"secure_xcom": ' + "[" * 3000 + "]" * 3000 + "}",
    '{"secure_xcom": 1, "head": ' + '{"a":' * 2000 + "1" + "}" * 2000 + "}",
    '{"secure_xcom": NaN}',
    '{"secure_xcom": 1, "secure_xcom": 2}',
    '{"secure_xcom": 1, "head": {"object": 1' + "0" * 5000 + "}}",
    '{"secure_xcom": 1',
    '"secure_xcom',
)
"""Rows as text, which no JSON encoder of Python's writes."""


def paths(value: Any, base: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every part of a JSON value is."""
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for name, part in entries:
        yield (*base, name)
        yield from paths(part, (*base, name))


def changed(value: Any, path: tuple[Any, ...], part: Any) -> Any:
    """The value with another part at a path."""
    made = copy.deepcopy(value)
    parent = made
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = part
    return made


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """The value without a part."""
    made = copy.deepcopy(value)
    parent = made
    for step in path[:-1]:
        parent = parent[step]
    del parent[path[-1]]
    return made


def variants(record: dict[str, Any], more: tuple[str, ...], odd: tuple[Any, ...] = ODD) -> Iterator[Any]:
    """Every part of a record in every odd kind, each part left out, and fields that are not there."""
    for path in list(paths(record)):
        yield without(record, path)
        for part in odd:
            yield changed(record, path, part)
    for name in more:
        for part in odd:
            yield {**record, name: part}
            if isinstance(record.get("head"), dict):
                yield {**record, "head": {**record["head"], name: part}}


def several(seed: int, made: list[Any], count: int) -> list[Any]:
    """So many of these, chosen by a seed; all of them where there are fewer."""
    return made if count >= len(made) else Random(seed).sample(made, count)
