"""Commands for people to copy into a shell."""

from __future__ import annotations

import re
import shlex

from secure_xcom.core.coordinate import Coordinate

# What `secure-xcom open` reads as DAG/RUN/TASK[MAP_INDEX]:KEY.
_NO_SLASH = re.compile(r"[^/]+")
_TASK = re.compile(r"[^/:\[\]]+")


def open_command(coordinate: Coordinate) -> str | None:
    """Return the command that opens an XCom, None where its ids cannot be written there."""
    # A control character in what is pasted into a terminal could do anything.
    if not all(text.isprintable() for text in (*coordinate.of_task, coordinate.key)):
        return None
    if not (
        _NO_SLASH.fullmatch(coordinate.dag_id)
        and _NO_SLASH.fullmatch(coordinate.run_id)
        and _TASK.fullmatch(coordinate.task_id)
    ):
        return None
    mapped = f"[{coordinate.map_index}]" if coordinate.map_index >= 0 else ""
    what = f"{coordinate.dag_id}/{coordinate.run_id}/{coordinate.task_id}{mapped}:{coordinate.key}"
    separator = "-- " if what.startswith("-") else ""
    return f"secure-xcom open --reason 'WHY' {separator}{shlex.quote(what)}"


def search_command(coordinate: Coordinate) -> str | None:
    """Return the command that finds an XCom's events, None where its ids cannot be written there."""
    if not all(text.isprintable() for text in (*coordinate.of_task, coordinate.key)):
        return None
    options = [
        ("dag", coordinate.dag_id),
        ("run", coordinate.run_id),
        ("task", coordinate.task_id),
        ("xcom-key", coordinate.key),
    ]
    if coordinate.map_index >= 0:
        options.append(("map-index", str(coordinate.map_index)))
    words = " ".join(f"--{name}={shlex.quote(text)}" for name, text in options)
    return f"secure-xcom audit search {words}"
