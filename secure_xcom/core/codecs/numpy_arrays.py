"""Numpy arrays in numpy's own format (NEP 1), which keeps byte order, structure and memory order.

Arrow has tensors of plain numbers only, so this is one step further than an Arrow file would go (docs/adr).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from secure_xcom.core.codecs.arrow import framed, seen

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Which four bytes of a file of version 2 and 3 say how long its header is, in characters (NEP 1).
_LENGTH = slice(8, 12)
_HEADER_MAX = 10_000
"""What numpy reads of a header unless it is told otherwise: Python evaluates it, and its writer may be hostile."""


class NpyCodec:
    """``numpy.ndarray`` of everything but Python objects, which would need pickle."""

    types = ("numpy.ndarray",)

    def encode(self, value: Any) -> Sequence[Buffer] | None:
        """Return the header, and the array's own memory where it lies in one piece."""
        import numpy as np

        described = None if value.dtype.hasobject else np.lib.format.dtype_to_descr(value.dtype)
        if described is None or np.lib.format.descr_to_dtype(described) != value.dtype or value.dtype.metadata:
            return None
        if not (value.flags.c_contiguous or value.flags.f_contiguous):
            value = np.ascontiguousarray(value)
        file = io.BytesIO()
        flat = value.reshape(-1, order="A")
        # As bytes, because Python's buffers know neither dates nor float16.
        body = [flat.view(np.uint8).data] if flat.itemsize and flat.size else []
        try:
            np.lib.format.write_array_header_2_0(file, np.lib.format.header_data_from_array_1_0(value))
        except UnicodeEncodeError:
            # Fields with names beyond Latin-1 need version 3, which numpy writes with the array only.
            np.save(file, value, allow_pickle=False)
            body = []
        head = file.getvalue()
        return None if int.from_bytes(head[_LENGTH], "little") > _HEADER_MAX else [head, *body]

    def decode(self, data: bytes) -> Any:
        """Return the array, writable like every other."""
        import numpy as np

        return np.load(io.BytesIO(data), allow_pickle=False, max_header_size=_HEADER_MAX)

    def picture(self, value: Any) -> object:
        """Return the first numbers or strings, by field where they have fields."""
        # Not reshaped, which would copy all of an array that does not lie in one piece.
        cells = value.flat[: seen(value.size, lambda rows: rows * value.itemsize)]
        columns = _by_field(cells) if cells.dtype.names else {"values": cells.tolist()}
        return framed("ndarray", len(value) if value.ndim else 1, columns)


def _by_field(cells: Any) -> dict[str, Any]:
    """Return what each field holds, so that a field's name says what is secret as a column's does."""
    fields = ((name, cells[name]) for name in cells.dtype.names)
    return {name: _by_field(field) if field.dtype.names else field.tolist() for name, field in fields}
