"""The local keyring: what it wraps, what it refuses, and what a crash or a rotation does to it."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from secure_xcom.core.coordinate import context_bytes
from secure_xcom.core.errors import KeyServiceError, KeyVersionUnknown, UnwrapRefused, UriInvalid
from secure_xcom.core.keyring_errors import KeyringBroken, KeyringError, KeyringExposed, KeyringMissing
from secure_xcom.keys import DataKey, KeyService, Wrap, key_service
from secure_xcom.keys.keyring import Keyring
from secure_xcom.keys.local import CONTEXT_PREFIX, LocalKeyring, keyring_path
from secure_xcom.ops.checks.key_services import check_key_service
from secure_xcom.ops.keyring import create_keyring, rotate_keyring
from tests.support.key_service_contract import CONTEXT, OTHER_CONTEXT, KeyServiceContract, opened

ROOT = Path(__file__).parents[3]
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving a file to another user needs root")
# The fixture's file is only read by the examples, so it may serve all of them.
fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A keyring with one version."""
    file = tmp_path / "keys" / "keyring.json"
    create_keyring(str(file))
    return file


@pytest.fixture
def keyring(path: Path) -> LocalKeyring:
    """The key service over `path`."""
    return LocalKeyring(f"local://{path}")


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestContract(KeyServiceContract):
    """The keyring keeps the contract of key services."""

    @pytest.fixture
    def service(self, path: Path) -> KeyService:
        return key_service(f"local://{path}")

    @pytest.fixture
    def other(self, tmp_path: Path) -> KeyService:
        create_keyring(str(tmp_path / "other.json"))
        return key_service(f"local://{tmp_path}/other.json")

    def rotate(self, service: KeyService) -> None:
        """See the contract."""
        rotate_keyring(service.uri.removeprefix("local://"))


# --- wraps ------------------------------------------------------------------------------------------------


def test_a_wrap_names_its_version(keyring: LocalKeyring, path: Path) -> None:
    """A wrap is local:vN:BASE64 of 104 bytes, and after a rotation N is the new version."""
    first = keyring.wrap(DataKey.generate(), CONTEXT)
    assert first.startswith("local:v1:")
    assert len(base64.b64decode(first[9:], validate=True)) == 104
    assert rotate_keyring(str(path)) == 2
    assert keyring.wrap(DataKey.generate(), CONTEXT).startswith("local:v2:")


def test_a_wrap_is_no_sealed_payload(keyring: LocalKeyring, path: Path) -> None:
    """What the wrapping key sealed in another context, the encryption context itself included, is no wrap."""
    from secure_xcom.core.cobblestone import Cobblestone256Encryptor

    key = base64.b64decode(json.loads(path.read_bytes())["versions"]["1"]["key"])
    for context, opens in (
        (CONTEXT_PREFIX + context_bytes(CONTEXT), True),
        (context_bytes(CONTEXT), False),
        (CONTEXT_PREFIX, False),
    ):
        encryptor = Cobblestone256Encryptor(key=key, context=context)
        text = base64.b64encode(encryptor.update(b"k" * 32) + encryptor.finalize()).decode()
        answer = keyring.unwrap_many([Wrap(f"local:v1:{text}", CONTEXT)])[0]
        assert isinstance(answer, DataKey if opens else UnwrapRefused)


def test_an_unknown_version_is_named(keyring: LocalKeyring) -> None:
    """A wrap of a version that the keyring does not have is refused by the version's number."""
    wrapped = keyring.wrap(DataKey.generate(), CONTEXT).replace("local:v1:", "local:v7:")
    answer = keyring.unwrap_many([Wrap(wrapped, CONTEXT)])[0]
    assert isinstance(answer, KeyVersionUnknown)
    assert "v7" in str(answer)


def test_a_wrap_relabelled_to_another_version_is_refused(keyring: LocalKeyring, path: Path) -> None:
    """A wrap under v1 does not open as v2, although both versions exist."""
    wrapped = keyring.wrap(DataKey.generate(), CONTEXT)
    rotate_keyring(str(path))
    answer = keyring.unwrap_many([Wrap(wrapped.replace("v1", "v2"), CONTEXT)])[0]
    assert isinstance(answer, UnwrapRefused)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("local:", "vault:"),
        lambda text: text.replace("v1", "v0"),
        lambda text: text.replace("v1", "v01"),
        lambda text: text.replace("v1", "v-1"),
        lambda text: text.replace("v1", "v" + "9" * 40),
        lambda text: text.replace("v1", "v\u0661"),
        lambda text: text.rstrip("="),
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:-2] + chr(ord(text[-2]) + 1) + "=",
        lambda text: text.replace("=", "%3D"),
        lambda text: text[:20] + "\n" + text[20:],
    ],
)
def test_another_spelling_of_a_wrap_is_refused(keyring: LocalKeyring, edit: Callable[[str], str]) -> None:
    """Only the canonical text of a wrap opens: no other base64, number or white space."""
    wrapped = edit(keyring.wrap(DataKey.generate(), CONTEXT))
    assert isinstance(keyring.unwrap_many([Wrap(wrapped, CONTEXT)])[0], (UnwrapRefused, KeyVersionUnknown))


@fuzz
@given(
    cut=st.tuples(st.integers(0, 149), st.integers(0, 149)),
    put=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8) | st.text(max_size=8),
)
def test_edited_wraps_never_open(keyring: LocalKeyring, cut: tuple[int, int], put: str) -> None:
    """A wrap in which any stretch was taken out or replaced does not open."""
    wrapped = keyring.wrap(DataKey.generate(), CONTEXT)
    edited = wrapped[: min(cut)] + put + wrapped[max(cut) :]
    assume(edited != wrapped)
    assert isinstance(keyring.unwrap_many([Wrap(edited, CONTEXT)])[0], KeyServiceError)
    assert isinstance(keyring.rewrap_many([Wrap(edited, CONTEXT)])[0], KeyServiceError)


@fuzz
@given(st.integers(0, 103), st.integers(1, 255))
def test_wraps_with_a_changed_byte_never_open(keyring: LocalKeyring, at: int, change: int) -> None:
    """A wrap of which any byte of salt, commitment, data key or tag was changed does not open."""
    sealed = bytearray(base64.b64decode(keyring.wrap(DataKey.generate(), CONTEXT)[9:]))
    sealed[at] ^= change
    wrapped = f"local:v1:{base64.b64encode(sealed).decode()}"
    assert isinstance(keyring.unwrap_many([Wrap(wrapped, CONTEXT)])[0], UnwrapRefused)


@fuzz
@given(st.dictionaries(st.sampled_from(sorted(CONTEXT)) | st.text(max_size=12), st.text(max_size=12)))
def test_wrong_contexts_never_open(keyring: LocalKeyring, changes: dict[str, str]) -> None:
    """A wrap opens in its own encryption context and in no other, larger or smaller one."""
    wrapped = keyring.wrap(DataKey.generate(), CONTEXT)
    for context in (changes, {**CONTEXT, **changes}):
        if context != CONTEXT:
            assert isinstance(keyring.unwrap_many([Wrap(wrapped, context)])[0], UnwrapRefused)


def test_a_context_that_is_no_text_is_an_error_of_ours(keyring: LocalKeyring) -> None:
    """A lone surrogate in the encryption context is refused for wrap and for unwrap, with an error of our tree."""
    surrogate = {**CONTEXT, "dag_id": "\ud800"}
    with pytest.raises(KeyServiceError, match="UTF-8"):
        keyring.wrap(DataKey.generate(), surrogate)
    wrapped = keyring.wrap(DataKey.generate(), CONTEXT)
    assert isinstance(keyring.unwrap_many([Wrap(wrapped, surrogate)])[0], UnwrapRefused)


# --- URIs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "local://",
        "local:///",
        "local:/etc/keyring.json",
        "local://relative/keyring.json",
        "local://localhost/etc/keyring.json",
        "local:///keys/keyring.json?version=1",
        "local:///keys/keyring.json#1",
        "local:///keys/key%20ring.json",
        "local:///keys/%2e%2e/keyring.json",
        "local:///keys/../keyring.json",
        "local:///keys/./keyring.json",
        "local:////keys/keyring.json",
        "local:///keys//keyring.json",
        "local:///keys/",
        "local:///keys/key ring.json",
        "local:///keys/keyring.json\n",
        "local:///keys/\x00keyring.json",
        "local:///keys\\keyring.json",
        "local:///keys/a,b.json",
        "local:///keys/\u202ekeyring.json",
        "local:///" + "k" * 512,
        "LOCAL:///keys/keyring.json",
    ],
)
def test_a_mistaken_uri_is_refused(uri: str) -> None:
    """A key URI that is not local:// and one plain absolute path is refused before any file is looked for."""
    with pytest.raises(UriInvalid):
        key_service(uri)


def test_a_uri_names_its_path() -> None:
    """The path is what stands after local://, letters of any language included."""
    assert keyring_path("local:///opt/schlüssel/keyring-1.json") == "/opt/schlüssel/keyring-1.json"


# --- the file: who may use it -----------------------------------------------------------------------------


def test_a_keyring_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """Whatever the umask, the file has mode 0600 and the folders made for it 0700."""
    for umask in (0o000, 0o777):
        file = tmp_path / f"{umask}" / "deep" / "keyring.json"
        before = os.umask(umask)
        try:
            if umask:
                file.parent.parent.mkdir()
                file.parent.parent.chmod(0o700)
                file.parent.mkdir()
                file.parent.chmod(0o700)
            create_keyring(str(file))
            rotated = rotate_keyring(str(file))
        finally:
            os.umask(before)
        assert rotated == 2
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == file.parent.parent.stat().st_mode & 0o777 == 0o700


def test_a_keyring_is_never_overwritten(path: Path) -> None:
    """Making a keyring where there is a file already is refused, and the file stays as it was."""
    before = path.read_bytes()
    with pytest.raises(KeyringError, match="never overwritten"):
        create_keyring(str(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o620, 0o602, 0o610, 0o777])
def test_a_keyring_open_to_others_is_refused(keyring: LocalKeyring, path: Path, mode: int) -> None:
    """Any permission of group or others is refused at the next use, even when the keyring was read before."""
    wrapped = keyring.wrap(DataKey.generate(), CONTEXT)
    path.chmod(mode)
    with pytest.raises(KeyringExposed, match=f"{mode:04o}"):
        keyring.unwrap_many([Wrap(wrapped, CONTEXT)])
    with pytest.raises(KeyringExposed):
        rotate_keyring(str(path))
    path.chmod(0o600)
    assert isinstance(keyring.unwrap_many([Wrap(wrapped, CONTEXT)])[0], DataKey)


def test_a_read_only_keyring_serves(keyring: LocalKeyring, path: Path) -> None:
    """Mode 0400 is as good as 0600 for wrap and unwrap."""
    path.chmod(0o400)
    assert keyring.wrap(DataKey.generate(), CONTEXT)


@as_root
def test_a_keyring_of_another_user_is_refused(keyring: LocalKeyring, path: Path) -> None:
    """A file that another user owns is refused even by root, and the text names both users."""
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(KeyringExposed, match=rf"user {NOBODY}, and this process runs as user 0"):
        keyring.wrap(DataKey.generate(), CONTEXT)


@as_root
def test_a_keyring_that_may_not_be_read_names_the_cure(keyring: LocalKeyring, path: Path) -> None:
    """A process of another user gets an error that says whom to run as."""
    for folder in path.parents[:3]:
        folder.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        finding = check_key_service(keyring)[0]
        os._exit(
            0
            if f"user {NOBODY} may not read" in finding.text and "as the keyring's owner" in finding.remedy
            else 1
        )
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o703, True), (0o1777, False), (0o770, False)])
def test_a_folder_that_anyone_may_write_is_refused(
    keyring: LocalKeyring, path: Path, mode: int, refused: bool
) -> None:
    """Where anyone can replace the keyring it is refused; the sticky bit, as on /tmp, makes it good."""
    path.parent.chmod(mode)
    findings = check_key_service(keyring)
    assert (findings[0].status == "error") is refused
    if refused:
        with pytest.raises(KeyringExposed, match="anyone can replace"):
            keyring.wrap(DataKey.generate(), CONTEXT)


def test_a_symbolic_link_is_refused(path: Path) -> None:
    """The file itself is no symbolic link, because a rotation would replace the link; folders above it may be."""
    link = path.parent / "link.json"
    link.symlink_to(path)
    with pytest.raises(KeyringError, match="symbolic link"):
        LocalKeyring(f"local://{link}").wrap(DataKey.generate(), CONTEXT)
    folder = path.parent.parent / "folder"
    folder.symlink_to(path.parent)
    assert LocalKeyring(f"local://{folder}/keyring.json").wrap(DataKey.generate(), CONTEXT)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder, a named pipe or a file in the path's middle is refused at once, without waiting on it."""
    folder, pipe, file = tmp_path / "folder", tmp_path / "pipe", tmp_path / "file"
    folder.mkdir(mode=0o700)
    os.mkfifo(pipe, 0o600)
    file.write_bytes(b"{}")
    for wrong in (folder, pipe, file / "keyring.json"):
        with pytest.raises(KeyringError):
            LocalKeyring(f"local://{wrong}").wrap(DataKey.generate(), CONTEXT)


# --- the file: what stands in it --------------------------------------------------------------------------


def test_a_missing_keyring_names_the_cure(keyring: LocalKeyring, path: Path) -> None:
    """Without its file a keyring is missing, also when it was read before, and nothing is made in its place."""
    wrapped = keyring.wrap(DataKey.generate(), CONTEXT)
    path.unlink()
    with pytest.raises(KeyringMissing, match="secure-xcom init"):
        keyring.unwrap_many([Wrap(wrapped, CONTEXT)])
    with pytest.raises(KeyringMissing):
        rotate_keyring(str(path))
    assert list(path.parent.iterdir()) == []
    with pytest.raises(KeyringMissing):
        LocalKeyring(f"local://{path.parent}/gone/keyring.json").wrap(DataKey.generate(), CONTEXT)


KEY = base64.b64encode(b"\x17" * 32).decode()
GOOD: dict[str, Any] = {
    "secure_xcom_keyring": 1,
    "versions": {"1": {"created": "2026-11-22T10:00:00Z", "key": KEY}},
    "latest": 1,
}


def _with(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


def _version(**changes: Any) -> str:
    return _with(versions={"1": {**GOOD["versions"]["1"], **changes}})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1, column 1"),
        ("null", "not an object"),
        ("[]", "not an object"),
        ("\ufeff" + json.dumps(GOOD), "not JSON"),
        (json.dumps(GOOD)[:-1], "not JSON at line 1"),
        (json.dumps(GOOD) + "{}", "not JSON at line 1"),
        ("[" * 100_000, "not JSON"),
        (json.dumps(GOOD) + " " * (1 << 20), "over 1048576 bytes"),
        (json.dumps({key: value for key, value in GOOD.items() if key != "latest"}), "no field latest"),
        (json.dumps({key: value for key, value in GOOD.items() if key != "versions"}), "no field versions"),
        (json.dumps({**GOOD, "comment": "x"}), "unknown field comment"),
        (json.dumps({**GOOD, KEY: "x"}), "unknown field"),
        (_with(secure_xcom_keyring=2), "secure_xcom_keyring is not 1"),
        (_with(secure_xcom_keyring=True), "secure_xcom_keyring is not 1"),
        (_with(secure_xcom_keyring=1.0), "secure_xcom_keyring is not 1"),
        (_with(versions={}), "at least one version"),
        (_with(versions=[]), "at least one version"),
        (_with(versions={"0": {}}), "entry 1 of versions"),
        (_with(versions={"01": {}}), "entry 1 of versions"),
        (_with(versions={KEY: {}}), "entry 1 of versions"),
        (_with(versions={"1": None}), "versions.1 is not an object"),
        (_with(latest=2), "latest is not the highest"),
        (_with(latest="1"), "latest is not the highest"),
        (_with(latest=True), "latest is not the highest"),
        (_with(latest=float("inf")), "latest is not the highest"),
        (_with(versions={**GOOD["versions"], "2": GOOD["versions"]["1"]}), "latest is not the highest"),
        (_version(key=base64.b64encode(b"\x17" * 31).decode()), "versions.1.key"),
        (_version(key=base64.b64encode(b"\x17" * 33).decode()), "versions.1.key"),
        (_version(key=KEY[:-2] + "d="), "versions.1.key"),
        (_version(key=KEY.rstrip("=")), "versions.1.key"),
        (_version(key=KEY + "\n"), "versions.1.key"),
        (_version(key=None), "versions.1.key"),
        (_version(key="ü" * 44), "versions.1.key"),
        (_version(created="yesterday"), "versions.1.created"),
        (_version(created="2026-11-22T10:00:00+00:00"), "versions.1.created"),
        (_version(created="2026-1-2T1:00:00Z"), "versions.1.created"),
        (_version(created=None), "versions.1.created"),
        (_version(note="x"), "versions.1 has an unknown field note"),
        (json.dumps(GOOD).replace('"latest": 1', '"latest": 1, "latest": 1'), "occurs twice"),
        (json.dumps(GOOD).replace('"key":', f'"key": "{KEY}", "key":'), "occurs twice"),
    ],
)
def test_a_broken_keyring_says_where(path: Path, text: str, says: str) -> None:
    """A file that is not exactly a keyring is refused; the text says where and holds nothing of a key."""
    path.write_text(text, encoding="utf-8")
    keyring = LocalKeyring(f"local://{path}")
    with pytest.raises(KeyringBroken) as caught:
        keyring.wrap(DataKey.generate(), CONTEXT)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert KEY[:8] not in str(caught.value)
    before = path.read_bytes()
    with pytest.raises(KeyringBroken):
        rotate_keyring(str(path))
    assert path.read_bytes() == before


def test_bytes_that_are_no_text_are_refused(path: Path) -> None:
    """A file that is not UTF-8 is broken, and says so without repeating it."""
    path.write_bytes(json.dumps(GOOD).encode("utf-16"))
    with pytest.raises(KeyringBroken, match="UTF-8"):
        LocalKeyring(f"local://{path}").wrap(DataKey.generate(), CONTEXT)


@fuzz
@given(st.integers(0, 200), st.integers(0, 200), st.binary(max_size=6))
def test_a_damaged_file_is_broken_or_means_the_same(start: int, end: int, put: bytes) -> None:
    """A stretch of the file taken out or replaced gives KeyringBroken, and never a key of another length."""
    text = json.dumps(GOOD).encode()
    damaged = text[: min(start, end)] + put + text[max(start, end) :]
    said = ""
    try:
        keyring = Keyring.parse(damaged, "here")
    except KeyringBroken as error:
        said = str(error)
    else:
        assert keyring.latest in keyring.versions
        assert {len(version.key) for version in keyring.versions.values()} == {32}
    assert KEY[:8] not in said


def test_a_hole_in_the_versions_is_allowed(path: Path) -> None:
    """A version taken out on purpose leaves the others usable; what it wrapped answers by its number."""
    keyring = LocalKeyring(f"local://{path}")
    old = Wrap(keyring.wrap(DataKey.generate(), CONTEXT), CONTEXT)
    rotate_keyring(str(path))
    record = json.loads(path.read_bytes())
    del record["versions"]["1"]
    path.write_text(json.dumps(record))
    new = Wrap(keyring.wrap(DataKey.generate(), CONTEXT), CONTEXT)
    answers = keyring.unwrap_many([old, new])
    assert isinstance(answers[0], KeyVersionUnknown)
    assert isinstance(answers[1], DataKey)


# --- rotation ---------------------------------------------------------------------------------------------


def test_a_running_process_sees_a_rotation(keyring: LocalKeyring, path: Path) -> None:
    """A service that has read the file wraps with the new version after a rotation by another process."""
    keyring.wrap(DataKey.generate(), CONTEXT)
    done = run("import sys; from secure_xcom.ops.keyring import *; print(rotate_keyring(sys.argv[1]))", path)
    assert done.stdout.strip() == "2", done.stderr
    assert keyring.wrap(DataKey.generate(), CONTEXT).startswith("local:v2:")


def test_a_file_of_the_same_size_is_read_anew(keyring: LocalKeyring, path: Path, tmp_path: Path) -> None:
    """Another keyring put in the file's place, equally long, is the one that is used from then on."""
    wrapped = keyring.wrap(DataKey.generate(), CONTEXT)
    create_keyring(str(tmp_path / "other.json"))
    (tmp_path / "other.json").replace(path)
    assert isinstance(keyring.unwrap_many([Wrap(wrapped, CONTEXT)])[0], UnwrapRefused)


def test_rotations_at_the_same_time_lose_no_version(keyring: LocalKeyring, path: Path) -> None:
    """Eight processes that rotate three times each make 24 versions, while the old wrap opens all the time."""
    key = DataKey.generate()
    wrap = Wrap(keyring.wrap(key, CONTEXT), CONTEXT)
    code = (
        "import sys; from secure_xcom.ops.keyring import *; [print(rotate_keyring(sys.argv[1])) for _ in range(3)]"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    reads = 0
    while any(worker.poll() is None for worker in workers):
        assert opened(keyring.unwrap_many([wrap])[0]) == key.secret
        reads += 1
    numbers = sorted(int(line) for worker in workers for line in worker.communicate()[0].split())
    assert numbers == list(range(2, 26))
    assert sorted(map(int, json.loads(path.read_bytes())["versions"])) == list(range(1, 26))
    assert len({version["key"] for version in json.loads(path.read_bytes())["versions"].values()}) == 25
    assert reads > 0
    assert opened(keyring.unwrap_many([wrap])[0]) == key.secret


def test_threads_share_a_service_during_rotations(keyring: LocalKeyring, path: Path) -> None:
    """One service used by several threads answers rightly while the file is rotated under it."""
    key = DataKey.generate()
    wrap = Wrap(keyring.wrap(key, CONTEXT), CONTEXT)
    wrong: list[object] = []

    def work() -> None:
        for _ in range(100):
            fresh = Wrap(keyring.wrap(key, OTHER_CONTEXT), OTHER_CONTEXT)
            answers = keyring.unwrap_many([wrap, fresh])
            wrong.extend(answer for answer in answers if answer != key)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        rotate_keyring(str(path))
    for thread in threads:
        thread.join()
    assert wrong == []


# Python announces these two system calls to its audit hooks before it makes them, so a process can be killed at
# exactly that moment: before the new file is made, and between the finished new file and its taking the name.
KILLED = """
import os, signal, sys
from secure_xcom.ops.keyring import rotate_keyring
def hook(event, arguments):
    if event == sys.argv[2] and ".keyring.json.new" in map(str, arguments):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
rotate_keyring(sys.argv[1])
"""


@pytest.mark.parametrize(("event", "left_over"), [("open", False), ("os.rename", True)])
def test_a_killed_rotation_leaves_the_old_keyring(
    keyring: LocalKeyring, path: Path, event: str, left_over: bool
) -> None:
    """A rotation killed before the new file takes its name leaves the old one whole, and the next one works."""
    key = DataKey.generate()
    wrap = Wrap(keyring.wrap(key, CONTEXT), CONTEXT)
    before = path.read_bytes()
    assert run(KILLED, path, event).returncode == -9
    temporary = path.parent / ".keyring.json.new"
    assert path.read_bytes() == before
    assert temporary.exists() is left_over
    if left_over:
        assert temporary.stat().st_mode & 0o777 == 0o600
    assert opened(keyring.unwrap_many([wrap])[0]) == key.secret
    assert rotate_keyring(str(path)) == 2
    assert not temporary.exists()
    assert opened(keyring.unwrap_many([wrap])[0]) == key.secret


def test_a_full_disk_leaves_the_old_keyring(path: Path) -> None:
    """A rotation or a creation that cannot write its file says so, and leaves nothing half-written."""
    before = path.read_bytes()
    code = """
import resource, sys
from secure_xcom.core.keyring_errors import KeyringError
from secure_xcom.ops.keyring import create_keyring, rotate_keyring
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
for call, path in ((rotate_keyring, sys.argv[1]), (create_keyring, sys.argv[1] + ".2")):
    try:
        call(path)
    except KeyringError as error:
        print(error)
"""
    done = run(code, path)
    assert done.stdout.count("cannot be written: File too large") == 2, done.stderr
    assert path.read_bytes() == before
    assert {entry.name for entry in path.parent.iterdir()} == {"keyring.json", "keyring.json.lock"}


# --- what is shown ----------------------------------------------------------------------------------------


def test_nothing_shows_a_key(keyring: LocalKeyring, path: Path) -> None:
    """Neither a repr, nor a pickle, nor the objects behind the service show a wrapping key."""
    keyring.wrap(DataKey.generate(), CONTEXT)
    text = json.loads(path.read_bytes())["versions"]["1"]["key"]
    raw = base64.b64decode(text)
    parsed = Keyring.parse(path.read_bytes(), "here")
    assert parsed.versions[1].key == raw
    shown = " ".join(
        map(
            repr, (keyring, vars(keyring), parsed, parsed.versions, parsed.versions[1], check_key_service(keyring))
        )
    )
    assert text not in shown
    assert repr(raw)[2:-1] not in shown
    assert raw not in pickle.dumps(keyring)
    copy = pickle.loads(pickle.dumps(keyring))  # noqa: S301  # Our own bytes.
    assert isinstance(copy.unwrap_many([Wrap(keyring.wrap(DataKey.generate(), CONTEXT), CONTEXT)])[0], DataKey)
