"""Keys of mappings and labels of frames are masked as values are: under a sensitive name, or with "all"."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from secure_xcom.core.codecs import Codecs
from secure_xcom.core.masking.preview import preview
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames
from tests.support.secrets_of import secrets_of

NAMES = SensitiveNames(DEFAULT_NAMES)
SECRET = "swordfish-1"


def registered(value: object, *, key: str = "return_value", mode: str = "named") -> set[str]:
    """What the masker is told of a value."""
    return set(secrets_of(value, names=NAMES, key=key, mode=mode, cap=1000).values)


MAPPINGS = [
    {SECRET: 1},
    {SECRET: {"a": None}},
    {"a": {SECRET: []}},
    [{"a": [{SECRET: True}]}],
    json.dumps({SECRET: 1}),
    {"__classname__": "app.Thing", "__version__": 1, "__data__": {SECRET: 1}},
    {"__classname__": "app.Thing", "__version__": 1, "__data__": None, SECRET: 1},
    [["x", {SECRET: 1}], ["y", 1]],
    {SECRET.encode(): 1},
]


@pytest.mark.parametrize("value", MAPPINGS, ids=repr)
def test_keys_under_a_sensitive_name_are_registered(value: object) -> None:
    """However it lies below the name; and no key is elsewhere, where it only names."""
    assert SECRET in registered({"password": value})
    assert SECRET in registered([["password", value], ["user", 1]])
    assert SECRET in registered({"name": "TOKEN", "value": value})
    assert SECRET in registered(value, key="api_key")
    assert SECRET not in registered(value)


@pytest.mark.parametrize("value", MAPPINGS, ids=repr)
def test_all_registers_keys(value: object) -> None:
    """With mask_values = all a key is a string as any other."""
    assert SECRET in registered(value, mode="all")


def test_numbers_as_keys() -> None:
    """A number under a sensitive name is registered as a number is as a value."""
    assert "4711081500" in registered({"token": {4711081500: 1}})


@pytest.mark.parametrize("mode", ["shape", "masked"])
def test_a_key_below_a_sensitive_name_is_hidden_elsewhere(mode: str) -> None:
    """In previews it is hidden wherever the value has it again, as a key, in a text or alone."""
    value = {"password": {SECRET: 1}, SECRET: 2, "text": f"it is {SECRET}", "list": [SECRET]}
    shown = json.dumps(preview(value, mode=mode, names=NAMES, key="k", max_bytes=1500))
    assert SECRET not in shown
    assert "***" in shown


def frames() -> dict[str, Any]:
    """Frames whose labels hold a secret."""
    two = pd.MultiIndex.from_tuples([("a", SECRET), ("b", "x")])
    return {
        "column": pd.DataFrame({SECRET: [1]}),
        "series": pd.Series([1], name=SECRET),
        "index": pd.DataFrame({"a": [1, 2]}, index=[SECRET, "x"]),
        "series index": pd.Series([1, 2], index=[SECRET, "x"]),
        "index name": pd.DataFrame({"a": [1]}, index=pd.Index([1], name=SECRET)),
        "index levels": pd.DataFrame({"a": [1, 2]}, index=two),
        "index level name": pd.DataFrame({"a": [1, 2]}, index=two.set_names(["one", SECRET])),
        "column levels": pd.DataFrame([[1, 2]], columns=two),
        "column level name": pd.DataFrame([[1]], columns=pd.Index(["a"], name=SECRET)),
        "polars": pl.DataFrame({SECRET: [1]}),
        "polars series": pl.Series(SECRET, [1]),
        "table": pa.table({SECRET: [1]}),
    }


@pytest.mark.parametrize("kind", list(frames()))
def test_labels_of_frames(kind: str) -> None:
    """Columns, index, the names and labels of levels: as what lies in the frame."""
    codecs = Codecs(lambda value: value, lambda structure: structure)
    structure = codecs.encode(frames()[kind], where="").structure
    assert SECRET in registered(structure, key="password")
    assert SECRET in registered(structure, mode="all")
    if kind not in ("series", "column"):
        assert SECRET not in registered(structure)


def test_labels_under_a_level_of_a_sensitive_name() -> None:
    """A level that is named as a secret is one, whether it names rows or columns."""
    levels = pd.MultiIndex.from_tuples([("a", SECRET), ("b", "x")], names=["user", "api_token"])
    codecs = Codecs(lambda value: value, lambda structure: structure)
    for frame in (pd.DataFrame({"a": [1, 2]}, index=levels), pd.DataFrame([[1, 2]], columns=levels)):
        structure = codecs.encode(frame, where="").structure
        assert SECRET in registered(structure)
        assert SECRET not in json.dumps(preview(structure, mode="masked", names=NAMES, key="k", max_bytes=1500))


def test_words_of_the_pictures_stay_readable() -> None:
    """What every picture of a frame has is no secret, and neither are keys that every proxy setting has."""
    codecs = Codecs(lambda value: value, lambda structure: structure)
    structure = codecs.encode(pd.DataFrame({"a": [1]}, index=["x"]), where="").structure
    assert not registered(structure, key="password") & {"DataFrame", "columns", "index"}
    assert "https" not in registered({"proxies": {"https": "http://proxy.example"}})
