"""Codecs by type: what goes in comes back equal and of the same type, and what would not is left to Airflow."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.extra import pandas as hpd
from pandas.testing import assert_frame_equal, assert_series_equal

from secure_xcom.core.codecs import Codecs, Encoded, decompress, pack, registry
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import CodecUnknown, ValueNotDecodable, ValueNotSerialisable, ValueTooLarge
from tests.support.world import World

CODECS = Codecs(lambda value: {"left": type(value).__name__}, lambda structure: structure)
BERLIN = pd.date_range("2026-01-01", periods=3, freq="D", tz="Europe/Berlin")


def decoded(codec: str, data: bytes, max_bytes: int = 1 << 30) -> Any:
    """What the codec of this name makes of some bytes."""
    return CODECS.decode(codec, data, max_bytes=max_bytes)[0]


def through(value: object) -> tuple[str, Any]:
    """The codec that took a value, and what comes back."""
    encoded = CODECS.encode(value)
    return encoded.codec, decoded(encoded.codec, encoded.data)


FRAMES = {
    "numbers": pd.DataFrame(
        {"a": [1, 2, 3], "b": [1.0, np.nan, -np.inf], "c": np.array([1, 2, 3], dtype="uint8")}
    ),
    "half floats": pd.DataFrame({"a": np.array([1, np.nan], dtype="float16")}),
    "strings": pd.DataFrame({"a": ["x", "", "größe"]}),
    "strings as objects, two nulls": pd.DataFrame(
        {
            "none": pd.Series(["x", None], dtype=object),
            "nan": pd.Series([np.nan, "y"], dtype=object),
        }
    ),
    "bytes": pd.DataFrame({"a": pd.Series([b"x", b"\0"], dtype=object)}),
    "booleans as objects": pd.DataFrame({"a": pd.Series([True, None, False], dtype=object)}),
    "integers as objects": pd.DataFrame({"a": pd.Series([1, 2], dtype=object)}),
    "lists": pd.DataFrame({"a": [[1, 2], [], None]}),
    "lists of lists": pd.DataFrame({"a": [[[1], []], []]}),
    "dicts": pd.DataFrame({"a": [{"x": 1, "y": "z"}] * 2}),
    "dates": pd.DataFrame({"a": [dt.date(2026, 1, 1), None]}),
    "decimals": pd.DataFrame({"a": [decimal.Decimal("1.10"), decimal.Decimal("2.25")]}),
    "time zones": pd.DataFrame({"a": BERLIN, "b": BERLIN.tz_convert("UTC"), "c": BERLIN.tz_localize(None)}),
    "units of time": pd.DataFrame(
        {unit: pd.to_datetime(["2026-01-01", "NaT"]).as_unit(unit) for unit in ("s", "ms", "us", "ns")}
    ),
    "durations": pd.DataFrame({"a": pd.to_timedelta([1, None, 3], unit="s")}),
    "categories": pd.DataFrame(
        {
            "ordered": pd.Categorical(list("abc"), categories=list("cbad"), ordered=True),
            "numbers": pd.Categorical([1, None, 2]),
        }
    ),
    "nullable": pd.DataFrame(
        {
            "i": pd.array([1, None], dtype="Int64"),
            "b": pd.array([True, None], dtype="boolean"),
            "s": pd.array(["a", None], dtype="string"),
            "f": pd.array([1.5, None], dtype="Float64"),
        }
    ),
    "periods and intervals": pd.DataFrame(
        {"p": pd.period_range("2026-01", periods=3, freq="M"), "i": pd.interval_range(0, 3)}
    ),
    "an index of times": pd.DataFrame({"a": [1, 2, 3]}, index=BERLIN),
    "an index of several levels": pd.DataFrame(
        {"a": range(4)}, index=pd.MultiIndex.from_product([["x", "y"], [1, 2]], names=["k", None])
    ),
    "columns of several levels": pd.DataFrame(
        np.ones((2, 4)), columns=pd.MultiIndex.from_product([["x", "y"], [1, 2]])
    ),
    "numbered columns": pd.DataFrame(np.ones((2, 3))),
    "named axes": pd.DataFrame({"a": [1]}).rename_axis(columns="cols", index="rows"),
    "a range of rows": pd.DataFrame({"a": range(3)}, index=pd.RangeIndex(2, 8, 2, name="r")),
    "no rows": pd.DataFrame({"a": np.array([], dtype="int32")}),
    "nothing": pd.DataFrame(),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_frames_come_back(frame: pd.DataFrame) -> None:
    """dtypes, nulls, indexes, categories, time zones and nested cells of a data frame survive."""
    codec, back = through(frame)
    assert codec == "arrow-pandas"
    assert_frame_equal(back, frame, check_freq=True, check_column_type=True)
    # As text too: to assert_frame_equal None and nan are one, and a list and an array are.
    assert repr(back.to_dict()) == repr(frame.to_dict())


def test_attributes_come_back() -> None:
    """The attributes of a frame survive."""
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"source": ["a", 1]}
    assert through(frame)[1].attrs == frame.attrs


def test_what_comes_back_can_be_changed() -> None:
    """A pulled frame or array has memory of its own, as it has under the stock backend."""
    frame = through(pd.DataFrame({"a": [1.0, 2.0]}))[1]
    frame.loc[0, "a"] = 7.0
    array = through(np.arange(3))[1]
    array[0] = 7
    assert (frame["a"][0], array[0]) == (7.0, 7)


@pytest.mark.parametrize(
    "series",
    [pd.Series([1, 2], name="x"), pd.Series(["a", None]), pd.Series([1.5], name=3), pd.Series(BERLIN)],
    ids=["named", "unnamed", "numbered", "times"],
)
def test_series_come_back(series: pd.Series[Any]) -> None:
    """A series survives with its name."""
    assert_series_equal(through(series)[1], series)


UNLIKE = {
    "several types in one column": pd.DataFrame({"a": [1, "x", None]}),
    "two nulls in one column": pd.DataFrame({"a": pd.Series([None, np.nan, "x"], dtype=object)}),
    "dicts of unlike fields": pd.DataFrame({"a": [{"x": 1}, {"y": 2}]}),
    "tuples": pd.DataFrame({"a": [(1, 2)]}),
    "arrays in cells": pd.DataFrame({"a": [np.array([1, 2]), np.array([3])]}),
    "a column twice": pd.DataFrame(np.ones((1, 2)), columns=["a", "a"]),
    "complex numbers": pd.DataFrame({"a": [1j]}),
    "sparse": pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}),
    "an index of several types": pd.DataFrame({"a": [1, 2]}, index=pd.Index([1, "a"], dtype=object)),
    "rows without columns": pd.DataFrame(index=range(5)),
    "array of objects": np.array([None, 1], dtype=object),
    "polars objects": pl.DataFrame({"o": [object()]}),
}


@pytest.mark.parametrize("value", UNLIKE.values(), ids=UNLIKE)
def test_what_would_change_is_left_to_airflow(value: object) -> None:
    """What an Arrow file cannot hold exactly goes by Airflow's own serialization, as without this product."""
    encoded = CODECS.encode(value)
    assert encoded.codec == "json"
    assert encoded.structure == {"left": type(value).__name__}


@given(
    hpd.data_frames(
        columns=[
            hpd.column("i", dtype=np.int64),
            hpd.column("f", dtype=np.float64),
            hpd.column("b", dtype=bool),
            hpd.column("t", dtype=np.dtype("M8[ns]")),
            hpd.column("s", elements=st.none() | st.text(st.characters(codec="utf-8"), max_size=5), dtype=object),
            hpd.column("l", elements=st.lists(st.integers(-9, 9), max_size=3), dtype=object),
        ],
        index=hpd.range_indexes(max_size=8) | hpd.indexes(dtype=np.int64, max_size=8),
    )
)
@settings(max_examples=60)
def test_any_frame_comes_back(frame: pd.DataFrame) -> None:
    """Frames made by hypothesis come back equal, by the codec or left to Airflow, and never changed."""
    codec, back = through(frame)
    if codec != "json":
        assert_frame_equal(back, frame)
        assert repr(back.to_dict()) == repr(frame.to_dict())


@given(
    hnp.arrays(
        dtype=hnp.scalar_dtypes() | hnp.array_dtypes(hnp.scalar_dtypes(), max_size=2),
        shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
@settings(max_examples=100)
def test_any_array_comes_back(array: np.ndarray[Any, Any]) -> None:
    """Arrays of every plain dtype, shape and byte order come back byte for byte."""
    codec, back = through(array)
    assert codec == "npy"
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "array",
    [np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(10)[::2], np.arange(6).reshape(2, 3)[:, ::-1]],
    ids=["by columns", "every other", "reversed"],
)
def test_memory_orders(array: np.ndarray[Any, Any]) -> None:
    """Arrays that do not lie in one piece, or by columns, come back equal."""
    assert np.array_equal(through(array)[1], array)


def test_tables_come_back() -> None:
    """Arrow's own tables and batches survive with their metadata, polars' frames and series with their types."""
    table = pa.table({"a": [1, 2, None], "b": [["x"], None, []]}, metadata={"k": "v"})
    assert through(table)[1].equals(table, check_metadata=True)
    batch = table.to_batches()[0]
    back = through(batch)[1]
    assert type(back) is pa.RecordBatch
    assert back.equals(batch, check_metadata=True)
    frame = pl.DataFrame(
        {
            "a": [1, None],
            "c": pl.Series(["x", "y"], dtype=pl.Categorical),
            "l": [[1], []],
            "d": [dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), None],
            "s": [{"x": 1}, {"x": None}],
        }
    )
    again = through(frame)[1]
    assert again.equals(frame)
    assert again.schema == frame.schema
    series = pl.Series("n", [1, 2])
    assert through(series)[1].equals(series, check_names=True)


def test_an_array_of_too_many_fields_is_not_taken() -> None:
    """An array whose header numpy would not read again is never taken by the codec, whatever its names."""
    for letter in "aä":
        fields = [(f"{letter}_{number}", "f8") for number in range(800)]
        assert CODECS.encode(np.zeros(1, dtype=fields)).codec == "json"
        assert through(np.zeros(1, dtype=fields[:300]))[0] == "npy"


class Subclass(pd.DataFrame):
    """A frame that Arrow would bring back as another type."""


def test_a_subclass_is_not_taken() -> None:
    """A subclass would come back as its base, so it is Airflow's."""
    assert CODECS.encode(Subclass({"a": [1]})).codec == "json"


def test_columns_under_sensitive_names_are_masked() -> None:
    """Values of a frame's sensitive column are registered with the masker, on push and on pull."""
    world = World()
    reference = world.push(pd.DataFrame({"user": ["anna", "bert"], "password": ["open-sesame", "melon-9"]}))
    assert {"open-sesame", "melon-9"} <= set(world.masked)
    assert "anna" not in world.masked
    assert "open-sesame" not in repr(reference)
    world.masked.clear()
    assert list(world.pull(reference)["password"]) == ["open-sesame", "melon-9"]
    assert {"open-sesame", "melon-9"} <= set(world.masked)


def _with_attributes(frame: pd.DataFrame, **attributes: str) -> pd.DataFrame:
    frame.attrs.update(attributes)
    return frame


SECRET = {
    "a series' name": pd.Series(["swordfish-1"], name="password"),
    "an index": pd.DataFrame({"a": [1]}, index=pd.Index(["swordfish-1"], name="password")),
    "a level of an index": pd.DataFrame(
        {"a": [1]}, index=pd.MultiIndex.from_tuples([("swordfish-1", 1)], names=["password", None])
    ),
    "attributes": _with_attributes(pd.DataFrame({"a": [1]}), password="swordfish-1"),
    "two columns of a name": pa.Table.from_arrays([["swordfish-1"], ["melon-9"]], names=["password", "password"]),
    "a field of an array": np.array([("swordfish-1", 5)], dtype=[("password", "U20"), ("n", "i4")]),
    "a field of a field": np.array([((b"swordfish-1",),)], dtype=[("a", [("password", "S20")])]),
}


@pytest.mark.parametrize("value", SECRET.values(), ids=SECRET)
def test_whatever_a_name_stands_over_is_masked(value: object) -> None:
    """What a sensitive name stands over in a frame or an array is masked, and never in the preview."""
    world = World(settings=Settings(preview="masked"))
    reference = world.push(value)
    assert "swordfish-1" in world.masked
    assert "swordfish-1" not in repr(reference["preview"])


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (decimal.Decimal("12345678.91"), "12345678.91"),
        (dt.date(1999, 1, 2), "1999-01-02"),
        (dt.datetime(1999, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc), "1999-01-02 03:04:05+00:00"),
        (dt.time(3, 4, 5), "03:04:05"),
    ],
    ids=["decimal", "date", "datetime", "time"],
)
def test_cells_of_other_kinds_are_masked(cell: object, shown: str) -> None:
    """Cells that JSON has no form for are registered as they print, where their column's name is sensitive."""
    world = World()
    world.push(pa.table({"token": [cell], "other": [cell]}))
    assert shown in world.masked
    world.masked.clear()
    world.push(pa.table({"other": [cell]}))
    assert not world.masked


LONG = "x" * (4 << 20)
HEAVY = {
    "arrow text": pa.table({"text": [LONG] * 40, "password": ["swordfish"] * 40}),
    "arrow dictionary": pa.table(
        {
            "text": pa.DictionaryArray.from_arrays(pa.array([0] * 40, pa.int8()), pa.array([LONG])),
            "password": ["swordfish"] * 40,
        }
    ),
    "arrow lists": pa.table(
        {"text": pa.array([np.zeros(1 << 19)] * 40, pa.list_(pa.float64())), "password": ["swordfish"] * 40}
    ),
    "polars": pl.DataFrame({"text": [LONG] * 40, "password": ["swordfish"] * 40}),
}
if isinstance(pd.Series(["x"]).dtype, pd.StringDtype):
    # pandas 2 keeps text as Python's own objects, which a picture only refers to.
    HEAVY["pandas"] = pd.DataFrame({"text": [LONG] * 40, "password": ["swordfish"] * 40})


@pytest.mark.parametrize("value", HEAVY.values(), ids=HEAVY)
def test_a_picture_is_small_beside_the_value(value: Any) -> None:
    """Of a column of long cells the picture has a few, of the others all that it has of any frame."""
    encoded = CODECS.encode(value)
    assert encoded.codec.startswith("arrow-")
    (picture,) = encoded.structure.values()  # type: ignore[attr-defined]
    columns = picture["columns"]
    assert columns["password"] == ["swordfish"] * 40
    assert 0 < sum(map(len, columns["text"])) <= 16 << 20


def test_a_codec_that_nobody_has_is_refused_by_name() -> None:
    """A head's unknown codec is named."""
    with pytest.raises(CodecUnknown, match=r"acme\.mesh"):
        decoded("acme.mesh", b"")


@pytest.mark.parametrize("codec", ["arrow-pandas", "arrow-polars", "arrow-table", "npy"])
def test_other_bytes_are_refused(codec: str) -> None:
    """Bytes that are not of the codec are an error of ours that quotes none of them."""
    with pytest.raises(ValueNotDecodable) as caught:
        decoded(codec, b"swordfish" * 9)
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize("value", [pa.table({"a": [b"one", b"three"]}), pd.DataFrame({"a": [b"one", b"three"]})])
def test_what_points_past_its_memory_is_refused(value: object) -> None:
    """An Arrow stream whose offsets point past its end, as a hostile task may seal it, gives no foreign memory."""
    encoded = CODECS.encode(value)
    true, false = struct.pack("<3i", 0, 3, 8), struct.pack("<3i", 0, 3, 4000)
    assert encoded.data.count(true) == 1
    with pytest.raises(ValueNotDecodable, match="ArrowInvalid"):
        decoded(encoded.codec, encoded.data.replace(true, false))


def test_a_panic_of_polars_is_refused() -> None:
    """What makes polars panic, which is no `Exception`, is an error of ours as well."""
    data = bytearray(CODECS.encode(pl.DataFrame({"a": [1, 2, 3]})).data)
    data[199] ^= 0xFF
    with pytest.raises(ValueNotDecodable, match="arrow-polars"):
        decoded("arrow-polars", bytes(data))


def test_an_error_of_a_class_is_not_passed_on() -> None:
    """Whatever a class's own serialization raises is an error of ours that quotes none of it."""

    def refuse(_: object) -> object:
        raise NotImplementedError("swordfish quoted")

    with pytest.raises(ValueNotSerialisable, match="NotImplementedError") as caught:
        Codecs(refuse, refuse).encode(object())
    assert "swordfish" not in str(caught.value)


class Mesh:
    """A type of another package."""

    def __init__(self, points: int) -> None:
        self.points = points


class MeshCodec:
    """What that package would ship."""

    types = (f"{__name__}.Mesh",)

    def encode(self, value: Mesh) -> list[bytes] | None:
        """Its points; fails for some, and has no form for none."""
        if value.points < 0:
            raise OverflowError(f"{value.points} quoted")
        return [b"mesh:", str(value.points).encode()] if value.points else None

    def decode(self, data: bytes) -> Mesh:
        """The mesh."""
        return Mesh(int(data.removeprefix(b"mesh:")))

    def picture(self, value: Mesh) -> object:
        """Its points."""
        return {"points": value.points}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that names the codec by its entry point, one with a name of ours, and a broken one."""
    folder = tmp_path / "acme-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    here = f"{__name__}:MeshCodec"
    (folder / "entry_points.txt").write_text(
        f"[secure_xcom.codecs]\nacme.mesh = {here}\nnpy = {here}\nacme.broken = acme_is_not_here:Codec\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _module())
    registry.forget()
    yield
    registry.forget()


def _module() -> Any:
    from types import ModuleType

    module = ModuleType(__name__)
    module.__dict__.update(globals())
    return module


def test_a_package_adds_a_codec(installed: None) -> None:
    """A codec of another package takes its types, by a name that stands in the head."""
    codec, back = through(Mesh(12))
    assert (codec, back.points) == ("acme.mesh", 12)
    assert through(Mesh(0))[0] == "json"
    with pytest.raises(ValueNotSerialisable) as caught:
        through(Mesh(-5))
    assert "-5" not in str(caught.value)
    # None of ours is ever replaced.
    assert through(np.arange(3))[0] == "npy"
    with pytest.raises(CodecUnknown, match="cannot be loaded"):
        decoded("acme.broken", b"")


def packed(data: bytes, how: str = "zstd") -> tuple[str, list[bytes], int | None]:
    """What is sealed of some bytes."""
    compression, pieces, size = pack(Encoded("bytes", (data,), data), how, whole_to=0)
    return compression, [bytes(piece) for piece in pieces], size


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"abcdefgh" * 300_000, "zstd"), (os.urandom(2_400_000), "none")],
    ids=["it pays", "it does not"],
)
def test_large_values_are_compressed_in_pieces_where_it_pays(data: bytes, expected: str) -> None:
    """Over a MiB a value is compressed while it is sealed if samples shrink, and comes back either way."""
    compression, pieces, size = packed(data)
    assert (compression, size) == (expected, None)
    assert decompress(pieces, compression, max_bytes=len(data)) == data
    with pytest.raises(ValueTooLarge):
        decompress(pieces, compression, max_bytes=len(data) - 1)


def test_a_value_of_many_buffers() -> None:
    """Buffers of any size and kind are one value, sampled and compressed across their ends."""
    buffers = (b"", b"x" * 700_000, memoryview(bytes(90_000)).cast("I"), b"", b"y" * 700_000)
    joined = b"".join(bytes(buffer) for buffer in buffers)
    for how in ("zstd", "none"):
        compression, pieces, _ = pack(Encoded("bytes", buffers, joined), how, whole_to=0)
        assert decompress([bytes(piece) for piece in pieces], compression, max_bytes=1 << 24) == joined


@pytest.mark.parametrize(
    "value", [os.urandom(3 << 20), b"ab" * (2 << 20), {"text": "x" * (3 << 20)}], ids=["random", "alike", "text"]
)
def test_large_values_go_the_whole_way(value: object) -> None:
    """Values that are sealed in pieces are pulled equal, and their reference says their size."""
    world = World(settings=Settings())
    reference = world.push(value)
    (stored,) = world.store.list()
    assert reference["seal"]["size"] == stored.size
    assert world.pull(reference) == value
