"""A value as text that tells its type, its content and their order, so that two processes can compare digests."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, tzinfo
from typing import Any


def digest(value: object) -> str:
    """The same for equal values of the same types, in any process; tells nothing of the value."""
    return hashlib.sha256(describe(value).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def type_name(value: object) -> str:
    """``module.Class``."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def describe(value: object) -> str:
    """The type, and below it every part with its type."""
    return f"{type_name(value)}({_content(value)})"


def _content(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.isoformat()} {describe(value.tzinfo)}"
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, tzinfo):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, (set, frozenset)):
        return ", ".join(sorted(describe(part) for part in value))
    if isinstance(value, Mapping):
        return ", ".join(f"{describe(key)}: {describe(part)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, (str, range)):
        # Lazy sequences of XComs too, which are pulled here, one by one.
        return ", ".join(describe(part) for part in value)
    if dataclasses.is_dataclass(value):
        return _content({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    return _content_of_libraries(value)


def _content_of_libraries(value: Any) -> str:
    module = type(value).__module__.partition(".")[0]
    if hasattr(value, "model_dump"):
        return _content({name: getattr(value, name) for name in type(value).model_fields})
    if hasattr(value, "__attrs_attrs__"):
        return _content({field.name: getattr(value, field.name) for field in value.__attrs_attrs__})
    if module == "numpy":
        return f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    if module == "pandas" and value.ndim == 1:
        return f"{value.dtype!r} {value.name!r} {value.attrs!r} {value.to_dict()!r} {value.index!r}"
    if module == "pandas":
        return f"{value.dtypes.to_dict()!r} {value.attrs!r} {value.to_dict()!r} {value.index!r}"
    if module == "pyarrow":
        return f"{value.schema!s} {value.to_pydict()!r}"
    return repr(value)
