"""The pages of docs/ by kind, as the folders say: their titles and lengths, for the table of docs/README.md."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.documented import PAGES, ROOT, name_of

START = ROOT / "docs" / "README.md"
# Folder of docs/ -> kind of its pages, in the order of the site's navigation.
KINDS = {
    "quickstart": "Quickstart",
    "how-to": "How-to",
    "reference": "Reference",
    "concepts": "Concepts",
    "evidence": "Evidence",
}
# Pages that lie elsewhere, because programs look for them there.
ELSEWHERE = {"policies/README.md": "How-to"}


def kind(page: Path) -> str | None:
    """Return the kind of a page; None for the repository's own pages, the start page and decision records."""
    name = name_of(page)
    return ELSEWHERE.get(name) or (KINDS.get(name.split("/")[1]) if name.startswith("docs/") else None)


def words(page: Path) -> int:
    """Return the number of words of a page, code and tables included, as ``wc -w`` counts them."""
    return len(page.read_text().split())


def contents() -> str:
    """Return a table of all pages that have a kind: page, kind and words, rounded to a hundred."""
    lines = ["| Page | Kind | Words |", "|---|---|---|"]
    order = list(KINDS.values())
    listed = sorted((order.index(of), name_of(page), page) for page in PAGES if (of := kind(page)))
    for place, name, page in listed:
        title = re.sub(r"[`*]", "", page.read_text().partition("\n")[0].removeprefix("# "))
        link = name.removeprefix("docs/") if name.startswith("docs/") else f"../{name}"
        rounded = max(100, round(words(page), -2))
        lines.append(f"| [{title}]({link}) | {order[place]} | {rounded:,} |")
    return "\n".join(lines)
