"""Paths of coordinates: injective, within the limits of every store, and never a way out of one."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from secure_xcom.core.coordinate import (
    SEGMENT_MAX_BYTES,
    Coordinate,
    context_bytes,
    encryption_context,
    object_path,
    path_segment,
)
from secure_xcom.core.errors import CoordinateInvalid
from secure_xcom.stores.paths import checked_path

UUID7 = "01935f2e-7d3a-7c3e-8a51-0242ac120002"
# All text that PostgreSQL stores; the sampled characters make collisions likely if there are any.
storable = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
odd = st.text(st.sampled_from("a A.%/~-_2E\né:+\\?#"), min_size=1, max_size=250)
ids = st.one_of(st.text(storable, min_size=1, max_size=250), odd)
coordinates = st.builds(Coordinate, ids, ids, ids, st.integers(-1, 2**31), st.just("k"))


@given(ids, ids)
@example("a/b", "a%2Fb")
@example("..", "%2E%2E")
@example(".", "%2E")
@example("~", "%7E")
@example("a b", "a+b")
@example("é", "e\u0301")
@example("é" * 250, "é" * 249 + "e")
@example("x" * 250, "x" * 249 + "y")
def test_segments_are_injective(left: str, right: str) -> None:
    """Two ids have one segment only when they are one id, composed and decomposed letters told apart."""
    assert (path_segment(left) == path_segment(right)) == (left == right)


@given(ids)
@example("x" * 200)
@example("x" * 201)
@example("💡" * 250)
def test_segments_fit_every_store(text: str) -> None:
    """A segment is plain ASCII of 1 to 200 bytes, not a dot folder, and a store takes it as it is."""
    segment = path_segment(text)
    assert 1 <= len(segment.encode("ascii")) <= SEGMENT_MAX_BYTES
    assert segment not in (".", "..")
    assert "/" not in segment
    assert checked_path(segment, "test") == segment


@given(ids)
def test_a_whole_segment_decodes(text: str) -> None:
    """A segment that was not cut says the id; a cut one says how it begins, and has a tilde that no other has."""
    segment = path_segment(text)
    head, tilde, digest = segment.partition("~")
    if tilde:
        assert text.startswith(unquote(head).rstrip("\ufffd"))
        assert len(digest) == 48
    else:
        assert unquote(segment, errors="strict") == text


def test_hashed_segments_do_not_meet_whole_ones() -> None:
    """An id that is spelt like another one's cut segment has a segment of its own."""
    segment = path_segment("long" * 62 + "%")
    assert "~" in segment
    assert path_segment(segment) != segment


@given(ids, coordinates)
def test_paths_fit_every_store(compartment: str, coordinate: Coordinate) -> None:
    """A whole path has six segments and at most 900 bytes: 124 of S3's 1,024 remain for the store's prefix."""
    path = object_path(compartment, coordinate, UUID7)
    assert path.count("/") == 5
    assert len(path) <= 900
    assert checked_path(path, "test") == path


@given(coordinates, coordinates)
def test_paths_are_injective(left: Coordinate, right: Coordinate) -> None:
    """Two task instances never share a prefix, whatever slashes or dots their ids hold."""
    same = (left.dag_id, left.run_id, left.task_id, left.map_index) == (
        right.dag_id,
        right.run_id,
        right.task_id,
        right.map_index,
    )
    assert (object_path("c", left, UUID7) == object_path("c", right, UUID7)) == same


def test_paths_tell_cases_apart() -> None:
    """Ids that differ in case only have paths that differ in case only."""
    lower = object_path("c", Coordinate("dag", "r", "t", -1, "k"), UUID7)
    upper = object_path("c", Coordinate("DAG", "r", "t", -1, "k"), UUID7)
    assert lower != upper
    assert lower == upper.replace("DAG", "dag")


def test_the_prefix_of_a_dag_depends_on_it_alone() -> None:
    """However long the other ids are, a DAG's objects lie below one prefix, to which a policy can be scoped."""
    short = object_path("c", Coordinate("d" * 250, "r", "t", -1, "k"), UUID7)
    long = object_path("c", Coordinate("d" * 250, "é" * 250, "é" * 250, 5, "k"), UUID7)
    assert short.split("/")[:2] == long.split("/")[:2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dag_id", ""),
        ("dag_id", "x" * 251),
        ("run_id", "a\x00b"),
        ("task_id", "\ud800"),
        ("key", "x" * 513),
        ("key", 5),
        ("map_index", -2),
        ("map_index", True),
        ("map_index", "1"),
    ],
)
def test_invalid_ids(name: str, value: object) -> None:
    """An id that Airflow could not store is refused with its name."""
    fields: dict[str, object] = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "key": "k"}
    with pytest.raises(CoordinateInvalid, match=name):
        Coordinate(**{**fields, name: value})  # type: ignore[arg-type]  # what must not pass at run time either


@given(coordinates)
def test_printed_on_one_line(coordinate: Coordinate) -> None:
    """However the ids are made, a coordinate prints as one line of plain ASCII."""
    assert str(coordinate).isascii()
    assert str(coordinate).isprintable()


@given(coordinates, coordinates)
def test_context_is_canonical(left: Coordinate, right: Coordinate) -> None:
    """The context's bytes are JSON, the same for the same ids in any order, and others for other ids."""
    context = encryption_context("c", left)
    assert json.loads(context_bytes(context)) == context
    assert context_bytes(dict(reversed(context.items()))) == context_bytes(context)
    other = encryption_context("c", right)
    assert (context_bytes(context) == context_bytes(other)) == (context == other)
