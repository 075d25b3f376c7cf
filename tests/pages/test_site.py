"""The site that `make docs` builds: whole, linked, and nothing of it is fetched from anybody else."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import secure_xcom
from secure_xcom import errors
from tests.support.documented import PAGES, ROOT, name_of
from tests.support.servers.browser import PATIENCE_MS, chromium

# Built once, whoever runs the tests.
pytestmark = pytest.mark.xdist_group("pages")

# What a reader's program fetches by itself; all else is followed by a person.
_FETCHED = {"src", "srcset", "poster", "data", "background"}
_IN_CSS = re.compile(r"(?:url\(\s*|@import\s+)['\"]?([^'\")\s;]+)")


@dataclass
class Html(HTMLParser):
    """What a page has (ids), leads to (links), and has its reader fetch."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            text = value or ""
            if name in ("id", "name"):
                self.ids.add(text)
            if name == "class":
                self.classes |= set(text.split())
            if name == "data-md-component":
                self.classes.add(f"component-{text}")
            if name in ("href", "xlink:href"):
                (self.links if tag == "a" else self.fetched).append(text)
            if name in _FETCHED:
                self.fetched.append(text)
            if name == "style":
                self.fetched += _IN_CSS.findall(text)


@dataclass(frozen=True)
class Site:
    """A built site: its folder, and its pages by their places."""

    folder: Path
    said: str
    pages: dict[str, Html]

    def leads_nowhere(self, page: str, link: str) -> bool:
        """Whether a link within the site has no file, or no anchor in it."""
        parts = urlsplit(link)
        target = os.path.normpath(Path(page).parent / unquote(parts.path)) if parts.path else page
        if not (self.folder / target).is_file():
            return True
        return (
            bool(parts.fragment) and target in self.pages and unquote(parts.fragment) not in self.pages[target].ids
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The site, built as `make docs` does, in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)],
        cwd=ROOT,
        # The theme's makers tell in a warning what they think of the tool's next version.
        env={
            **os.environ,
            "NO_MKDOCS_2_WARNING": "true",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        pages[path.relative_to(folder).as_posix()] = page = Html()
        page.feed(path.read_text())
    return Site(folder, said, pages)


def _foreign(address: str) -> bool:
    return bool(urlsplit(address).netloc)


def _inside(links: list[str]) -> Iterator[str]:
    yield from (link for link in links if not _foreign(link) and not link.startswith(("mailto:", "data:")))


def test_it_is_built_without_a_warning(site: Site) -> None:
    """The build is strict about pages, links and anchors, and says nothing but that it is done."""
    assert "WARNING" not in site.said
    assert re.search(r"^strict: true$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)


def test_every_page_of_the_repository_is_in_it(site: Site) -> None:
    """No page is left out."""
    start = {"docs/README.md": "contents.md"}
    names = [start.get(name_of(page), name_of(page)).removeprefix("docs/").removesuffix(".md") for page in PAGES]
    places = {re.sub(r"(^|/)README$", r"\1index", name) + ".html" for name in names}
    assert places - set(site.pages) == set()
    assert len(places) > 30


def test_every_link_and_anchor_leads_somewhere(site: Site) -> None:
    """Links within the site, those to names of the interface included, have their files and ids."""
    broken = [
        f"{page}: {link}"
        for page, html in site.pages.items()
        # The error page's links begin at a server's root.
        if page != "404.html"
        for link in {*_inside(html.links), *_inside(html.fetched)}
        if site.leads_nowhere(page, link)
    ]
    assert broken == []
    assert sum(len(html.links) for html in site.pages.values()) > 1000


def test_nothing_is_fetched_from_anybody_else(site: Site) -> None:
    """No script, style, font or picture of another host, in pages, styles and pictures."""
    foreign = [
        f"{page}: {address}" for page, html in site.pages.items() for address in html.fetched if _foreign(address)
    ]
    for path in [*site.folder.rglob("*.css"), *site.folder.rglob("*.svg")]:
        foreign += [f"{path.name}: {found}" for found in _IN_CSS.findall(path.read_text()) if _foreign(found)]
    assert foreign == []
    # With these the theme's own script would ask another host: for diagrams, comments, and a repository's stars.
    assert {"mermaid", "giscus", "component-source", "component-consent"} & _all_classes(site) == set()


def _all_classes(site: Site) -> set[str]:
    return set().union(*(html.classes for html in site.pages.values()))


def test_the_public_interface_is_described(site: Site) -> None:
    """Backend, mark, interfaces and settings have their place, and so has each error."""
    ids = set().union(*(html.ids for page, html in site.pages.items() if page.startswith("reference/")))
    named = {
        "airflow.backend.SecureXComBackend",
        "claims.exclusive.exclusive",
        "core.codecs.registry.Codec.encode",
        "core.config.Settings",
        "keys.KeyService.unwrap_many",
        "ops.jobs.maintenance_dag.maintenance_dag",
        "stores.Store.put",
    }
    tree = [
        error
        for _, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, errors.SecureXComError)
    ]
    names = {f"secure_xcom.{name}" for name in named} | {f"{error.__module__}.{error.__name__}" for error in tree}
    assert names - ids == set()
    assert len(tree) > 40


def test_each_page_names_the_version(site: Site) -> None:
    """A folder that is found somewhere says which release it is about."""
    text = (site.folder / "how-to" / "recover.html").read_text()
    assert f"Documentation of secure_xcom {secure_xcom.__version__}" in text


def test_no_path_of_the_machine_is_in_it(site: Site) -> None:
    """Where it was built is nobody's business."""
    files = [path for path in site.folder.rglob("*") if path.suffix in (".html", ".json", ".xml", ".svg")]
    assert [path.name for path in files if str(ROOT) in path.read_text()] == []


def test_it_is_read_and_searched_from_files(site: Site) -> None:
    """Without a server, search finds pages, former addresses lead to their sections, and no host is asked."""
    foreign: list[str] = []
    failed: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda asked: None if asked.url.startswith("file:") else foreign.append(asked.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto((site.folder / "how-to" / "recover.html").as_uri())
        page.click(".md-search__input")
        page.keyboard.type("legal hold")
        page.wait_for_selector(".md-search-result__link")
        results = [link.get_attribute("href") or "" for link in page.query_selector_all(".md-search-result__link")]
        assert any("how-to/retention-and-legal-hold.html" in link for link in results)
        for old, new in (
            ("operations.html#take-a-backup", "how-to/recover.html#take-a-backup"),
            ("operations.html#revoke", "how-to/revoke.html"),
            ("policies.html", "reference/access-policy.html"),
            # An id of the Python interface is in no table.
            (
                "api/services.html#secure_xcom.keys.KeyService",
                "reference/python/services.html#secure_xcom.keys.KeyService",
            ),
        ):
            page.goto(f"{site.folder.as_uri()}/{old}")
            page.wait_for_url(f"{site.folder.as_uri()}/{new}")
    assert (foreign, failed) == ([], [])
