"""Paths of coordinates: injective, within the limits of every store, and never a way out of one."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from secure_xcom.core.coordinate import (
    CLAIMS,
    MAP_INDEX_MAX,
    SEGMENT_MAX_BYTES,
    Asked,
    Coordinate,
    TaskTry,
    context_bytes,
    encryption_context,
    object_path,
    object_uri,
    path_segment,
)
from secure_xcom.core.errors import CoordinateInvalid, CoordinateMismatch
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
        ("map_index", 10_000_000_000),
    ],
)
def test_invalid_ids(name: str, value: object) -> None:
    """An id that Airflow could not store is refused with its name."""
    fields: dict[str, object] = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "key": "k"}
    with pytest.raises(CoordinateInvalid, match=name):
        Coordinate(**{**fields, name: value})  # type: ignore[arg-type]  # what must not pass at run time either


@pytest.mark.parametrize(
    ("index", "where"),
    [
        pytest.param("1", "map_index='1'", id="text"),
        pytest.param(1.5, "map_index=1.5", id="fraction"),
        pytest.param(True, "map_index=True", id="boolean"),
        pytest.param(10**5000, "int", id="digits"),
        pytest.param(None, "NoneType", id="nothing"),
    ],
)
def test_an_invalid_index_is_shown_if_it_can_be_printed(index: Any, where: str) -> None:
    """A number of thousands of digits is not printed, and an object of unknown kind is not asked for its text."""
    with pytest.raises(CoordinateInvalid) as refused:
        Coordinate("d", "r", "t", index, "k")
    assert refused.value.where == where


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


def test_the_longest_ids_and_the_largest_index_are_accepted() -> None:
    """The limits are Airflow's own: 250 characters, 512 for a key, and ten digits in the format."""
    longest = Coordinate("d" * 250, "r" * 250, "t" * 250, 9_999_999_999, "k" * 512)
    assert longest.map_index == 9_999_999_999
    assert Coordinate("d", "r", "t", -1, "k").map_index == -1


def test_the_path_names_everything_in_the_order_of_the_format() -> None:
    """Compartment and DAG come first, because policies are scoped by prefix."""
    assert object_path("c", Coordinate("d", "r", "t", 3, "k"), UUID7) == f"c/d/r/t/3/{UUID7}"


def test_the_encryption_context_names_what_policies_are_written_for() -> None:
    """Key services' policies and logs have these names; the XCom's key is none of them."""
    assert encryption_context("c", Coordinate("d", "r", "t", 3, "k")) == {
        "compartment": "c",
        "dag_id": "d",
        "task_id": "t",
        "run_id": "r",
        "map_index": "3",
    }


def test_claims_lie_where_no_compartment_does() -> None:
    """In the folder that every release looks in; a compartment of that name has another segment."""
    assert CLAIMS == "~claims"
    assert path_segment(CLAIMS) == "%7Eclaims"


@pytest.mark.parametrize(
    ("store", "uri"),
    [
        ("s3://bucket/prefix", "s3://bucket/prefix/a/b"),
        ("s3://bucket/prefix/", "s3://bucket/prefix/a/b"),
        ("s3://conn@bucket/prefix?region=x", "s3://bucket/prefix/a/b"),
        ("s3://one@bucket/two@three", "s3://bucket/two@three/a/b"),
    ],
)
def test_the_name_of_an_object_leaves_out_what_may_change(store: str, uri: str) -> None:
    """A renamed connection or another option does not make a payload another one."""
    assert object_uri(store, "a/b") == uri


@pytest.mark.parametrize(
    ("text", "kept"),
    [("x" * 201, "x" * 150), ("a" * 148 + "/" * 60, "a" * 148), ("a" * 149 + "/" * 60, "a" * 149)],
)
def test_a_long_id_is_cut_before_an_escape(text: str, kept: str) -> None:
    """A cut segment keeps at most 150 bytes of the id, never half an escape; then a tilde and 48 hex digits."""
    head, _, digest = path_segment(text).partition("~")
    assert (head, len(digest)) == (kept, 48)


def test_an_id_of_200_bytes_is_whole() -> None:
    """The limit itself is not cut, whether the id is plain or has an escape."""
    assert path_segment("x" * 200) == "x" * 200
    assert path_segment("x" * 197 + "/") == "x" * 197 + "%2F"
    assert path_segment("..") == "%2E%2E"


@pytest.mark.parametrize(("map_index", "text"), [(-1, "d/r/t:k"), (0, "d/r/t[0]:k"), (7, "d/r/t[7]:k")])
def test_a_mapped_task_prints_with_its_index(map_index: int, text: str) -> None:
    """Index 0 is the first of a mapped task; -1 is a task that is not mapped."""
    assert str(Coordinate("d", "r", "t", map_index, "k")) == text


HERE = Coordinate("d", "r", "t", 3, "k")
QUESTION = Asked("d", "t", "k", "r", 3)


@pytest.mark.parametrize(
    ("name", "other"), [("dag_id", "e"), ("run_id", "e"), ("task_id", "e"), ("map_index", 4), ("key", "e")]
)
def test_a_reference_of_another_coordinate_is_refused(name: str, other: str | int) -> None:
    """Each of the five parts counts, and the error says which one differs."""
    changed: dict[str, Any] = {name: other}
    QUESTION.check(HERE)
    with pytest.raises(CoordinateMismatch, match=f"another {name}: .*asked for {name}={other!r}, found d/r/t"):
        replace(QUESTION, **changed).check(HERE)


def test_a_question_that_leaves_run_or_index_open_takes_any() -> None:
    """A prior run's XCom, or all of a mapped task: the other parts still count."""
    Asked("d", "t", "k").check(HERE)
    with pytest.raises(CoordinateMismatch, match="another key"):
        Asked("d", "t", "other").check(HERE)


def test_a_question_for_mapped_values_refuses_one_that_is_not_mapped() -> None:
    """From the first index that was asked for on, and that one too."""
    replace(QUESTION, map_index=None, map_index_from=3).check(HERE)
    with pytest.raises(CoordinateMismatch, match=r"another map_index: .*map_index>=4"):
        replace(QUESTION, map_index=None, map_index_from=4).check(HERE)
    Asked("d", "t", "k").check(replace(HERE, map_index=-1))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (Asked("d", "t", "k"), "d/*/t:k"),
        (QUESTION, "d/r/t[3]:k"),
        (Asked("d\n", "t", "k"), "d\\n/*/t:k"),
    ],
)
def test_a_question_prints_on_one_line(asked: Asked, text: str) -> None:
    """What was left open is a star, or no index; a newline in an id forges no line of a log."""
    assert str(asked) == text


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, True),
        ({"map_index": 9}, True),
        ({"dag_id": "e"}, False),
        ({"run_id": "e"}, False),
        ({"task_id": "e"}, False),
        ({"try_number": 2}, False),
    ],
)
def test_another_try_is_another_task(other: dict[str, Any], same: bool) -> None:
    """A retry is not the try that claimed; the instances of one mapped task are the same task."""
    mine = TaskTry("d", "r", "t", 3, 1)
    assert mine.same_task(replace(mine, **other)) is same


@pytest.mark.parametrize(("one", "other", "same"), [(1, 1, True), (1, 2, False), (0, 1, False), (None, 1, True)])
def test_another_iteration_is_another_task(one: int | None, other: int | None, same: bool) -> None:
    """Each pass of a loop pulls for itself; where Airflow does not tell the pass, the try alone counts."""
    mine = TaskTry("d", "r", "t", 3, 1, iteration=one)
    assert mine.same_task(replace(mine, iteration=other)) is same
    assert replace(mine, iteration=other).same_task(mine) is same


def test_a_try_is_the_same_whether_or_not_airflow_tells_its_attempt() -> None:
    """Only Airflow 3.4 does, and a claim or a decision that was made before it still is of the same try."""
    mine = TaskTry("d", "r", "t", 3, 1)
    assert replace(mine, attempt=UUID7, iteration=4) == mine
    assert replace(mine, bundle="other") != mine


def test_an_open_question_asks_for_all_indexes_of_one_iteration() -> None:
    """From the task itself on, and for the iterations only where Airflow was asked for them."""
    assert (Asked("d", "t", "k").map_index_from, Asked("d", "t", "k").every_iteration) == (-1, False)


def test_the_identity_of_a_task_stays_as_it_is() -> None:
    """Nobody becomes another task once the context was read."""
    for part in (HERE, QUESTION, TaskTry("d", "r", "t", 3, 1)):
        with pytest.raises(FrozenInstanceError):
            part.dag_id = "other"  # type: ignore[misc]  # on purpose


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://conn@bucket/odd://name@x", "s3://bucket/odd://name@x"),
        ("s3://bucket/name@x", "s3://bucket/name@x"),
        ("file:///srv/xcom~", "file:///srv/xcom~"),
    ],
)
def test_the_name_of_an_object_keeps_the_rest(uri: str, place: str) -> None:
    """Only the connection before the bucket and slashes at the end are left out."""
    assert object_uri(uri, "path") == f"{place}/path"


def test_the_largest_map_index_is_that_of_airflows_column() -> None:
    """An INTEGER of PostgreSQL and MySQL."""
    assert MAP_INDEX_MAX == 2_147_483_647
