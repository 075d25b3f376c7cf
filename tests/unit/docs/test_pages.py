"""Every page leads where it says, and is found by its readers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import documented, pages_by_kind
from tests.support.documented import PAGES, ROOT

NAMES = [documented.name_of(page) for page in PAGES]
NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
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
        assert picture.parent in (ROOT / "docs" / "pictures", ROOT / "docs" / "evidence" / "performance")


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
    """mkdocs.yml names each page once, but for decision records, which are added by themselves."""
    named = list(navigated(NAV))
    pages = {name.removeprefix("docs/") for name in NAMES if not name.startswith(("docs/adr/", "docs/README.md"))}
    assert sorted(named) == sorted(pages - {"README.md"} | {"index.md", "contents.md"})


def test_each_part_of_the_navigation_has_pages_of_one_kind() -> None:
    """A page stands under the heading of its kind, which is that of its folder."""
    for section in NAV:
        ((heading, entries),) = section.items()
        kinds = {pages_by_kind.kind(_source(name)) for name in navigated([entries])}
        assert kinds == ({heading} if heading in pages_by_kind.KINDS.values() else {None}), heading
    assert set(pages_by_kind.KINDS.values()) <= {heading for section in NAV for heading in section}


def _source(name: str) -> Path:
    beside = {"index.md": "README.md", "contents.md": "docs/README.md"}
    return next(
        path for path in (ROOT / beside.get(name, ""), ROOT / "docs" / name, ROOT / name) if path.is_file()
    )


def test_every_page_has_a_kind() -> None:
    """Each page of docs/ lies in the folder of a kind; only the start page and decision records do not."""
    without = {name for page, name in zip(PAGES, NAMES, strict=True) if not pages_by_kind.kind(page)}
    beside = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/README.md"}
    assert {name for name in without if not name.startswith("docs/adr/")} == beside


def test_no_page_is_too_long() -> None:
    """Outside of Reference, which is looked up and not read, a page has at most 2,500 words."""
    long = {
        name: pages_by_kind.words(page)
        for page, name in zip(PAGES, NAMES, strict=True)
        if pages_by_kind.kind(page) not in ("Reference", None) and pages_by_kind.words(page) > 2500
    }
    assert long == {}


def test_every_decision_is_listed() -> None:
    """Who looks for a decision finds it on the page of decisions."""
    listed = (ROOT / "docs/adr/README.md").read_text()
    assert [page.name for page in ROOT.glob("docs/adr/0*.md") if f"({page.name})" not in listed] == []


def test_former_addresses_lead_to_a_page() -> None:
    """Each page and anchor that the site once had leads to a page and an anchor that are there."""
    table = json.loads((ROOT / "docs/redirects.json").read_text())
    lost = []
    for old, moved in table.items():
        assert not (ROOT / "docs" / old).exists(), f"{old} is a page again"
        for anchor, target in moved.items():
            name, _, to = target.partition("#")
            page = ROOT / "docs" / name
            if not page.is_file() or (to and to not in anchors(page)):
                lost.append(f"{old}#{anchor} -> {target}")
    assert lost == []
    assert sum(map(len, table.values())) > 300
