"""Every error of the tree can be explained, from its class alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from secure_xcom import errors
from secure_xcom.ops.explain_error import explain, explanations
from tests.unit.docs.test_pages import anchors

ROOT = Path(__file__).parents[3]
EVERY = {one.error: one for one in explanations()}


def test_every_error_of_the_tree_is_explained_once() -> None:
    """The list has what users can import, in whole sentences, and no two errors share an id in any case."""
    importable = {
        name
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, errors.SecureXComError)
    }
    assert set(EVERY) == importable
    assert len({one.id.casefold() for one in EVERY.values()}) == len(importable)
    for one in EVERY.values():
        assert one.what.endswith("."), one.id
        assert one.met_by, one.id
        assert one.remedy, one.id
        assert not one.met_by.endswith("."), one.id
        assert not one.remedy.endswith("."), one.id


def test_an_error_that_says_nothing_has_what_its_kind_says() -> None:
    """Remedy, readers and page are inherited, as those who catch the kind expect."""
    assert EVERY["HeadTampered"].remedy == errors.SealError.remedy
    assert EVERY["KeyMismatch"].kinds == ("UnwrapRefused", "KeyServiceError", "SecureXComError")
    assert EVERY["WriteRefused"].pages[-1] == EVERY["AccessError"].pages[-1]
    assert EVERY["VaultSealed"].met_by == EVERY["VaultTrouble"].met_by != EVERY["KeyServiceSealed"].met_by


@pytest.mark.parametrize(
    "name",
    [
        "HeadTampered",
        "SXC-HeadTampered",
        "sxc-headtampered",
        " HEADTAMPERED ",
        "secure_xcom.core.errors.HeadTampered",
    ],
)
def test_an_error_is_found_by_its_id_and_by_its_class(name: str) -> None:
    """As a message, a traceback or a log shows it, in any case."""
    assert explain(name) == EVERY["HeadTampered"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("HeadTemper", "HeadTampered"), ("SXC-storeful", "StoreFull"), ("KeyDenied", "KeyServiceDenied")],
)
def test_an_unknown_error_is_answered_with_the_nearest(name: str, meant: str) -> None:
    """The error is one of ours, names what was asked for, and asks whether another was meant."""
    with pytest.raises(errors.CommandError, match="no such error") as caught:
        explain(name)
    assert caught.value.where == name
    assert caught.value.remedy.startswith(f"did you mean '{meant}'?")


def test_where_nothing_is_near_the_list_is_named() -> None:
    """A name that is like none is answered with the command that lists all."""
    with pytest.raises(errors.CommandError) as caught:
        explain("xyz")
    assert caught.value.remedy == "list them: `secure-xcom explain`"


def test_an_error_is_written_up_where_it_says() -> None:
    """The page of errors has a heading for each id, and the other pages are there."""
    for one in EVERY.values():
        first, *others = one.pages
        page, _, anchor = first.partition("#")
        assert anchor in anchors(ROOT / page), one.id
        assert [other for other in others if not (ROOT / other).is_file()] == [], one.id


def test_the_documentation_is_named_by_its_pages() -> None:
    """By the names that pages have on the site: the section of the page of errors first, then those with more."""
    for one in EVERY.values():
        section, *others = one.documentation.split("; ")
        assert section == f"page reference/errors, section {one.id}"
        pages = [other.removeprefix("page ") for other in others]
        assert len(pages) == len(one.pages) - 1, one.id
        assert [page for page in pages if not (ROOT / f"docs/{page}.md").is_file()] == [], one.id
    assert any(len(one.pages) > 1 for one in EVERY.values())


def test_the_message_ends_with_the_id() -> None:
    """So does that of an error that an executor has pickled, and no part of the message changes."""
    error = errors.HeadTampered("the head was changed", where="dag/run/task", remedy="ask the owner")
    for one in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301  # made here
        assert (one.what, one.where, one.remedy) == ("the head was changed", "dag/run/task", "ask the owner")
        assert str(one) == "the head was changed [dag/run/task]. What to do: ask the owner. See SXC-HeadTampered."
