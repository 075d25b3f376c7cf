"""What any release has encoded, every later one decodes: stored bytes of each codec, and what they stand for."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from secure_xcom.core.codecs import Codecs

STORED = Path(__file__).parent / "codecs"
CODECS = Codecs(lambda value: value, lambda structure: structure)

VALUES: dict[str, Any] = {
    "npy": np.array([[1.5, -2.0], [np.nan, 0.0]]),
    "arrow-table": pa.table({"n": [1, None], "l": [["x"], []]}, metadata={"k": "v"}),
    "arrow-polars": pl.DataFrame({"n": [1, None], "s": ["x", "größe"]}),
    "arrow-pandas": pd.DataFrame(
        {
            "n": [1.5, np.nan],
            "objects": pd.Series(["x", None], dtype=object),
            "lists": [[1], []],
            "kind": pd.Categorical(["a", "b"], categories=["b", "a"], ordered=True),
        },
        index=pd.DatetimeIndex([dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2)], freq="D", tz="UTC"),  # noqa: DTZ001
    ),
}


@pytest.mark.parametrize("codec", VALUES)
def test_stored_bytes_decode(codec: str) -> None:
    """The stored bytes of a codec are the value that they were made of."""
    expected = VALUES[codec]
    back, *_ = CODECS.decode(codec, (STORED / codec).read_bytes(), max_bytes=0)
    assert type(back) is type(expected)
    if codec == "npy":
        assert back.dtype == expected.dtype
        assert back.tobytes() == expected.tobytes()
    elif codec == "arrow-pandas":
        # Indexes and strings have the types of the pandas that reads them, so they are compared by their values.
        assert repr(back.to_dict()) == repr(expected.to_dict())
        assert (back["kind"].cat.ordered, list(back["kind"].cat.categories)) == (True, ["b", "a"])
        assert back.index.freqstr == "D"
    else:
        assert back.equals(expected)


def test_every_codec_has_stored_bytes() -> None:
    """No codec of ours is without a vector."""
    from secure_xcom.core.codecs.registry import IMPLEMENTATIONS

    assert set(IMPLEMENTATIONS) == set(VALUES) == {path.name for path in STORED.iterdir()}
