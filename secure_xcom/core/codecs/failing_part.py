"""Find the part of a value that cannot be serialized, and name its class and the path to it, never the value.

Imported only after a push failed. It asks the serialization again about each part, from the outside in, so it
needs no list of supported types; only the shapes of containers are known here.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from secure_xcom.core.codecs.registry import codec_for
from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames

# What is told of a field's name is what a preview tells of it.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]{0,39}")
_DIGITS_MAX = 4
# A path is part of an error message. Longer ones keep their beginning and end.
_STEPS_MAX = 24
_LEAVES = (str, bytes, int, float, type(None))
# An object whose serialize() makes a new one has no end.
_DEPTH_MAX = 5_000
_RESERVED_KEYS = ("__classname__", "__id__")

Check = Callable[[object], object]
"""Raises where the serialization does not take a value."""


class FailingPart(NamedTuple):
    """What could not be serialized, for an error message.

    :ivar text: the path and the class: ``$.rows[3].path: PosixPath``, and more about the fault.
    :ivar remedy: what to do, empty where the class is the fault.
    """

    text: str
    remedy: str = ""


class _Step(NamedTuple):
    """One part of a container: its place there, its name where it has one, and the part."""

    place: str
    name: object
    part: Any


def find(value: object, check: Check, error: Exception, names: SensitiveNames | None, where: str) -> FailingPart:
    """Return the innermost part that fails alone.

    :param check: the serialization of a part.
    :param error: what it raised for the whole value.
    :param names: the names below which no key is shown; without them, the built-in ones.
    :param where: the coordinate as text, ``dag/run/task:key``; where the key is sensitive, no key is shown.
    """
    names = names or SensitiveNames(DEFAULT_NAMES)
    hidden = names.matches(where.split("/", 2)[-1].partition(":")[2])
    if isinstance(error, RecursionError):
        return _find_depth(value, names, hidden)
    path, ancestors = _Path(names, hidden), {id(value)}
    part: Any = value
    is_column = False
    while True:
        failing = _failing_step(part, check)
        if failing is None:
            break
        step, error, check = failing
        if id(step.part) in ancestors:
            break
        path.add(step)
        is_column = type(part).__name__ == "DataFrame"
        part = step.part
        ancestors.add(id(part))
    kind = type(part)
    text = f"{path}: {kind.__qualname__} ({kind.__module__}.{kind.__qualname__}, {type(error).__name__})"
    if isinstance(part, dict):
        return _bad_key(part, check, path) or FailingPart(text)
    if kind.__qualname__ == "Series" and is_column:
        return FailingPart(text, "give all cells of the column the same class")
    if part is not value and (isinstance(part, (bytes, bytearray)) or codec_for(part)):
        return FailingPart(text, "push it as an XCom of its own: only a whole XCom can be of this class")
    if kind.__module__ == "secure_xcom.claims.exclusive":
        return FailingPart(text, "make the whole XCom exclusive, or push this part by xcom_push under its own key")
    if kind is int:
        return FailingPart(text, "push an integer of over 4,300 digits as text (hex(number))")
    return FailingPart(text)


def _failing_step(part: Any, check: Check) -> tuple[_Step, Exception, Check] | None:
    """Return the first part of a container that fails, how, and the check of what lies below."""
    check_part = check_below = check
    if hasattr(type(part), "model_fields"):
        # pydantic takes types that Airflow does not, such as paths.
        from pydantic_core import to_jsonable_python

        check_below = to_jsonable_python
    elif dataclasses.is_dataclass(part):
        check_part = _copied_and(check)
    for step in _steps(part):
        is_column = type(part).__name__ == "DataFrame" and hasattr(step.part, "to_frame")
        if check_below is not check:
            error = _error_of(lambda name: part.model_dump(mode="json", include={name}), step.name)
        else:
            error = _error_of(check_part, step.part.to_frame() if is_column else step.part)
        if error is not None:
            return step, error, check_below
    return None


def _copied_and(check: Check) -> Check:
    # Airflow copies the fields of a dataclass (dataclasses.asdict).
    return lambda part: check(copy.deepcopy(part))


def _error_of(check: Check, part: object) -> Exception | None:
    try:
        check(part)
    except Exception as error:  # noqa: BLE001  # a class's own serialize may raise anything
        return error
    return None


def _steps(part: Any) -> Iterator[_Step]:
    """Yield what lies in a container, in its order. Everything else has no parts."""
    kind = type(part)
    if isinstance(part, dict):
        for index, (key, child) in enumerate(part.items()):
            yield _Step(f"[key {index}]", key, child)
    elif isinstance(part, tuple) and hasattr(kind, "_fields"):
        yield from (_Step("", name, child) for name, child in zip(kind._fields, part, strict=False))
    elif isinstance(part, (list, tuple)):
        yield from (_Step(f"[{index}]", None, child) for index, child in enumerate(part))
    elif isinstance(part, (set, frozenset)):
        yield from (_Step("[*]", None, child) for child in part)
    elif hasattr(kind, "model_fields"):
        yield from (_Step("", name, getattr(part, name)) for name in kind.model_fields)
        for index, (name, child) in enumerate((getattr(part, "model_extra", None) or {}).items()):
            yield _Step(f"[extra {index}]", name, child)
    elif callable(getattr(part, "serialize", None)) and kind.__module__.partition(".")[0] not in _FRAMES:
        try:
            yield _Step(".serialize()", None, part.serialize())
        except Exception:  # noqa: BLE001  # then it is this object that fails, whatever its class raises
            return
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        yield from (_Step("", field.name, getattr(part, field.name)) for field in dataclasses.fields(part))
    elif hasattr(kind, "__attrs_attrs__"):
        yield from (
            _Step("", field.name, getattr(part, field.name)) for field in kind.__attrs_attrs__ if field.init
        )
    elif kind.__module__.partition(".")[0] in _FRAMES:
        yield from _FRAMES[kind.__module__.partition(".")[0]](part)


def _in_pandas(part: Any) -> Iterator[_Step]:
    """Yield the columns and labels of a frame, and the cells of a series, where they are Python objects."""
    pandas = sys.modules["pandas"]
    if isinstance(part, pandas.Series) and str(part.dtype) == "object":
        yield from (_Step(f"[{index}]", None, cell) for index, cell in enumerate(part.tolist()))
    if not isinstance(part, pandas.DataFrame):
        return
    for index, label in enumerate(part.columns):
        if str(part.dtypes.iloc[index]) == "object":
            yield _Step(f"[column {index}]", label, part.iloc[:, index])
    for place, labels in ((".index", part.index), (".columns", part.columns)):
        if str(labels.dtype) == "object":
            yield _Step(place, None, labels.tolist())
    yield _Step(".attrs", None, part.attrs)


def _in_polars(part: Any) -> Iterator[_Step]:
    columns = part.get_columns() if hasattr(part, "get_columns") else [part]
    for index, column in enumerate(columns):
        if str(column.dtype).startswith("Object"):
            yield _Step(f"[column {index}]", column.name, column.to_list())


def _in_numpy(part: Any) -> Iterator[_Step]:
    if getattr(getattr(part, "dtype", None), "kind", "") == "O":
        yield from (_Step(f"[{index}]", None, cell) for index, cell in enumerate(part.ravel().tolist()))


_FRAMES: dict[str, Callable[[Any], Iterator[_Step]]] = {
    "pandas": _in_pandas,
    "polars": _in_polars,
    "numpy": _in_numpy,
}


class _Path:
    """The way to a part. Below a sensitive name keys are places, since they may be secret."""

    def __init__(self, names: SensitiveNames, hidden: bool) -> None:
        self._names = names
        self._hidden = hidden
        self._steps: list[str] = []

    def add(self, step: _Step) -> None:
        self._steps.append(self.shown(step))
        self._hidden = self._hidden or self._names.matches(step.name)

    def shown(self, step: _Step) -> str:
        name = step.name
        if isinstance(name, str) and (not self._hidden or not step.place):
            if _FIELD.fullmatch(name) and sum(map(str.isdigit, name)) <= _DIGITS_MAX:
                return f".{name}"
        elif isinstance(name, int) and not self._hidden and len(str(int(name))) <= _DIGITS_MAX:
            return f"[{name}]"
        return step.place or "[field]"

    def __str__(self) -> str:
        steps = self._steps
        if len(steps) > _STEPS_MAX:
            half = _STEPS_MAX // 2
            steps = [*steps[:half], f"...({len(steps) - 2 * half} more)...", *steps[-half:]]
        return "$" + "".join(steps)


def _bad_key(part: dict[Any, Any], check: Check, path: _Path) -> FailingPart | None:
    """Return which key of a dict fails."""
    for index, key in enumerate(part):
        error = _error_of(check, {key: None})
        if error is None:
            continue
        if isinstance(key, str) and key in _RESERVED_KEYS:
            return FailingPart(f"{path}: dict with the key {key}, which Airflow reserves", "rename the key")
        return FailingPart(
            f"{path}[key {index}]: a dict key of class {type(key).__qualname__} ({type(error).__name__})",
            "use strings as keys",
        )
    return None


def _find_depth(value: object, names: SensitiveNames, hidden: bool) -> FailingPart:
    """Return where a value refers back to itself, or else its deepest part."""
    stack: list[tuple[Any, Iterator[_Step]]] = [(value, _steps(value))]
    depths, path, deepest = {id(value): 0}, list[_Step](), list[_Step]()
    # Kept, so that no other object gets the id of one that was seen.
    seen: dict[int, object] = {}
    while stack:
        part, steps = stack[-1]
        step = next(steps, None) if len(stack) < _DEPTH_MAX else None
        if step is None:
            stack.pop()
            seen[id(part)] = part
            depths.pop(id(part), None)
            del path[-1:]
        elif id(step.part) in depths:
            target = path[: depths[id(step.part)]]
            return FailingPart(
                f"{_path_of([*path, step], names, hidden)}: {type(step.part).__qualname__} refers back to "
                f"{_path_of(target, names, hidden)}, so the value is circular",
                "remove that reference",
            )
        elif id(step.part) not in seen and not isinstance(step.part, _LEAVES):
            path.append(step)
            depths[id(step.part)] = len(path)
            stack.append((step.part, _steps(step.part)))
            if len(path) > len(deepest):
                deepest = path.copy()
    kind = type(deepest[-1].part if deepest else value)
    return FailingPart(
        f"{_path_of(deepest, names, hidden)}: {kind.__qualname__} is nested {len(deepest)} levels deep "
        "(RecursionError)",
        "push a value with fewer levels",
    )


def _path_of(steps: list[_Step], names: SensitiveNames, hidden: bool) -> _Path:
    path = _Path(names, hidden)
    for step in steps:
        path.add(step)
    return path
