"""Values of every type that is handed over in these tests, by name. Built anew in each process."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import pathlib
import uuid
import zoneinfo
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import attrs
import pendulum
import pydantic


@dataclass
class Account:
    """A dataclass."""

    owner: str
    token: str
    tags: list[str] = field(default_factory=list)


@dataclass
class Nested:
    """A dataclass in a dataclass, which Airflow's serialization gives back as a dict."""

    account: Account


@attrs.define
class Machine:
    """A class of attrs."""

    name: str
    ports: list[int]


class Person(pydantic.BaseModel):
    """A model of pydantic."""

    name: str
    born: dt.date | None = None
    limit: decimal.Decimal = decimal.Decimal("0.1")


class Own:
    """A class that serializes itself."""

    __version__ = 1

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Own({self.text!r})"

    def serialize(self) -> dict[str, str]:
        """Airflow's hook."""
        return {"text": self.text}

    @staticmethod
    def deserialize(data: dict[str, str], version: int) -> Own:
        """Airflow's hook."""
        return Own(data["text"])


class Color(enum.Enum):
    """An enum that Airflow's serialization does not take."""

    RED = "red"


class Level(enum.IntEnum):
    """An enum that is a number."""

    HIGH = 3


class Word(str, enum.Enum):
    """An enum that is a string."""

    YES = "yes"


class Point(NamedTuple):
    """A named tuple, which Airflow's serialization gives back as a tuple."""

    x: int
    y: str


class Plain:
    """A class without any way to serialize it."""


def _numpy() -> Any:
    import numpy as np

    return np


def _pandas() -> Any:
    import pandas as pd

    return pd


def _arrow() -> Any:
    import pyarrow as pa

    return pa


def _frame() -> Any:
    pandas = _pandas()
    columns = {
        "number": [1, 2, 3],
        "text": ["a", "ü", None],
        "float": [0.5, float("nan"), float("inf")],
        "time": pandas.to_datetime(["2024-01-01", "2024-06-01", None], utc=True),
        "category": pandas.Categorical(["x", "y", "x"]),
    }
    return pandas.DataFrame(columns)


def _cyclic() -> list[Any]:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    return cyclic


def _deep(depth: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


_BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
_MOMENT = dt.datetime(2024, 10, 27, 2, 30, 15, 123456)  # noqa: DTZ001  # naive, to be given zones below

SHAPES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "0": lambda: 0,
    "-1": lambda: -1,
    "int over 64 bits": lambda: 2**64 + 1,
    "int of 600 bits": lambda: -(2**600),
    "0.1": lambda: 0.1,
    "-0.0": lambda: -0.0,
    "smallest float": lambda: 5e-324,
    "largest float": lambda: 1.7976931348623157e308,
    "whole float": lambda: 3.0,
    "empty str": lambda: "",
    "unicode": lambda: "äß€ \U0001f511 \u200f \u2028",
    "quotes": lambda: "a\"b'c\\d\n\r\t\x0b\x7f",
    "1 MB str": lambda: "0123456789abcdef" * 65536,
    "stars": lambda: "***",
    "str like a path": lambda: "file:///etc/hostname",
    "str like JSON": lambda: '{"secure_xcom": 1}',
    "bytes": lambda: b"\x00\xff text",
    "empty bytes": lambda: b"",
    "bytearray": lambda: bytearray(b"\x01\xfe"),
    "1 MB bytes": lambda: bytes(range(256)) * 4096,
    "bytes in dict": lambda: {"a": b"\x01"},
    "empty list": list,
    "empty dict": dict,
    "nested": lambda: {"a": [{"b": [1, None, {"c": ()}]}], "z": 0, "b": {}},
    "dict of int keys": lambda: {1: "a", 2: "b"},
    "ordered dict": lambda: OrderedDict([("b", 1), ("a", 2)]),
    "defaultdict": lambda: defaultdict(list, a=[1]),
    "tuple": lambda: (1, "a", (2.5, None)),
    "empty tuple": tuple,
    "named tuple": lambda: Point(1, "a"),
    "set": lambda: {1, "a", (2, 3)},
    "empty set": set,
    "frozenset": lambda: frozenset({"a", "b"}),
    "list of sets": lambda: [{1}, frozenset({2})],
    "range": lambda: range(3),
    "naive datetime": lambda: _MOMENT,
    "UTC datetime": lambda: _MOMENT.replace(tzinfo=dt.timezone.utc),
    "zoned datetime": lambda: _MOMENT.replace(tzinfo=_BERLIN),
    "zoned datetime, fold": lambda: _MOMENT.replace(tzinfo=_BERLIN, fold=1),
    "offset datetime": lambda: _MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
    "pendulum datetime": lambda: pendulum.datetime(2024, 2, 29, 12, tz="Asia/Tokyo"),
    "date": lambda: dt.date(1999, 12, 31),
    "time": lambda: dt.time(1, 2, 3),
    "timedelta": lambda: dt.timedelta(days=-1, microseconds=7),
    "pendulum zone": lambda: pendulum.timezone("Europe/Berlin"),
    "zoneinfo": lambda: _BERLIN,
    "Decimal": lambda: decimal.Decimal("10.500"),
    "Decimal, long": lambda: decimal.Decimal("123456789012345678901234567890.123456789"),
    "Decimal, whole": lambda: decimal.Decimal(7),
    "UUID": lambda: uuid.UUID(int=0x1234567890ABCDEF1234567890ABCDEF),
    "Enum": lambda: Color.RED,
    "IntEnum": lambda: Level.HIGH,
    "str Enum": lambda: Word.YES,
    "dataclass": lambda: Account("me", "t", ["a"]),
    "list of dataclasses": lambda: [Account("me", "t"), Account("you", "u")],
    "nested dataclass": lambda: Nested(Account("me", "t")),
    "attrs": lambda: Machine("m", [1, 2]),
    "pydantic": lambda: Person(name="p", born=dt.date(2000, 1, 1)),
    "own serialize": lambda: Own("text"),
    "plain object": Plain,
    "class": lambda: Plain,
    "function": lambda: _deep,
    "complex": lambda: 1 + 2j,
    "Path": lambda: pathlib.PurePosixPath("/a/b"),
    "exception": lambda: ValueError("text"),
    "cycle": _cyclic,
    "deep list": lambda: _deep(12),
    "too deep list": lambda: _deep(30),
    "dict like a reference": lambda: {"secure_xcom": 1, "head": {}, "keys": [], "seal": {}},
    "dict like our tag": lambda: {"secure_xcom": "of mine"},
    "dict of old style": lambda: {"__type": "set", "__var": [1, 2]},
    "dict with reserved key": lambda: {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1]},
    "dict with reserved id": lambda: {"__id__": "x"},
    "numpy int64": lambda: _numpy().int64(-5),
    "numpy uint8": lambda: _numpy().uint8(200),
    "numpy float32": lambda: _numpy().float32(0.1),
    "numpy float64": lambda: _numpy().float64(0.1),
    "numpy bool": lambda: _numpy().bool_(True),
    "numpy complex": lambda: _numpy().complex128(1 + 2j),
    "numpy array": lambda: _numpy().arange(6, dtype="int32").reshape(2, 3),
    "DataFrame": _frame,
    "empty DataFrame": lambda: _pandas().DataFrame(),
    "Series": lambda: _pandas().Series([1, 2]),
    "pandas Timestamp": lambda: _pandas().Timestamp("2024-01-01", tz="UTC"),
    "arrow Table": lambda: _arrow().table({"a": [1, 2]}),
}
"""What one task pushes under a key each."""

FIERCE: dict[str, Callable[[], Any]] = {
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "nan in list": lambda: [1.5, float("nan"), float("-inf")],
    "lone surrogate": lambda: "a\ud800b",
    "NUL": lambda: "a\x00b",
    "int of 4,000 digits": lambda: 10**4000,
    "int of 5,000 digits": lambda: 10**5000,
}
"""What may end the process that hands it over: one task instance each."""
