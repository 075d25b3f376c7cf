"""Arrow streams with compressed buffers: held against the limit before anything of them is unfolded."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs, Encoded
from secure_xcom.core.codecs.arrow_size import unfolded
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import ValueNotDecodable, ValueTooLarge
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push
from secure_xcom.sinks.access_log import AccessLog
from tests.support.world import World, coordinate

CODECS = Codecs(lambda value: value, lambda structure: structure)
ROWS = 1 << 20
TABLE = pa.table(
    {
        "zeros": pa.array([0] * ROWS, pa.int64()),
        "word": pa.array(["word"] * ROWS).dictionary_encode(),
        "short": pa.array([None] * (ROWS - 1) + [True]),
    }
)


def stream(table: pa.Table, compression: str | None, **options: Any) -> bytes:
    """An IPC stream as a hostile task may write it."""
    sink = pa.BufferOutputStream()
    chosen = pa.ipc.IpcWriteOptions(compression=compression, **options)
    with pa.ipc.new_stream(sink, table.schema, options=chosen) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def of_polars(frame: pl.DataFrame, compression: Any) -> bytes:
    """The same of polars, as its codec has it."""
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer, compression=compression)
    return b"F" + buffer.getvalue()


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compressed_table_is_held_against_the_limit(compression: str) -> None:
    """It comes back if it unfolds to no more than is allowed, and else nothing of it was unfolded."""
    data = stream(TABLE, compression)
    size = unfolded(data)
    assert len(data) < 100_000 < 8 * ROWS < size < 14 * ROWS
    assert CODECS.decode("arrow-table", data, max_bytes=size)[0].equals(TABLE)
    held = pa.total_allocated_bytes()
    with pytest.raises(ValueTooLarge, match=f"decompresses to {size} bytes, {size - 1} are allowed"):
        CODECS.decode("arrow-table", data, max_bytes=size - 1)
    assert pa.total_allocated_bytes() == held


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_frames_are_held_against_the_limit(compression: str) -> None:
    """So it is with frames of pandas and of polars."""
    frame = pl.DataFrame({"zeros": [0] * ROWS})
    data = of_polars(frame, compression)
    assert CODECS.decode("arrow-polars", data, max_bytes=9 * ROWS)[0].equals(frame)
    with pytest.raises(ValueTooLarge):
        CODECS.decode("arrow-polars", data, max_bytes=7 * ROWS)
    ours = pd.DataFrame({"zeros": [0] * ROWS})
    table = pa.ipc.open_stream(CODECS.encode(ours).data).read_all()
    again = stream(table, compression)
    assert CODECS.decode("arrow-pandas", again, max_bytes=9 * ROWS)[0].equals(ours)
    with pytest.raises(ValueTooLarge):
        CODECS.decode("arrow-pandas", again, max_bytes=7 * ROWS)


class Hostile(Codecs):
    """What a task of the compartment may seal that does not use ours."""

    def encode(self, value: object, *, where: str = "") -> Encoded:
        """Any bytes, in the name of a codec of ours."""
        assert isinstance(value, bytes)
        return Encoded("arrow-table", (value,), {})


def test_a_pull_is_bounded_by_max_bytes() -> None:
    """A payload of a few KiB that unfolds to more than the deployment's `max_bytes` is refused by the pull."""
    world = World(Settings(max_bytes=1 << 20))
    hostile = Pipeline(
        world.settings,
        AccessPolicy.single(["memory-key://one"], world.store_uri),
        AccessLog([world.sink], version="test"),
        SensitiveNames(set()),
        Hostile(lambda value: value, lambda structure: structure),
        services=world.service,
    )
    (reference,) = hostile.push([Push(coordinate(), stream(TABLE, "zstd"))])
    with pytest.raises(ValueTooLarge, match="1048576 are allowed"):
        world.pull(reference)


def test_dictionaries_count() -> None:
    """A dictionary is a batch of its own, and what it unfolds to counts."""
    words = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array(["a" * (1 << 24)]))
    data = stream(pa.table({"word": words}), "zstd")
    assert len(data) < 100_000
    with pytest.raises(ValueTooLarge):
        CODECS.decode("arrow-table", data, max_bytes=1 << 24)


def test_what_is_not_compressed_unfolds_to_nothing() -> None:
    """What our own codecs write counts with its own size only, which was counted before."""
    for value in (TABLE, TABLE.to_batches()[0], pd.DataFrame({"a": [1]}), pl.DataFrame({"a": ["x"]})):
        encoded = CODECS.encode(value)
        assert encoded.codec.startswith("arrow-")
        CODECS.decode(encoded.codec, encoded.data, max_bytes=0)


def test_a_length_that_is_a_lie_is_refused() -> None:
    """A buffer that claims an exbibyte is refused before somebody makes room for it, and so is a negative one."""
    data = stream(pa.table({"a": pa.array([7] * 1000, pa.int64())}), "zstd")
    said = struct.pack("<q", 8000)
    assert data.count(said) == 1
    with pytest.raises(ValueTooLarge):
        CODECS.decode("arrow-table", data.replace(said, struct.pack("<q", 1 << 60)), max_bytes=1 << 40)
    with pytest.raises(ValueNotDecodable):
        CODECS.decode("arrow-table", data.replace(said, struct.pack("<q", -2)), max_bytes=1 << 40)


def test_the_compression_of_arrow_0_17_is_refused() -> None:
    """Which says nothing where all later releases look, and is still read by Arrow."""
    batch = pa.record_batch({"a": pa.array([1])})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch, custom_metadata={"ARROW:experimental_compression": "zstd"})
    with pytest.raises(ValueNotDecodable):
        CODECS.decode("arrow-table", sink.getvalue().to_pybytes(), max_bytes=1 << 20)


SMALL = stream(TABLE.slice(0, 300), "zstd")


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=4))
@example([])
def test_arrow_never_allocates_more_than_was_told(changes: list[tuple[int, int]]) -> None:
    """Whatever is changed in a stream: what Arrow then allocates was counted, or it is refused before."""
    data = bytearray(SMALL)
    for at, byte in changes:
        data[at] = byte
    try:
        told = unfolded(bytes(data))
    except ValueError:
        return
    if told > 1 << 24:
        return
    pool = pa.proxy_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(pa.ArrowException, OSError):
        pa.ipc.open_stream(pa.py_buffer(bytes(data)), memory_pool=pool).read_all()
    assert pool.max_memory() <= told + 4096
