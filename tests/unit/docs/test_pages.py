"""Every page leads where it says, and is found by its readers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import documented
from tests.support.documented import PAGES, ROOT

NAMES = [documented.name_of(page) for page in PAGES]
# What a link leads to: a heading's words in lower case, joined by hyphens, without what is no letter.
_NO_ANCHOR = re.compile(r"[^\w\- ]")


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    if page.suffix != ".md":
        return set()
    headings = re.findall(r"^#+ (.*)$", documented.prose(page), re.MULTILINE)
    return {
        _NO_ANCHOR.sub("", re.sub(r"`|\]\(.*?\)", "", text).strip().lower()).replace(" ", "-") for text in headings
    }


def navigated(entries: Any) -> Iterator[str]:
    """The pages of a part of the site's navigation."""
    for entry in entries if isinstance(entries, list) else entries.values():
        if isinstance(entry, str):
            yield entry
        else:
            yield from navigated(entry)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_of_every_page_leads_somewhere(page: Path) -> None:
    """Relative links name files that are there, and headings that these have."""
    broken = []
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        # What the interface's pages have is made from docstrings: the built site is held by tests/pages.
        made = anchor.startswith("secure_xcom.")
        if not target.exists() or (anchor and not made and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_external_links_have_the_form_of_one(page: Path) -> None:
    """They begin with https, name a host, and end before the sentence does; the host is not asked."""
    links = re.findall(r"https?://[^\s)>`\"']+(?=[)>])", documented.prose(page))
    form = r"https://[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}(/([\w.~%/+=&?#:@-]*[\w/])?)?"
    assert [link for link in links if not re.fullmatch(form, link)] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_pictures_say_what_they_show(page: Path) -> None:
    """A picture has a text for those who do not see it, and lies in one of the two folders for them."""
    for text, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text()):
        assert len(text) > 20, target
        picture = (page.parent / target).resolve()
        assert picture.is_file()
        assert picture.parent in (ROOT / "docs" / "pictures", ROOT / "docs" / "performance")


def test_pictures_are_small_shown_and_fetch_nothing() -> None:
    """Each picture is on a page, under 150 KB, names nobody's folders, and loads nothing by itself."""
    text = "".join(page.read_text() for page in PAGES)
    pictures = list((ROOT / "docs" / "pictures").iterdir())
    assert len(pictures) >= 2
    for picture in pictures:
        held = picture.read_bytes()
        assert f"pictures/{picture.name})" in text, picture.name
        assert len(held) < 150_000, picture.name
        assert not re.search(rb"/home/|/root/|/work/|/Users/", held), picture.name
        assert not re.search(rb"@import|url\(\s*[\"']?https?:|href=[\"']https?:", held), picture.name


def test_every_page_is_in_the_sites_navigation() -> None:
    """mkdocs.yml names each page, but for decision records, which are added by themselves."""
    named = set(navigated(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    pages = {name.removeprefix("docs/") for name in NAMES if not name.startswith("docs/adr/")}
    assert named == pages - {"README.md"} | {"index.md"}


def test_every_page_is_linked_from_the_readme() -> None:
    """Who begins at the README finds each page of docs."""
    text = (ROOT / "README.md").read_text()
    assert [page.name for page in ROOT.glob("docs/*.md") if f"(docs/{page.name}" not in text] == []
    listed = (ROOT / "docs/adr/README.md").read_text()
    assert [page.name for page in ROOT.glob("docs/adr/0*.md") if f"({page.name})" not in listed] == []
