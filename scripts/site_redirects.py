"""Write a page at each former address of the site that leads to where its content is now.

``docs/redirects.json`` lists the former pages with their anchors. The pages need no server: a script looks the
anchor up in the page's own table, and without scripts a reader finds the same table as links.
"""

from __future__ import annotations

import json
import os
from html import escape
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

TABLE = Path(__file__).parents[1] / "docs" / "redirects.json"
# An anchor that is not in the table is one of the Python interface's, whose ids are names and did not change.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="robots" content="noindex">
<title>Moved</title>
<script>
const moved = {moved};
const anchor = decodeURIComponent(location.hash.slice(1));
location.replace(Object.hasOwn(moved, anchor) ? moved[anchor] : moved[""] + location.hash);
</script>
<noscript><meta http-equiv="refresh" content="5; url={first}"></noscript>
</head>
<body>
<p>This page has moved:</p>
<ul>
{links}
</ul>
</body>
</html>
"""


def on_post_build(*, config: MkDocsConfig) -> None:
    """Write the pages into the built site."""
    for old, anchors in json.loads(TABLE.read_text()).items():
        place = address(old)
        moved = {anchor: _relative(place, target) for anchor, target in anchors.items()}
        links = "\n".join(
            f'<li><a href="{escape(link)}">{escape(anchor or old)}</a></li>' for anchor, link in moved.items()
        )
        file = Path(config.site_dir) / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_PAGE.format(moved=json.dumps(moved), first=escape(moved[""]), links=links))


def address(page: str) -> str:
    """Return the place in the site of a page of docs/."""
    path = PurePosixPath("contents.md" if page == "README.md" else page)
    return str(path.with_name("index.html") if path.name == "README.md" else path.with_suffix(".html"))


def _relative(place: str, target: str) -> str:
    page, hash_, anchor = target.partition("#")
    return os.path.relpath(address(page), PurePosixPath(place).parent) + hash_ + anchor
