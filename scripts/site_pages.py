"""Hooks of mkdocs.yml: the site is the repository's pages as they stand, and their links lead to the same things.

Pages link to each other, and to files, by their places in the repository. The site has the pages of docs/ at its
top, so pages from beside it are brought in, what they link to is copied to where the repository has it, and links
are written anew. A folder that is no page is linked in the repository.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
RELEASE = ROOT / "secure_xcom/core/config.py"
REPOSITORY = "https://github.com/secure-xcom/secure-xcom/tree/main"
# Pages of the repository that have another place in the site, or come from beside docs/.
BESIDE = {
    "README.md": "index.md",
    "docs/README.md": "contents.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "policies/README.md": "policies/README.md",
}
_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(\))")
# What a heading's anchor leaves out, as on GitHub: all that is no letter, digit, hyphen, underscore or blank.
_NO_ANCHOR = re.compile(r"[^\w\- ]")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make anchors as GitHub does, so that one link holds in both; list decision records; name the version."""
    found = re.search(r'RELEASE = "([^"]+)"', RELEASE.read_text())
    config.copyright = f"Documentation of secure_xcom {found[1]}" if found else None
    config.mdx_configs["toc"] = {**config.mdx_configs.get("toc", {}), "slugify": _anchor}
    records = sorted(path.name for path in (ROOT / "docs/adr").glob("0*.md"))
    decisions = {"Decisions": ["adr/README.md", *(f"adr/{name}" for name in records)]}
    config.nav = [_with(section, decisions) for section in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from beside docs/, and the files that pages link to."""
    for name, place in BESIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    for page in [file for file in files if file.is_documentation_page()]:
        for _, name, _, _ in _LINK.findall(page.content_string):
            target = _target(page.src_uri, name)
            if (ROOT / target).is_file() and files.get_file_from_path(_in_site(target)) is None:
                files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Write the page's links for its place in the site."""

    def written(found: re.Match[str]) -> str:
        target = _target(page.file.src_uri, found[2])
        if (ROOT / target).is_dir() and not (ROOT / target / "README.md").is_file():
            return f"{found[1]}{REPOSITORY}/{target}{found[4]}"
        name = f"{target}/README.md" if (ROOT / target).is_dir() else target
        link = os.path.relpath(_in_site(name), PurePosixPath(page.file.src_uri).parent)
        return f"{found[1]}{link}{found[3] or ''}{found[4]}"

    return _LINK.sub(written, markdown)


def _anchor(text: str, separator: str) -> str:
    return _NO_ANCHOR.sub("", text.strip().lower()).replace(" ", separator)


def _with(section: Any, decisions: dict[str, list[str]]) -> Any:
    if isinstance(section, dict) and "Contribute" in section:
        return {"Contribute": [*section["Contribute"], decisions]}
    return section


def _in_site(name: str) -> str:
    """Where a file of the repository is in the site."""
    return BESIDE.get(name) or name.removeprefix("docs/")


def _in_repository(src_uri: str) -> str:
    return next((name for name, place in BESIDE.items() if place == src_uri), f"docs/{src_uri}")


def _target(src_uri: str, link: str) -> str:
    """Return the path in the repository that a page's link leads to."""
    return os.path.normpath(PurePosixPath(_in_repository(src_uri)).parent / link)
