"""The stores that need no server: a folder and memory."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from secure_xcom.core.errors import ObjectExists, ObjectMissing, PathInvalid, UriInvalid
from secure_xcom.core.store_errors import StoreDenied, StoreUnavailable
from secure_xcom.stores import Store, store
from secure_xcom.stores.file_listing import STAGED_HOURS
from secure_xcom.stores.files import FileStore
from tests.support.store_contract import StoreContract


class TestFileStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return FileStore(tmp_path.as_uri())


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return store(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    """A file store whose root folder is the test's own."""
    return FileStore(tmp_path.as_uri())


def _all_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_memory_is_shared_by_name() -> None:
    """Two stores of one memory name are one, another name is another."""
    name = uuid.uuid4().hex
    store(f"memory://{name}").put("a", [b"x"])
    assert list(store(f"memory://{name}").get("a")) == [b"x"]
    with pytest.raises(ObjectMissing):
        store(f"memory://{name}-other").get("a")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file://relative/path", "file:///relative/path"),
        ("file://", "three slashes"),
        ("file:///", "root of the file system"),
        ("file:////", "root of the file system"),
        ("file:///a/../b", r"\.\."),
        ("file:///a/%2E%2E/b", r"\.\."),
        ("file:///a?sse=1", "no options"),
        ("file:///a#b", "no options"),
        ("file:///a%FF", "UTF-8"),
        ("file:///a%00b", "control character"),
        ("file:///a%0Ab", "control character"),
        ("/a/b", "begins with one of file://"),
        ("file:/a/b", "begins with one of file://"),
        ("flie:///a", "flie"),
        ("memory://", "memory://NAME"),
        ("memory://a/b", "memory://NAME"),
        ("memory://" + "a" * 65, "memory://NAME"),
    ],
)
def test_mistyped_uris(uri: str, said: str) -> None:
    """A store URI with a typo is refused with words that name the typo."""
    with pytest.raises(UriInvalid, match=said):
        store(uri)


@pytest.mark.parametrize("tail", ["sealed", "sealed/", "/sealed//", "sea%6Ced", "./sealed"])
def test_spellings_of_one_folder(tmp_path: Path, tail: str) -> None:
    """However the folder is spelt, the store has the one canonical URI."""
    assert store(f"{tmp_path.as_uri()}/{tail}").uri == f"{tmp_path.as_uri()}/sealed"


def test_folder_with_spaces_and_percent(tmp_path: Path) -> None:
    """A folder's name is percent-decoded once."""
    folder = tmp_path / "my data %41"
    folder.mkdir()
    store(folder.as_uri()).put("a/b", [b"x"])
    assert (folder / "a" / "b").read_bytes() == b"x"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes(files: FileStore, tmp_path: Path, umask: int) -> None:
    """Whatever the umask, folders are 0700 and files 0600, folders in the middle included."""
    before = os.umask(umask)
    try:
        files.put("a/b/c", [b"x"])
    finally:
        os.umask(before)
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"a": 0o700, "a/b": 0o700, "a/b/c": 0o600}


def test_missing_root(tmp_path: Path) -> None:
    """A root folder that is not there is never made: each method says that the store is unavailable."""
    missing = FileStore((tmp_path / "unmounted").as_uri())
    calls: list[Callable[[], object]] = [
        lambda: missing.put("a/b", [b"x"]),
        lambda: missing.get("a/b"),
        lambda: list(missing.list()),
        lambda: list(missing.list("a")),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="secure-xcom init"):
            call()
    assert isinstance(missing.delete_many(["a/b"])[0], StoreUnavailable)
    assert isinstance(next(missing.get_many(["a/b"])), StoreUnavailable)
    assert not (tmp_path / "unmounted").exists()


def test_root_is_a_file(tmp_path: Path) -> None:
    """A file in the place of the root folder is an unavailable store, not a missing object."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable):
        FileStore((tmp_path / "file").as_uri()).put("a", [b"x"])
    with pytest.raises(StoreUnavailable):
        FileStore((tmp_path / "file").as_uri()).get("a")


def test_a_file_in_the_way(files: FileStore) -> None:
    """An object where a folder is needed is an error of our tree, not NotADirectoryError."""
    files.put("a", [b"x"])
    with pytest.raises(StoreUnavailable, match="folder cannot be created"):
        files.put("a/b", [b"x"])
    with pytest.raises(ObjectMissing):
        files.get("a/b")
    assert files.delete_many(["a/b"]) == [None]
    assert list(files.list("a")) == []


def test_links_and_pipes_are_not_followed(files: FileStore, tmp_path: Path) -> None:
    """A symbolic link that leads out of the store is not read, and a pipe does not hold the reader up."""
    (tmp_path / "secret").write_bytes(b"elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(ObjectMissing):
            files.get(name)
    assert [found.path for found in files.list()] == ["secret"]
    with pytest.raises(ObjectExists):
        files.put("link", [b"x"])
    assert (tmp_path / "secret").read_bytes() == b"elsewhere"


@pytest.mark.file_times
def test_staged_files(files: FileStore, tmp_path: Path) -> None:
    """A file being written is not listed; one that a killed writer left is listed after a day, for gc."""
    seen: list[list[str]] = []

    def pieces() -> Iterator[bytes]:
        yield b"x" * 10
        seen.append([found.path for found in files.list()])
        seen.append(_all_files(tmp_path))

    files.put("a/b", pieces())
    staged = seen[1][0]
    assert seen[0] == []
    assert staged.startswith("a/.part~")
    assert _all_files(tmp_path) == ["a/b"]

    left = tmp_path / staged
    left.write_bytes(b"half")
    assert [found.path for found in files.list()] == ["a/b"]
    old = time.time() - STAGED_HOURS * 3600 - 60
    os.utime(left, (old, old))
    assert {found.path for found in files.list()} == {"a/b", staged}
    assert files.delete_many([staged]) == [None]
    with pytest.raises(PathInvalid):
        files.put(staged, [b"x"])


def test_lost_answer_of_a_link(files: FileStore, tmp_path: Path) -> None:
    """When the link was made although the file system says that one exists (NFS), the put has succeeded."""

    def pieces() -> Iterator[bytes]:
        yield b"sealed"
        (staged,) = _all_files(tmp_path)
        os.link(tmp_path / staged, tmp_path / "a" / "b")

    files.put("a/b", pieces())
    assert _all_files(tmp_path) == ["a/b"]
    assert list(files.get("a/b")) == [b"sealed"]


def test_full_disk(files: FileStore, tmp_path: Path) -> None:
    """A write that the disk does not take is StoreFull, and nothing is left of it."""
    # A size limit of the process stands in for the disk's: the same write fails half-way, with EFBIG.
    script = (
        "import resource, signal, sys; from secure_xcom.stores import store\n"
        "from secure_xcom.core.store_errors import StoreFull; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: store(sys.argv[1]).put('a/b', [b'x' * 60_000] * 3)\n"
        "except StoreFull as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, files.uri], capture_output=True, text=True, check=True)
    assert "the disk has no space for the object" in done.stdout
    assert _all_files(tmp_path) == []


def test_full_volume(files: FileStore, tmp_path: Path) -> None:
    """On a real volume of 1 MiB that runs full: StoreFull, nothing left, and smaller objects still fit."""
    mounted = 'mount -t tmpfs -o size=1m none "$0" && exec "$1" -c "$2" "$3"'
    script = (
        "import sys; from secure_xcom.stores import store; from secure_xcom.core.store_errors import StoreFull\n"
        "s = store(sys.argv[1])\n"
        "try: s.put('a/b', [b'x' * 600_000] * 3)\n"
        "except StoreFull as error: print(error)\n"
        "print([o.path for o in s.list()]); s.put('a/c', [b'x' * 600_000]); print([o.path for o in s.list()])\n"
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted]
    command += [str(tmp_path), sys.executable, script, files.uri]
    if shutil.which("unshare") is None or subprocess.run([*command[:4], "true"], check=False).returncode:
        pytest.skip("this machine does not let a user mount a volume (user namespaces)")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said, *listings = done.stdout.splitlines()
    assert "the disk has no space for the object" in said
    assert listings == ["[]", "['a/c']"]


def _in_fork(call: Callable[[], object], *, unprivileged: bool = False) -> str:
    """Run the call in a forked process and give what came of it; one that hangs is ended after 20 seconds."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            if unprivileged and os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            answer = repr(call())
        except BaseException:  # noqa: BLE001  # the parent asserts on it
            answer = traceback.format_exc()
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return answer


def test_denied(files: FileStore, tmp_path: Path) -> None:
    """A folder that the operating-system user may not use is StoreDenied, with what to do."""
    files.put("a/b", [b"x"])
    for folder in (tmp_path / "a", tmp_path):
        folder.chmod(0o500)
    try:
        put = _in_fork(lambda: files.put("a/c", [b"x"]), unprivileged=True)
        deleted = _in_fork(lambda: files.delete_many(["a/b"]), unprivileged=True)
    finally:
        for folder in (tmp_path, tmp_path / "a"):
            folder.chmod(0o700)
    assert StoreDenied.__name__ in put
    assert "operating-system user" in put
    assert StoreDenied.__name__ in deleted


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_fork(kind: str, tmp_path: Path) -> None:
    """A store that was used before a fork works in the child, and in the parent afterwards."""
    forked = store(tmp_path.as_uri() if kind == "file" else f"memory://{uuid.uuid4().hex}")
    forked.put("parent", [b"p"])

    def in_child() -> list[object]:
        forked.put("child", [b"c"])
        return [*forked.get_many(["parent", "child"]), [found.size for found in forked.list()]]

    assert _in_fork(in_child) == "[b'p', b'c', [1, 1]]"
    assert list(forked.get_many(["parent"])) == [b"p"]


def test_import_starts_nothing(tmp_path: Path) -> None:
    """Neither importing the stores nor making them loads obstore or starts a thread; the file store never does."""
    script = (
        "import sys, threading; from secure_xcom.stores import store; import secure_xcom.stores.object_store\n"
        "store('memory://x'); s = store(sys.argv[1]); s.put('a', [b'x']); list(s.get('a'))\n"
        "print('obstore' in sys.modules, threading.active_count(), 'airflow' in sys.modules)"
    )
    command = [sys.executable, "-c", script, tmp_path.as_uri()]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False 1 False\n"


@pytest.mark.skipif(
    sys.platform != "linux", reason="the peak of a process without its parent's is in Linux's /proc"
)
def test_memory_stays_bounded(tmp_path: Path) -> None:
    """256 MiB go through a put and a get with less than 16 MiB on top of what the process had."""
    script = (
        "import sys; from pathlib import Path; from secure_xcom.stores import store\n"
        "peak = lambda: int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
        "s = store(sys.argv[1]); s.put('a', [b'x']); before = peak()\n"
        "s.put('big', (bytes(1 << 20) for _ in range(256)))\n"
        "assert sum(map(len, s.get('big'))) == 256 << 20; print(peak() - before)"
    )
    command = [sys.executable, "-c", script, tmp_path.as_uri()]
    assert int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) < 16 << 10


def test_deleting_leaves_no_folders(files: FileStore, tmp_path: Path) -> None:
    """With its last object a folder goes too, and the root folder stays."""
    files.put("a/b/c", [b"x"])
    files.put("a/d", [b"x"])
    files.delete_many(["a/b/c"])
    assert not (tmp_path / "a" / "b").exists()
    assert _all_files(tmp_path) == ["a/d"]
    files.delete_many(["a/d"])
    assert list(tmp_path.iterdir()) == []


def test_put_and_delete_side_by_side(files: FileStore) -> None:
    """A folder that a delete removes while a put goes into it does not break the put."""

    def work(number: int) -> None:
        for turn in range(100):
            path = f"shared/folder/{number}-{turn}"
            files.put(path, [b"x"])
            assert files.delete_many([path]) == [None]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert list(files.list()) == []
