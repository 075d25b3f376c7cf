"""Opened payloads: frames in Arrow's format, arrays of numpy, JSON and zstd, from a producer that may be hostile.

The first byte says what the head would: the codec, or the compression.
"""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.codecs import Codecs
from secure_xcom.core.codecs.compression import ZSTD, decompress
from secure_xcom.core.errors import ValueNotDecodable, ValueTooLarge
from tests.fuzz import vectors
from tests.fuzz.harness import Harness

_MAX_BYTES = 1 << 20
_CODECS = ("arrow-table", "arrow-pandas", "arrow-polars", "npy", "json", "zstd")
_ours = Codecs(lambda value: value, lambda structure: structure)


def _decode(data: bytes) -> None:
    how, body = _CODECS[data[0] % len(_CODECS)] if data else "json", data[1:]
    if how == ZSTD:
        assert len(decompress([body], ZSTD, max_bytes=_MAX_BYTES)) <= _MAX_BYTES
    else:
        _ours.decode(how, body, max_bytes=_MAX_BYTES)


def _seeds() -> Iterator[bytes]:
    import zstandard

    for number, codec in enumerate(_CODECS[:4]):
        yield bytes([number]) + vectors.encoded(codec)
    for number, table in _tables():
        yield bytes([number]) + table
    yield b'\x04{"a": [1, 2.5, null, "x\\ud800"], "__type": {"b": NaN}}'
    yield b"\x05" + zstandard.ZstdCompressor().compress(b"some text, some text, some text")


def _tables() -> Iterator[tuple[int, bytes]]:
    """Yield small streams of many types, compressed and not."""
    import pyarrow as pa

    columns = {
        "nothing": pa.nulls(3),
        "words": pa.array(["a", "b", None]).dictionary_encode(),
        "views": pa.array(["a", "longer than twelve bytes", None], pa.string_view()),
        "lists": pa.array([[1], [], None], pa.list_(pa.int16())),
        "structs": pa.array([{"x": 1.5, "y": b"z"}] * 3),
        "times": pa.array([1, 2, 3], pa.timestamp("ns", "UTC")),
        "runs": pa.RunEndEncodedArray.from_arrays([3], ["run"]),
    }
    plain = {name: columns[name] for name in ("words", "times")}
    for table, numbers in ((pa.table(columns), (0,)), (pa.table(plain), (0, 1))):
        for compression in (None, "lz4", "zstd"):
            sink = pa.BufferOutputStream()
            options = pa.ipc.IpcWriteOptions(compression=compression)
            noted = table.replace_schema_metadata({b"secure_xcom": b'{"type": "DataFrame", "columns": {}}'})
            with pa.ipc.new_stream(sink, noted.schema, options=options) as writer:
                writer.write_table(noted)
            for number in numbers:
                yield number, sink.getvalue().to_pybytes()


HARNESS = Harness(
    (_decode,),
    (ValueNotDecodable, ValueTooLarge),
    _seeds,
    words=("secure_xcom", "pandas", "ARROW1", "\\x93NUMPY", "'descr'", "'shape'", "'fortran_order'", "batch"),
    longest=4096,
)
