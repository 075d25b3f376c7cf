"""A value that cannot be serialized is refused with the class of the part at fault and the path to it."""

from __future__ import annotations

import collections
import dataclasses
import enum
import threading
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pytest
from pydantic import BaseModel, ConfigDict

from secure_xcom.claims.exclusive import exclusive
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.codecs.plain_json import plain_parts
from secure_xcom.core.errors import ValueNotSerialisable
from secure_xcom.core.masking.sensitive_names import SensitiveNames

bases = pytest.importorskip("airflow.sdk.bases.xcom")
CODECS = Codecs(bases.BaseXCom.serialize_value, lambda structure: structure)
SECRET = "swordfish"
PATH = PurePosixPath("/swordfish")


@dataclasses.dataclass
class Data:
    """A dataclass."""

    path: Any
    number: int = 1


@attrs.define
class Attrs:
    """A class of attrs."""

    path: Any


class Model(BaseModel):
    """A model of pydantic, which takes paths itself."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow")
    path: Any
    fine: PurePosixPath = PATH


class Named(NamedTuple):
    """A named tuple."""

    path: Any


class Thing:
    """Serializes itself, and quotes its value in all it says."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __repr__(self) -> str:
        return SECRET

    def serialize(self) -> Any:
        """Return the data, or fail with it."""
        if isinstance(self.data, Exception):
            raise self.data
        return self.data


class Odd:
    """No serialization takes it."""

    def __str__(self) -> str:
        raise ValueError(SECRET)


class Choice(enum.Enum):
    """An enumeration."""

    A = 1


def nested(levels: int, leaf: object) -> Any:
    """A list in a list."""
    value = leaf
    for _ in range(levels):
        value = [value]
    return value


def endless() -> dict[str, Any]:
    """A dict that contains itself."""
    value: dict[str, Any] = {"rows": [1]}
    value["rows"].append(value)
    return value


def endless_and_wide() -> list[Any]:
    """A list that contains itself many times."""
    value: list[Any] = []
    value += [value] * 3000
    return value


def endless_data() -> Data:
    """A dataclass that contains itself."""
    value = Data(None)
    value.path = value
    return value


OBJECTS = pl.Series("things", [Odd(), Odd()], dtype=pl.Object)
CASES: dict[str, tuple[Any, str]] = {
    "issue": ({"rows": [0, 1, 2, {"path": PATH}]}, "$.rows[3].path: PurePosixPath"),
    "alone": (PATH, "$: PurePosixPath"),
    "list": ([1, PATH], "$[1]: PurePosixPath"),
    "tuple": ((1, (PATH,)), "$[1][0]: PurePosixPath"),
    "set": ({"x": {PATH}}, "$.x[*]: PurePosixPath"),
    "frozen set": ([frozenset([PATH])], "$[0][*]: PurePosixPath"),
    "dict class": (collections.defaultdict(list, a=[PATH]), "$.a[0]: PurePosixPath"),
    "deque": ({"x": collections.deque([1])}, "$.x: deque"),
    "dataclass": ({"x": Data(Data({"y": [PATH]}))}, "$.x.path.path.y[0]: PurePosixPath"),
    "no copy": (Data(threading.Lock()), "$.path: lock"),
    "attrs": (Attrs([PATH]), "$.path[0]: PurePosixPath"),
    "pydantic": ({"m": Model(path=Model(path={"z": [Odd()]}))}, "$.m.path.path.z[0]: Odd"),
    "pydantic extra": (Model.model_validate({"path": 1, "more": Odd()}), "$.more: Odd"),
    "named tuple": (Named({"q": PATH}), "$.path.q: PurePosixPath"),
    "own": ({"t": Thing({"k": PATH})}, "$.t.serialize().k: PurePosixPath"),
    "own fails": ({"t": Thing(RuntimeError(SECRET))}, "$.t: Thing"),
    "enum": ([Choice.A], "$[0]: Choice"),
    "bytes": ({"b": [b"x"]}, "$.b[0]: bytes"),
    "integer": ({"n": 10**5000}, "$.n: int"),
    "key": ({"m": {Odd(): 1}}, "$.m[key 0]: a dict key of class Odd"),
    "reserved key": ({"m": {"__classname__": "x"}}, "$.m: dict with the key __classname__"),
    "function": ({"f": [nested]}, "$.f[0]: function"),
    "generator": ([iter([1])], "$[0]: list_iterator"),
    "deep": (nested(100, PATH), "[0]: PurePosixPath"),
    "too deep": (nested(3000, 1), "levels deep"),
    "endless": (endless(), "$.rows[1]: dict refers back to $,"),
    "endless and wide": (endless_and_wide(), "$[0]: list refers back to $,"),
    "endless dataclass": (endless_data(), "$.path: Data refers back to $,"),
    "frame": (pd.DataFrame({"a": [1, 2], "path": [PATH, PATH]}), "$.path[0]: PurePosixPath"),
    "frame within": ({"df": pd.DataFrame({"a": [1, 2], "path": ["x", PATH]})}, "$.df.path[1]: PurePosixPath"),
    "mixed column": (pd.DataFrame({"a": [1, 2], "mix": [1, "x"]}), "$.mix: Series"),
    "frame index": (pd.DataFrame({"a": [1]}, index=[PATH]), "$.index[0]: PurePosixPath"),
    "series": (pd.Series([1, PATH]), "$[1]: PurePosixPath"),
    "polars": (pl.DataFrame({"a": [1, 2], "things": OBJECTS}), "$.things[0]: Odd"),
    "polars within": ({"x": pl.DataFrame({"a": [1]})}, "$.x: DataFrame"),
    "array": (np.array([1, Odd()], dtype=object), "$[1]: Odd"),
    "array within": ({"n": np.array([1, 2])}, "$.n: ndarray"),
}


def refusal(value: object, *, codecs: Codecs = CODECS, where: str = "dag/run/task:return_value") -> str:
    """What the error of a push says."""
    with pytest.raises(ValueNotSerialisable) as caught:
        codecs.encode(value, where=where)
    assert caught.value.__cause__ is None
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", list(CASES))
def test_the_part_is_named(name: str) -> None:
    """In every kind of container and by every codec, without the value and with a remedy."""
    value, expected = CASES[name]
    said = refusal(value)
    assert expected in said
    assert "What to do: " in said
    assert len(said) < 600


@pytest.mark.parametrize(
    ("value", "where", "expected"),
    [
        ({"password": {SECRET: {"x": PATH}}}, "d/r/t:k", "$.password[key 0][key 0]: Pure"),
        ({SECRET: PATH}, "d/r/t[3]:db_password", "$[key 0]: Pure"),
        ({"iban": {SECRET: PATH}}, "d/r/t:k", "$.iban[key 0]: Pure"),
        ({f"{SECRET}@example.org": PATH}, "d/r/t:k", "$[key 0]: Pure"),
        ({47110815: {5: PATH}}, "d/r/t:k", "$[key 0][5]: Pure"),
        ({"x": pd.DataFrame({f"{SECRET} 1": [PATH]})}, "d/r/t:k", "$.x[column 0][0]: Pure"),
    ],
)
def test_keys_that_may_be_secret_are_not_shown(value: object, where: str, expected: str) -> None:
    """Below a sensitive name, under a sensitive XCom key, and where a key does not look like a field's name."""
    assert expected in refusal(value, codecs=CODECS.with_names(SensitiveNames(["password", "iban"])), where=where)


def test_an_exclusive_part_is_told_how_to_be_exclusive() -> None:
    """Only a whole XCom is exclusive; the remedy for a class of one's own would lead nowhere."""
    said = refusal({"a": exclusive(1)})
    assert "$.a: Exclusive" in said
    assert "make the whole XCom exclusive, or push this part by xcom_push" in said


def test_a_value_that_contains_itself_costs_no_memory() -> None:
    """The look for plain values ends at once where each level is many times the one before."""
    assert plain_parts(endless_and_wide()) is None
    shared = list(range(2000))
    assert plain_parts([shared] * 2000) is None
    rows = [[number] * 1000 for number in range(1_001)]
    assert plain_parts(rows) is not None
