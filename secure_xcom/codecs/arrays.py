"""Numpy arrays in numpy's own format (NEP 1), which keeps byte order, structure and memory order.

Arrow has tensors of plain numbers only, so this is one step further than an Arrow file would go (docs/adr).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from secure_xcom.codecs.arrow import framed, seen

if TYPE_CHECKING:
    from typing_extensions import Buffer


class NpyCodec:
    """``numpy.ndarray`` of everything but Python objects, which would need pickle."""

    types = ("numpy.ndarray",)

    def encode(self, value: Any) -> Sequence[Buffer] | None:
        """The header, and the array's own memory where it lies in one piece."""
        import numpy as np

        described = None if value.dtype.hasobject else np.lib.format.dtype_to_descr(value.dtype)
        if described is None or np.lib.format.descr_to_dtype(described) != value.dtype or value.dtype.metadata:
            return None
        if not (value.flags.c_contiguous or value.flags.f_contiguous):
            value = np.ascontiguousarray(value)
        header = io.BytesIO()
        try:
            np.lib.format.write_array_header_2_0(header, np.lib.format.header_data_from_array_1_0(value))
        except UnicodeEncodeError:
            # Fields with names beyond Latin-1 need version 3, which numpy writes with the array only.
            np.save(header, value, allow_pickle=False)
            return [header.getvalue()]
        flat = value.reshape(-1, order="A")
        # As bytes, because Python's buffers know neither dates nor float16.
        return [header.getvalue(), flat.view(np.uint8).data if flat.itemsize and flat.size else b""]

    def decode(self, data: bytes) -> Any:
        """The array, writable like every other."""
        import numpy as np

        return np.load(io.BytesIO(data), allow_pickle=False)

    def picture(self, value: Any) -> object:
        """The first numbers or strings."""
        cells = seen(value.size, lambda rows: rows * value.itemsize)
        return framed("ndarray", len(value) if value.ndim else 1, {"values": value.reshape(-1)[:cells].tolist()})
