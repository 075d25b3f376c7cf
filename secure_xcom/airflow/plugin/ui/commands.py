"""Commands for people to copy into a shell."""

from __future__ import annotations

import re
import shlex

from secure_xcom.core.coordinate import Coordinate

# What `secure-xcom open` reads as DAG/RUN/TASK[MAP_INDEX]:KEY.
_NO_SLASH = re.compile(r"[^/]+")
_TASK = re.compile(r"[^/:\[\]]+")


def open_command(at: Coordinate) -> str | None:
    """Return the command that opens an XCom, None where its ids cannot be written there."""
    # A control character in what is pasted into a terminal could do anything.
    if not all(text.isprintable() for text in (*at.of_task, at.key)):
        return None
    if not (_NO_SLASH.fullmatch(at.dag_id) and _NO_SLASH.fullmatch(at.run_id) and _TASK.fullmatch(at.task_id)):
        return None
    mapped = f"[{at.map_index}]" if at.map_index >= 0 else ""
    what = f"{at.dag_id}/{at.run_id}/{at.task_id}{mapped}:{at.key}"
    separator = "-- " if what.startswith("-") else ""
    return f"secure-xcom open --reason 'WHY' {separator}{shlex.quote(what)}"


def search_command(at: Coordinate) -> str | None:
    """Return the command that finds an XCom's events, None where its ids cannot be written there."""
    if not all(text.isprintable() for text in (*at.of_task, at.key)):
        return None
    options = [("dag", at.dag_id), ("run", at.run_id), ("task", at.task_id), ("xcom-key", at.key)]
    if at.map_index >= 0:
        options.append(("map-index", str(at.map_index)))
    words = " ".join(f"--{name}={shlex.quote(text)}" for name, text in options)
    return f"secure-xcom audit search {words}"
