"""The order of the test suite itself: what `make unit` leaves out."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_every_slow_test_exists() -> None:
    """tests/slow_tests.txt names only files and test functions that exist, so a renamed one is noticed."""
    lost = []
    for name in (TESTS / "slow_tests.txt").read_text().split():
        file, _, function = name.partition("::")
        function = function.rpartition("::")[2]
        if function not in {"", *_functions(TESTS / file)}:
            lost.append(name)
    assert lost == []


@cache
def _functions(file: Path) -> set[str]:
    return set(re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE))
