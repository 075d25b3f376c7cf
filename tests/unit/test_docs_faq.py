"""docs/faq.md and docs/observability.md lead where they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from secure_xcom.config import OPTIONS
from tests import readme

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["faq.md", "observability.md"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Relative links name files that are there; links to Airflow's threads have the form of such."""
    links = re.findall(r"\]\(([^)]+)\)", (DOCS / page).read_text())
    assert links
    near = [link.partition("#")[0] for link in links if not link.startswith("https:")]
    assert [link for link in near if not (DOCS / link).exists()] == []
    form = r"https://github\.com/apache/airflow/(issues|pull)/[1-9][0-9]{3,5}"
    assert [link for link in links if link.startswith("https:") and not re.fullmatch(form, link)] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_there(page: str) -> None:
    """Each `secure-xcom ...` of the page is a command."""
    known = {" ".join(path) for path in readme.commands()}
    named = re.findall(r"`secure-xcom ([a-z][a-z -]*?)(?: --[^`]*)?`", (DOCS / page).read_text())
    assert [command for command in named if command not in known] == []


def test_the_link_text_is_the_threads_number() -> None:
    """A thread that is named by its number is the one that the link leads to."""
    for text, number in re.findall(r"\[#(\d+)\]\(https://[^)]*/(\d+)\)", (DOCS / "faq.md").read_text()):
        assert text == number


def test_settings_of_the_answers_are_there() -> None:
    """Settings that the answers name are options of ours."""
    text = (DOCS / "faq.md").read_text()
    named = set(re.findall(r"`([a-z_]+) = \w+`", text)) | {"max_bytes", "key_uris"}
    assert {"on_plaintext", "preview"} <= named <= set(OPTIONS)


def test_deployed_files_of_the_page_are_there() -> None:
    """Files that the page says to deploy or to run are in the repository."""
    text = (DOCS / "observability.md").read_text()
    folder = DOCS.parent / "deploy" / "observability"
    assert {path.name for path in folder.iterdir()} == set(re.findall(r"`([a-z_-]+\.(?:json|yaml))`", text))
    assert [
        path for path in re.findall(r"`((?:tests|deploy)/[\w/.-]+)`", text) if not (DOCS.parent / path).exists()
    ] == []
