"""docs/how-to/for-dag-authors.md names errors and settings that there are, and stays one page."""

from __future__ import annotations

import re

from secure_xcom.core.config import OPTIONS
from secure_xcom.ops.explain_error import explanations
from tests.support.documented import ROOT

TEXT = (ROOT / "docs/how-to/for-dag-authors.md").read_text(encoding="utf-8")


def test_each_error_of_the_table_is_there() -> None:
    """A row of the table of errors names classes of the tree, and no class twice."""
    table = TEXT.split("## When a task fails")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(rows))
    assert len(named) > 15
    assert len(set(named)) == len(named)
    assert set(named) <= {one.error for one in explanations()}


def test_settings_have_their_defaults() -> None:
    """Options that the page names exist, and the size that it states is the default."""
    assert "up to 1 GiB (`max_bytes`" in TEXT
    assert OPTIONS["max_bytes"].value == 1 << 30


def test_the_page_is_short() -> None:
    """One sitting: at most 2,500 words."""
    assert len(TEXT.split()) <= 2500
