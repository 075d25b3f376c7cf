"""What every store must do, whatever lies behind it. Each store's tests inherit this class."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from random import Random

import pytest

from secure_xcom.core.coordinate import Coordinate, object_path
from secure_xcom.core.errors import ObjectExists, ObjectMissing, PathInvalid
from secure_xcom.stores import Store

# Segments as coordinate.path_segment makes them, and the longest and oddest of them.
UNUSUAL_SEGMENTS = [
    "scheduled__2026-11-22T10%3A00%3A00%2B00%3A00",
    "%2E%2E",
    "%2E",
    "a%2Fb",
    "a%252Fb",
    "%C3%A9t%C3%A9",
    "%F0%9F%92%A1",
    "%25",
    "-",
    "_",
    "...a",
    "a.b~c",
    "x" * 200,
    "%C3%A9" * 25 + "~" + "0123456789abcdef" * 3,
]
REFUSED_PATHS = ["", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", ".", "a/./b", "a/..", "a b", "a\n", "é"]
REFUSED_PATHS += ["a\x00", "a\\b", "a?b", "a#b", "x" * 256, "/".join(["y" * 200] * 6)]


class StoreContract:
    """Inherit it, and give the store under test as the fixture ``store``."""

    @pytest.fixture
    def folder(self) -> str:
        """A prefix of its own for each test, because some stores are shared by a whole run."""
        return f"contract/{uuid.uuid4().hex}"

    @pytest.mark.parametrize(
        "pieces",
        [[], [b""], [b"sealed"], [b"", b"a", b"", b"b"], [b"x" * 16_384] * 5],
        ids=["none", "empty", "one", "with empties", "five"],
    )
    def test_gives_back_what_was_put(self, store: Store, folder: str, pieces: list[bytes]) -> None:
        """A payload of no, one or many pieces comes back byte for byte."""
        store.put(f"{folder}/object", iter(pieces))
        assert b"".join(store.get(f"{folder}/object")) == b"".join(pieces)

    def test_large_payload(self, store: Store, folder: str) -> None:
        """45 MiB in pieces of odd sizes come back byte for byte, and in more than one piece."""
        random = Random(5)
        # More parts than are on their way at once, so that the memory of some is that of earlier ones.
        sizes = (100_000, 0, 41 << 20, (1 << 20) + 1, 0, 3 << 20, 0)
        pieces = [random.randbytes(size) for size in sizes]
        store.put(f"{folder}/large", iter(pieces))
        answer = list(store.get(f"{folder}/large"))
        assert b"".join(answer) == b"".join(pieces)
        assert len(answer) > 1

    def test_never_overwrites(self, store: Store, folder: str) -> None:
        """A second put to a path is refused and leaves the first payload as it was."""
        store.put(f"{folder}/once", [b"first"])
        with pytest.raises(ObjectExists):
            store.put(f"{folder}/once", [b"second"])
        assert b"".join(store.get(f"{folder}/once")) == b"first"

    def test_never_overwrites_with_a_large_payload(self, store: Store, folder: str) -> None:
        """The same holds when the second payload is so large that it is streamed."""
        store.put(f"{folder}/once", [b"first"])
        with pytest.raises(ObjectExists):
            store.put(f"{folder}/once", (bytes(1 << 20) for _ in range(20)))
        assert b"".join(store.get(f"{folder}/once")) == b"first"

    def test_race_of_writers(self, store: Store, folder: str) -> None:
        """Of 16 writers that put to one path at the same time, exactly one wins, and its payload is there."""
        start = threading.Barrier(16)

        def write(number: int) -> bool:
            start.wait()
            try:
                store.put(f"{folder}/raced", [b"%02d" % number] * 1000)
            except ObjectExists:
                return False
            return True

        with ThreadPoolExecutor(16) as threads:
            won = list(threads.map(write, range(16)))
        assert won.count(True) == 1
        assert b"".join(store.get(f"{folder}/raced")) == b"%02d" % won.index(True) * 1000

    def test_failing_payload_leaves_nothing(self, store: Store, folder: str) -> None:
        """When the payload's own iterator fails, its error passes through and there is no object."""

        def pieces() -> Iterator[bytes]:
            yield b"x" * 100_000
            raise RuntimeError("sealing failed")

        with pytest.raises(RuntimeError, match="sealing failed"):
            store.put(f"{folder}/broken", pieces())
        with pytest.raises(ObjectMissing):
            store.get(f"{folder}/broken")
        assert list(store.list(folder)) == []

    def test_missing_object(self, store: Store, folder: str) -> None:
        """A get of what is not there is refused at once, not at the first piece."""
        with pytest.raises(ObjectMissing):
            store.get(f"{folder}/nothing")

    def test_a_folder_is_no_object(self, store: Store, folder: str) -> None:
        """A path that only leads to other objects has no object itself."""
        store.put(f"{folder}/a/b", [b"x"])
        with pytest.raises(ObjectMissing):
            store.get(f"{folder}/a")

    def test_unusual_segments(self, store: Store, folder: str) -> None:
        """Escapes, dots, tildes and 200-byte segments are taken as they are, and none is taken for another."""
        for segment in UNUSUAL_SEGMENTS:
            store.put(f"{folder}/{segment}/{segment}", [segment.encode()])
        for segment in UNUSUAL_SEGMENTS:
            assert b"".join(store.get(f"{folder}/{segment}/{segment}")) == segment.encode()
            listed = [found.path for found in store.list(f"{folder}/{segment}")]
            assert listed == [f"{folder}/{segment}/{segment}"]

    def test_paths_of_coordinates(self, store: Store, folder: str) -> None:
        """The paths that object_path makes of long and strange ids can be put, got, listed and deleted."""
        coordinates = [
            Coordinate("dag", "manual__2026-11-22T10:00:00+00:00", "task", -1, "k"),
            Coordinate("d/../g", "..", "~\n%", 7, "k"),
            Coordinate("é" * 250, "ü" * 250, "💡" * 250, 99_999, "k"),
        ]
        paths = [f"{folder}/{object_path('c', one, uuid.uuid4().hex)}" for one in coordinates]
        for path in paths:
            store.put(path, [path.encode()])
        assert list(store.get_many(paths)) == [path.encode() for path in paths]
        assert {found.path for found in store.list(folder)} == set(paths)
        assert store.delete_many(paths) == [None] * 3

    def test_paths_differ_by_case(self, store: Store, folder: str) -> None:
        """Two ids that differ in case are two objects."""
        store.put(f"{folder}/Task/x", [b"upper"])
        store.put(f"{folder}/task/x", [b"lower"])
        assert list(store.get_many([f"{folder}/Task/x", f"{folder}/task/x"])) == [b"upper", b"lower"]

    @pytest.mark.parametrize("path", REFUSED_PATHS)
    def test_refused_paths(self, store: Store, path: str) -> None:
        """A path that could lead elsewhere, or that a store would change, is refused by every method."""
        with pytest.raises(PathInvalid):
            store.put(path, [b"x"])
        with pytest.raises(PathInvalid):
            store.get(path)
        assert isinstance(next(store.get_many([path])), PathInvalid)
        assert isinstance(store.delete_many([path])[0], PathInvalid)
        if path and path != "a/":
            with pytest.raises(PathInvalid):
                list(store.list(path))

    def test_get_many(self, store: Store, folder: str) -> None:
        """A hundred objects come in the order asked for, twice when asked twice, each error in its own place."""
        for number in range(98):
            store.put(f"{folder}/{number}", [b"%d" % number])
        asked = [f"{folder}/{number}" for number in range(97, -1, -1)]
        asked[10:10] = [f"{folder}/missing", f"{folder}/5", "../x"]
        answer = list(store.get_many(asked))
        assert isinstance(answer[10], ObjectMissing)
        assert answer[11] == b"5"
        assert isinstance(answer[12], PathInvalid)
        assert answer[:10] + answer[13:] == [b"%d" % number for number in range(97, -1, -1)]

    def test_get_many_of_none_and_one(self, store: Store, folder: str) -> None:
        """No path gives nothing, one path gives one answer."""
        store.put(f"{folder}/one", [b"1"])
        assert list(store.get_many([])) == []
        assert list(store.get_many([f"{folder}/one"])) == [b"1"]

    def test_get_many_large_between_small(self, store: Store, folder: str) -> None:
        """Objects larger than what is fetched ahead keep their place."""
        store.put(f"{folder}/small", [b"s"])
        store.put(f"{folder}/large", [bytes(3 << 20)] * 3)
        answer = list(store.get_many([f"{folder}/small", f"{folder}/large", f"{folder}/small"]))
        assert answer == [b"s", bytes(9 << 20), b"s"]

    def test_get_many_of_longer_objects(self, store: Store, folder: str) -> None:
        """Of an object that is longer than its size, that much and one byte more is given; others come whole."""
        body = Random(6).randbytes(200_000)
        asked = {"exact": 200_000, "shorter": 200_500, "longer": 1000, "none": 0, "by-one": 199_999}
        for name in asked:
            store.put(f"{folder}/{name}", [body])
        paths, sizes = [f"{folder}/{name}" for name in asked], list(asked.values())
        expected = [body, body, body[:1001], body[:1], body]
        assert list(store.get_many(paths, sizes)) == expected
        assert [*store.get_many(paths[2:3], sizes[2:3])] == expected[2:3]
        missing = next(store.get_many([f"{folder}/missing"], [5]))
        assert isinstance(missing, ObjectMissing)
        assert list(store.get_many([], [])) == []

    def test_get_many_of_longer_large_objects(self, store: Store, folder: str) -> None:
        """The same holds of objects that are too large to be fetched ahead, or are meant to be."""
        store.put(f"{folder}/large", [bytes(3 << 20)] * 3)
        sizes = [9 << 20, (9 << 20) - 1, 10 << 20, 5 << 20, 4 << 20, 100]
        answer = list(store.get_many([f"{folder}/large"] * 6, sizes))
        assert [len(found) for found in answer if isinstance(found, bytes)] == [
            *[9 << 20] * 3,
            (5 << 20) + 1,
            (4 << 20) + 1,
            101,
        ]

    def test_get_many_can_be_left(self, store: Store, folder: str) -> None:
        """A reader that stops after the first object is not held up, and the store goes on working."""
        for number in range(40):
            store.put(f"{folder}/{number}", [b"%d" % number])
        answer = store.get_many([f"{folder}/{number}" for number in range(40)])
        assert next(answer) == b"0"
        del answer
        assert list(store.get_many([f"{folder}/39"])) == [b"39"]

    def test_get_can_be_left(self, store: Store, folder: str) -> None:
        """A reader that stops in the middle of a large object leaves nothing open, and can begin again."""
        store.put(f"{folder}/large", [bytes(1 << 20)] * 12)
        pieces = store.get(f"{folder}/large")
        next(pieces)
        del pieces
        assert sum(map(len, store.get(f"{folder}/large"))) == 12 << 20

    def test_delete_many(self, store: Store, folder: str) -> None:
        """What is deleted is gone, its neighbors stay, and deleting again or deleting nothing is no error."""
        paths = [f"{folder}/{name}" for name in ("a", "b", "c")]
        for path in paths:
            store.put(path, [b"x"])
        assert store.delete_many([paths[0], f"{folder}/missing", paths[2]]) == [None, None, None]
        assert store.delete_many([paths[0]]) == [None]
        assert store.delete_many([]) == []
        assert [found.path for found in store.list(folder)] == [paths[1]]
        with pytest.raises(ObjectMissing):
            store.get(paths[0])

    def test_a_deleted_path_can_be_put_again(self, store: Store, folder: str) -> None:
        """After the last object below a prefix was deleted, new ones can be put there."""
        for _ in range(3):
            store.put(f"{folder}/a/b/c", [b"x"])
            assert store.delete_many([f"{folder}/a/b/c"]) == [None]

    def test_list_ends_at_a_segment(self, store: Store, folder: str) -> None:
        """A prefix takes whole segments: ``a/b`` has what is below it and not ``a/bc``."""
        below = [f"{folder}/a/b/1", f"{folder}/a/b/c/2"]
        for path in (*below, f"{folder}/a/bc/3", f"{folder}/a/b~/3", f"{folder}/a%2Fb/4", f"{folder}/A/b/5"):
            store.put(path, [b"x"])
        assert sorted(found.path for found in store.list(f"{folder}/a/b")) == below
        assert sorted(found.path for found in store.list(f"{folder}/a/b/")) == below
        assert len(list(store.list(folder))) == 6
        assert list(store.list(f"{folder}/a/nothing")) == []

    @pytest.mark.file_times
    def test_list_says_size_and_time(self, store: Store, folder: str) -> None:
        """Each listed object has its size in bytes and the time it was written, with its time zone."""
        store.put(f"{folder}/object", [b"x" * 1234])
        (found,) = store.list(folder)
        assert found.size == 1234
        assert abs(found.modified - datetime.now(timezone.utc)) < timedelta(minutes=2)

    def test_list_of_the_whole_store(self, store: Store, folder: str) -> None:
        """Without a prefix every object of the store is listed."""
        store.put(f"{folder}/object", [b"x"])
        assert f"{folder}/object" in {found.path for found in store.list()}
