"""docs/concepts/questions.md and docs/reference/metrics.md name threads, settings and files that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from secure_xcom.core.config import OPTIONS

DOCS = Path(__file__).parents[3] / "docs"
PAGES = ["concepts/questions.md", "reference/metrics.md"]


@pytest.mark.parametrize("page", PAGES)
def test_threads_have_the_form_of_airflows(page: str) -> None:
    """Links that leave the repository lead to Airflow's issues and pull requests."""
    links = re.findall(r"\]\((https:[^)]+)\)", (DOCS / page).read_text())
    form = r"https://github\.com/apache/airflow/(issues|pull)/[1-9][0-9]{3,5}"
    assert links
    assert [link for link in links if not re.fullmatch(form, link)] == []


def test_the_link_text_is_the_threads_number() -> None:
    """A thread that is named by its number is the one that the link leads to."""
    for text, number in re.findall(
        r"\[#(\d+)\]\(https://[^)]*/(\d+)\)", (DOCS / "concepts/questions.md").read_text()
    ):
        assert text == number


def test_settings_of_the_answers_are_there() -> None:
    """Settings that the answers name are options of ours."""
    text = (DOCS / "concepts/questions.md").read_text()
    named = set(re.findall(r"`([a-z_]+) = \w+`", text)) | {"max_bytes", "key_uris"}
    assert {"on_plaintext", "preview"} <= named <= set(OPTIONS)


def test_deployed_files_of_the_page_are_there() -> None:
    """Files that the page says to deploy or to run are in the repository."""
    text = (DOCS / "reference/metrics.md").read_text()
    folder = DOCS.parent / "deploy" / "observability"
    assert {path.name for path in folder.iterdir()} == set(re.findall(r"`([a-z_-]+\.(?:json|yaml))`", text))
    assert [
        path for path in re.findall(r"`((?:tests|deploy)/[\w/.-]+)`", text) if not (DOCS.parent / path).exists()
    ] == []
