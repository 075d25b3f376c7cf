"""Globs: what they take, which is first, and what the comparisons of two globs promise."""

from __future__ import annotations

import re
import time
from fnmatch import fnmatchcase

from hypothesis import example, given, settings
from hypothesis import strategies as st

from secure_xcom.core.access_policy.compartment import Compartment, Reader
from secure_xcom.core.access_policy.glob_relations import covers, overlap
from secure_xcom.core.access_policy.globs import FirstMatch, any_matches, head_of, matches, tail_of
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.glob_index import GlobIndex
from secure_xcom.ops.service_policies.grants import consumers, grants_of

# Few letters, so that texts and globs meet.
texts = st.text("ab.", max_size=8)
globs = st.text("ab.*?", min_size=1, max_size=8)


@settings(max_examples=500)
@given(globs, texts)
@example("a?*b*", "a.bab")
@example("***", "")
def test_a_glob_takes_what_the_shells_glob_takes(glob: str, text: str) -> None:
    """`*` and `?` mean what they mean to fnmatch, and nothing else means anything."""
    assert matches(glob, text) == fnmatchcase(text, glob)


@given(st.text("ab*?\n+^$(|", min_size=1, max_size=8), st.text("ab\n+^$(|", max_size=8))
def test_signs_of_regular_expressions_are_themselves(glob: str, text: str) -> None:
    """Whatever else stands in a glob is taken literally, line ends included."""
    pattern = "".join({"*": "(?s:.*)", "?": "(?s:.)"}.get(sign, re.escape(sign)) for sign in glob)
    assert matches(glob, text) == (re.fullmatch(pattern, text) is not None)


def test_many_stars_take_no_time() -> None:
    """A glob of many stars is decided at once on a long text that it nearly takes."""
    begun = time.process_time()
    assert not matches("*a" * 60 + "*b", "a" * 250)
    assert matches("*a" * 60 + "*b", "a" * 249 + "b")
    assert time.process_time() - begun < 1


@settings(max_examples=500)
@given(st.lists(globs, max_size=6), texts)
def test_the_first_match_is_the_first(listed: list[str], text: str) -> None:
    """Of many globs the first in order that takes a text wins, however they are looked up."""
    expected = next((place for place, glob in enumerate(listed) if matches(glob, text)), None)
    assert FirstMatch((glob, place) for place, glob in enumerate(listed)).find(text) == expected


@settings(max_examples=500)
@given(globs, globs, texts)
def test_globs_that_take_one_text_overlap(one: str, other: str, text: str) -> None:
    """Two globs that both take some text are said to overlap, whichever comes first."""
    if matches(one, text) and matches(other, text):
        assert overlap(one, other)
    assert overlap(one, other) == overlap(other, one)


@settings(max_examples=300)
@given(st.text("ab*?", min_size=1, max_size=4), st.text("ab*?", min_size=1, max_size=4))
def test_globs_that_overlap_take_one_text(one: str, other: str) -> None:
    """Two globs that are said to overlap take a text in common (looked for among all short ones)."""
    from itertools import product

    common = any(
        matches(one, text) and matches(other, text)
        for length in range(9)
        for text in map("".join, product("ab", repeat=length))
    )
    assert overlap(one, other) == common


@settings(max_examples=500)
@given(globs, globs, texts)
@example("a*", "ab*", "abc")
def test_what_is_covered_is_taken(wide: str, narrow: str, text: str) -> None:
    """Where a glob is said to cover another, it takes all that the other takes."""
    if covers(wide, narrow) and matches(narrow, text):
        assert matches(wide, text)
    assert covers("*", narrow)
    assert covers(narrow, narrow)


@settings(max_examples=300)
@given(st.lists(globs, max_size=8), globs)
def test_the_index_finds_every_overlap(listed: list[str], glob: str) -> None:
    """The index gives the places of all globs that overlap with one or cover it, and of no other."""
    index = GlobIndex((entry, place) for place, entry in enumerate(listed))
    expected = [place for place, entry in enumerate(listed) if overlap(entry, glob)]
    assert sorted(index.overlapping(glob)) == expected
    covering = [place for place, entry in enumerate(listed) if covers(entry, glob)]
    assert sorted(index.covering(glob)) == covering


@given(globs, st.text("ab.*?", max_size=8))
def test_an_id_is_never_a_glob(glob: str, text: str) -> None:
    """Stars and question marks in an id are letters like any other: they take nothing."""
    found = FirstMatch([(glob, 0)]).find(text)
    assert (found == 0) is matches(glob, text)
    # Letters that stand for the id's own stars and question marks change nothing for a glob without these.
    assert matches(glob, text) is matches(glob, text.replace("*", "\ue000").replace("?", "\ue001"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.lists(globs, min_size=1, max_size=2), globs), min_size=2, max_size=5), st.booleans())
def test_grants_are_found_as_readers_say(drawn: list[tuple[list[str], str]], has_default: bool) -> None:
    """The index from the consumer's side finds exactly the readers that admit a compartment, one by one."""
    compartments = [
        Compartment(
            name=f"c{number}",
            dags=tuple(glob or "*" for glob in dags),
            key_uris=("local:///k",),
            store_uri="file:///s",
            readers=(Reader(dags=(reader or "*",), of_dags=(f"d{number}",)),),
        )
        for number, (dags, reader) in enumerate(drawn)
    ]
    policy = AccessPolicy(
        compartments, digest="", consumers_known=True, default=compartments[0].name if has_default else None
    )
    for theirs in policy.compartments:
        identity = Identity(name="i", workers_of=(theirs.name,))
        found = {grant.compartment for grant in grants_of(policy, identity) if grant.role == "reader"}
        assert found == {
            own.name for own in policy.compartments if theirs.name in consumers(policy, own, own.readers[0])
        }


def test_one_of_many_globs_is_enough() -> None:
    """A text matches a list if it matches one of its globs."""
    assert any_matches(["a*", "b*"], "bc")
    assert not any_matches(["a*", "b*"], "c")
    assert not any_matches([], "c")


@given(globs)
def test_the_ends_of_a_glob_are_literal(glob: str) -> None:
    """The head and the tail are the longest text without a wildcard at either end."""
    head, tail = head_of(glob), tail_of(glob)
    assert glob.startswith(head)
    assert glob.endswith(tail)
    if set(glob) & set("*?"):
        assert glob[len(head)] in "*?"
        assert glob[-len(tail) - 1] in "*?"
    else:
        assert head == tail == glob


def test_ends_that_overlap_match_no_shorter_text() -> None:
    """The text before a star and the text after it are not the same letters of a name."""
    assert not matches("aba*aba", "aba")
    assert not matches("aba*aba", "ababa")
    assert matches("aba*aba", "abaaba")
    assert FirstMatch([("aba*aba", 1)]).find("ababa") is None
    assert FirstMatch([("aba*aba", 1)]).find("abaaba") == 1


def test_the_first_of_two_equal_globs_wins() -> None:
    """A later glob never takes the place of an earlier one."""
    assert FirstMatch([("a*", 7), ("a*", 8), ("ab", 9)]).find("ab") == 7
    assert FirstMatch([("ab", 9), ("ab", 8), ("a*", 7)]).find("ab") == 9
