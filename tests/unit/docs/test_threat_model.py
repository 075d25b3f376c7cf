"""docs/concepts/what-bypasses-xcom.md names the paths that the leak hunt finds with our backend, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.unstoppable_paths import EVERY_PATH

PAGE = (Path(__file__).parents[3] / "docs" / "concepts" / "what-bypasses-xcom.md").read_text(encoding="utf-8")
# A file is found in a folder of its own, which has its name.
FOLDER = "folder written-by-a-task.txt"


def test_the_paths_that_nothing_stops_are_the_hunts() -> None:
    """The page's table and the list that every run of the hunt is held against are the same, places included."""
    rows = re.findall(
        r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \| [^|]+ \|$", PAGE.split("**Not stopped")[1], re.MULTILINE
    )
    said = {path: {place.strip(" `") for place in places.split(",")} for path, places in rows[1:]}
    found = {
        path: {"the file" if place == FOLDER else place.removeprefix("table ") for place in places}
        for path, places in EVERY_PATH.items()
    }
    assert said == found
    assert len(said) > 10
