"""The pages for people who change this code name files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documented import ROOT

PAGES = ("CONTRIBUTING.md", "docs/concepts/architecture.md")
NAMED = re.compile(r"`([\w.]+(?:/[\w.]+)+/?|[\w]+\.py)`")
# The rooms of the package are named from inside it, as the reader sees them there.
BASES = (ROOT, ROOT / "secure_xcom", ROOT / "secure_xcom/ops/jobs", ROOT / "secure_xcom/core/access_policy")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    """Each path in a code span is a file or folder of the checkout or of the package."""
    named = NAMED.findall((ROOT / page).read_text())
    assert len(named) > 10
    assert [path for path in named if not any((base / path).exists() for base in BASES)] == []


def test_every_room_is_on_the_map() -> None:
    """The table of rooms in the architecture page names every package that has modules."""
    text = (ROOT / "docs/concepts/architecture.md").read_text()
    rooms = {
        path.parent.relative_to(ROOT / "secure_xcom").parts[0]
        for path in (ROOT / "secure_xcom").glob("*/*.py")
        # Former import paths only import.
        if path.name != "__init__.py"
    } - {"access", "codecs", "maintenance", "plugin", "vault"}
    assert {room for room in rooms if f"`{room}" not in text} == set()


def test_owners_own_what_is_there() -> None:
    """Every path in CODEOWNERS exists."""
    lines = (ROOT / ".github/CODEOWNERS").read_text().splitlines()
    paths = [Path(line.split()[0]) for line in lines if line.startswith("/")]
    assert paths
    assert [path for path in paths if not (ROOT / path.relative_to("/")).exists()] == []
