"""The page's module, as a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from secure_xcom.airflow.plugin.ui import registration
from secure_xcom.airflow.plugin.ui.looking import STATES

MODULE = Path(registration.__file__).parent / "static" / "secure_xcom.js"
TEXT = MODULE.read_text()


def test_it_is_small() -> None:
    """It is at most 42 KB, as it stands."""
    assert len(MODULE.read_bytes()) <= 42_000


def test_it_needs_nothing_but_airflows_page() -> None:
    """It imports nothing, and names no address."""
    assert re.findall(r"\bimport\b(?!\.meta)", TEXT) == []
    assert "://" not in TEXT


@pytest.mark.parametrize(
    "way",
    [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "dangerouslySetInnerHTML",
        "document.write",
        "eval(",
        "srcdoc",
    ],
)
def test_it_never_makes_html_of_a_text(way: str) -> None:
    """No way is used by which a text becomes markup."""
    assert way not in TEXT


def test_every_element_is_made_in_one_place() -> None:
    """So every text passes the function that shows control characters as what they are."""
    assert TEXT.count("createElement(") == 2, "React's in h(), and the textarea of the clipboard"


def test_it_sets_the_global_of_every_entry() -> None:
    """Airflow evaluates it once, and then looks for each entry's own name."""
    names = {str(entry["name"]) for entry in registration.react_apps()}
    assert names == {re.findall(r'^const TITLE = "(.*)";$', TEXT, re.MULTILINE)[0]}
    assert "globalThis[TITLE] = " in TEXT
    assert "globalThis.AirflowPlugin = " in TEXT


def test_it_knows_every_state() -> None:
    """The filter offers the states that the API tells, in their order."""
    [offered] = re.findall(r"^const STATES = \[(.*)\];$", TEXT, re.MULTILINE)
    assert tuple(re.findall(r'"(\w+)"', offered)) == STATES
