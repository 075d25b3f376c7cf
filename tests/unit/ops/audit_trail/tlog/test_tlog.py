"""The Merkle log: hashes and proofs against RFC 9162's own steps, tiles against C2SP's text."""

from __future__ import annotations

import base64
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.core.errors import SettingInvalid, UriInvalid
from secure_xcom.core.operator_errors import SealedLogInvalid, SealRaced, SigningKeyError
from secure_xcom.ops.audit_trail.tlog import merkle
from secure_xcom.ops.audit_trail.tlog.anchor_record import Anchor, ChainEnd
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.tlog.checkpoint import Checkpoint
from secure_xcom.ops.audit_trail.tlog.layout import bundle_index, bundle_path, tile_path
from secure_xcom.ops.audit_trail.tlog.note import Verifier, checked_name, open_note, sign_note
from secure_xcom.ops.audit_trail.tlog.signer_file import FileSigner
from secure_xcom.ops.audit_trail.tlog.tiles import Tiles
from secure_xcom.stores import store
from tests.support import second_log_reader as second

# Leaves and roots that implementations of RFC 6962 test themselves with (certificate-transparency's merkletree).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
NAME = "audit.example.com/airflow"


class Leaves:
    """Nodes over a plain list of leaf hashes."""

    def __init__(self, hashes: list[bytes]) -> None:
        self.hashes = hashes

    def node(self, level: int, index: int) -> bytes:
        return second.tree(self.hashes[index << level : (index + 1) << level])


def made(folder: Path, count: int = 0) -> tuple[AnchoredLog, FileSigner]:
    """A log in a folder with a key of its own, and one seal of so many entries."""
    (folder / "log").mkdir(exist_ok=True)
    signer = FileSigner((folder / "key.pem").as_uri())
    if not signer.path.exists():
        signer.create()
    log = AnchoredLog(store((folder / "log").as_uri()), [Verifier(NAME, signer.public_key())])
    if count:
        add(log, signer, [b"entry %d" % at for at in range(count)])
    return log, signer


def add(log: AnchoredLog, signer: FileSigner, entries: list[bytes]) -> Checkpoint:
    """One more seal."""
    number, head = log.newest()
    seal = Anchor(number + 1, head.size, head.size + len(entries), "2026-11-22T10:00:00.000000Z")
    log.begin(seal, entries)
    return log.finish(seal, entries, signer)


def test_roots_of_the_reference_tree() -> None:
    """The roots of the eight trees that every implementation of RFC 6962 knows come out."""
    nodes = Leaves([merkle.leaf_hash(leaf) for leaf in LEAVES])
    assert tuple(merkle.root(nodes, size + 1).hex() for size in range(8)) == ROOTS
    assert merkle.root(nodes, 0) == second.tree([])


@given(st.integers(1, 300), st.data())
def test_every_proof_holds_before_the_second_verifier(size: int, data: st.DataObject) -> None:
    """Inclusion and consistency proofs are taken by RFC 9162's own steps, and by them alone for the right leaf."""
    hashes = [merkle.leaf_hash(str(at).encode()) for at in range(size)]
    nodes, root = Leaves(hashes), second.tree(hashes)
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion_proof(nodes, index, size)
    assert second.includes(root, size, index, hashes[index], path)
    assert not second.includes(root, size, index, merkle.leaf_hash(b"another"), path)
    old = data.draw(st.integers(1, size))
    proof = merkle.consistency_proof(nodes, old, size)
    assert second.extends(second.tree(hashes[:old]), old, root, size, proof)
    assert not second.extends(merkle.leaf_hash(b"another"), old, root, size, proof)


@pytest.mark.parametrize(
    ("index", "path"),
    [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")],
)
def test_paths_are_those_of_the_text(index: int, path: str) -> None:
    """Tiles lie where tlog-tiles says, its own example among them, and a bundle's path can be read back."""
    assert tile_path(3, index) == f"tile/3/{path}"
    assert tile_path(0, index, 7) == f"tile/0/{path}.p/7"
    assert bundle_path(index) == f"tile/entries/{path}"
    assert bundle_index(bundle_path(index)) == (index, 256)
    assert bundle_index(bundle_path(index, 9)) == (index, 9)
    assert second.number(index) == path


@pytest.mark.parametrize(
    "path", ["tile/0/000", "tile/entries/00", "tile/entries/x000/001", "tile/entries/001.p/x"]
)
def test_other_paths_are_no_bundles(path: str) -> None:
    """What is not written as a bundle's path is not read as one."""
    assert bundle_index(path) is None


@pytest.mark.parametrize("steps", [[1], [255, 1, 1], [256, 256], [3, 700, 1], [65_536 + 300, 5]])
def test_a_log_reads_the_same_for_the_second_verifier(tmp_path: Path, steps: list[int]) -> None:
    """After any steps all tiles, entries, roots and signatures are as C2SP's texts say."""
    log, signer = made(tmp_path)
    entries: list[bytes] = []
    hashes: list[bytes] = []
    for count in steps:
        new = [b"%d" % (len(entries) + at) for at in range(count)]
        add(log, signer, new)
        entries += new
        hashes = [second.leaf(entry) for entry in entries]
        head = second.head((tmp_path / "log/checkpoint").read_bytes(), str(log.verifiers[0]))
        assert (head.origin, head.size, head.root) == (NAME, len(entries), second.tree(hashes))
        assert second.entries(tmp_path / "log", head.size) == entries
        second.check_tiles(tmp_path / "log", head.size, hashes)
    assert [log.checkpoint(number).size for number in log.numbers("checkpoints")] == [
        sum(steps[: at + 1]) for at in range(len(steps))
    ]
    tiles, size = log.tiles(len(entries)), len(entries)
    for index in {0, size // 2, size - 1}:
        path = merkle.inclusion_proof(tiles, index, size)
        assert second.includes(second.tree(hashes), size, index, hashes[index], path)
    assert list((tmp_path / "log/pending").glob("*")) == []


def test_a_seal_that_was_cut_is_finished_as_it_was_begun(tmp_path: Path) -> None:
    """Whoever comes after a crash finds the begun seal and finishes it; doing so twice changes nothing."""
    log, signer = made(tmp_path, 5)
    seal = Anchor(2, 5, 7, "2026-11-22T10:00:00.000000Z", {"chain": ChainEnd(1, "ab", True)})
    log.begin(seal, [b"six", b"seven"])
    # The tiles were half written when the process died.
    Tiles(log.store, 5).extended([b"six", b"seven"])
    again, _ = made(tmp_path)
    begun = again.begun()
    assert begun is not None
    assert begun == (seal, [b"six", b"seven"])
    first = again.finish(*begun, signer)
    assert again.finish(*begun, signer) == first
    assert second.entries(tmp_path / "log", 7)[5:] == [b"six", b"seven"]
    assert again.begun() is None
    assert again.anchor(2).chains == seal.chains


def test_two_that_seal_at_once(tmp_path: Path) -> None:
    """The second to begin is told so, also when the first is done already; the log holds the first's entries."""
    log, signer = made(tmp_path, 1)
    mine = Anchor(2, 1, 2, "2026-11-22T10:00:00.000000Z")
    log.begin(mine, [b"mine"])
    with pytest.raises(SealRaced, match="began to anchor first"):
        log.begin(mine, [b"theirs"])
    log.finish(mine, [b"mine"], signer)
    with pytest.raises(SealRaced, match="anchored first"):
        log.begin(mine, [b"theirs"])
    assert log.begun() is None
    assert second.entries(tmp_path / "log", 2) == [b"entry 0", b"mine"]


def test_nothing_is_added_to_a_tree_that_was_not_signed(tmp_path: Path) -> None:
    """A log whose tiles were changed is not extended."""
    log, signer = made(tmp_path, 3)
    tile = tmp_path / "log/tile/0/000.p/3"
    tile.write_bytes(bytes(96))
    with pytest.raises(SealedLogInvalid, match="do not match the newest checkpoint"):
        add(log, signer, [b"more"])


def test_other_bytes_in_the_way_are_a_fork(tmp_path: Path) -> None:
    """Where another seal has left other entries at the place of this one, nothing is overwritten."""
    log, signer = made(tmp_path, 3)
    Tiles(log.store, 3).extended([b"theirs"])
    with pytest.raises(SealedLogInvalid, match="forked"):
        add(log, signer, [b"mine"])


def test_the_verifier_key_of_the_go_checksum_database() -> None:
    """A verifier key that is known from elsewhere is read and written the same, and a changed one is refused."""
    known = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    assert str(Verifier.parse(known)) == known
    for wrong in (known.replace("033de0ae", "033de0af"), known[:-4], known.replace("+Ac", "+Bc"), "name"):
        with pytest.raises(SettingInvalid, match="verifier key"):
            Verifier.parse(wrong)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "x" * 201])
def test_names_that_cannot_stand_in_a_note(name: str) -> None:
    """A log's name has no space and no plus in it (signed-note, "Format")."""
    with pytest.raises(SettingInvalid, match="not a valid name"):
        checked_name(name, "here")


def test_notes_are_opened_by_their_key_alone(tmp_path: Path) -> None:
    """Unknown signatures count for nothing, a known key's wrong signature and a changed text are refused."""
    log, signer = made(tmp_path)
    (verifier,) = log.verifiers
    note = sign_note("text\n", NAME, signer)
    assert open_note(note, [verifier], "here") == "text\n"
    stranger = base64.b64encode(b"\0\0\0\1" + bytes(64)).decode()
    assert open_note(note + f"— witness.example {stranger}\n".encode(), [verifier], "here") == "text\n"
    other = Verifier(NAME, bytes(32))
    for changed, keys, said in (
        (note.replace(b"text", b"test"), [verifier], "does not match"),
        (note, [other], "no trusted key"),
        (b"text\n", [verifier], "not a signed note"),
        (note[:-1], [verifier], "not a signed note"),
        (note.replace("—".encode(), b"-"), [verifier], "signature line"),
        (b"te\x01xt\n" + note[5:], [verifier], "not a signed note"),
    ):
        with pytest.raises(SealedLogInvalid, match=said):
            open_note(changed, keys, "here")


def test_checkpoints_are_read_strictly(tmp_path: Path) -> None:
    """A signed note that is no checkpoint, or one of another log, is refused."""
    log, signer = made(tmp_path)
    root = base64.b64encode(bytes(32)).decode()
    for text, said in (
        (f"{NAME}\n01\n{root}\n", "not a checkpoint"),
        (f"{NAME}\n1\n", "not a checkpoint"),
        (f"{NAME}\n1\nAAAA\n", "not 32 bytes"),
        (f"elsewhere\n1\n{root}\n", "another log"),
    ):
        with pytest.raises(SealedLogInvalid, match=said):
            Checkpoint.open(sign_note(text, NAME, signer), log.verifiers, "here")
    assert Checkpoint.open(sign_note(f"{NAME}\n1\n{root}\nmore\n", NAME, signer), log.verifiers, "").size == 1


def test_a_signing_key_that_others_can_use_is_refused(tmp_path: Path) -> None:
    """The key file is made with mode 0600, never overwritten, and not used when its mode is wider."""
    signer = FileSigner((tmp_path / "keys/key.pem").as_uri())
    signer.create()
    assert signer.path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SigningKeyError, match="exists already"):
        signer.create()
    signer.path.chmod(0o640)
    with pytest.raises(SigningKeyError, match="only this user"):
        signer.sign(b"text")
    signer.path.chmod(0o600)
    signer.path.write_text("no key")
    with pytest.raises(SigningKeyError, match="not an Ed25519 key in PEM"):
        signer.sign(b"text")


@pytest.mark.parametrize(
    "path",
    [
        "tile/entries/00²",
        "tile/entries/000.p/²",
        "tile/entries/" + "x999/" * 2000 + "000",
        "tile/entries/\u0660\u0660\u0660",
    ],
)
def test_objects_of_odd_names_are_no_bundles(path: str) -> None:
    """Digits of other scripts, and more of them than Python reads, are in no path of a bundle."""
    assert bundle_index(path) is None


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, '{"secure_xcom_seal": 1, "chains": {"c": [Infinity, "", true]}}', '{"secure_xcom_seal": 1e999}'],
)
def test_odd_anchors_are_damaged(text: str) -> None:
    """JSON that is nested too deep, and numbers that are none, are refused as what they are."""
    with pytest.raises(SealedLogInvalid, match="the record of an anchor is damaged"):
        Anchor.parse(text.encode(), "anchor")


@pytest.mark.parametrize("text", [f"{NAME}+0+ä", "\udcff+0+AA==", "\udcff"])
def test_verifier_keys_beyond_ascii_are_invalid(text: str) -> None:
    """Neither letters beyond ASCII nor bytes that are not UTF-8 are in a verifier key."""
    with pytest.raises(SettingInvalid, match="not a verifier key"):
        Verifier.parse(text)


def test_a_verifier_key_whose_name_is_not_utf_8_is_invalid() -> None:
    """The name is hashed as UTF-8, which a lone surrogate has no form in."""
    key = base64.b64encode(b"\x01" + bytes(32)).decode()
    with pytest.raises(SettingInvalid, match="not a verifier key"):
        Verifier.parse(f"\udcff+00000000+{key}")


def test_a_root_beyond_ascii_is_none() -> None:
    """A checkpoint whose third line is not ASCII has no root."""
    with pytest.raises(SealedLogInvalid, match="32 bytes of base64"):
        Checkpoint.parse(f"{NAME}\n1\nä\n", "note")


def test_a_signing_key_uri_with_half_an_address_is_refused() -> None:
    """A bracket after two slashes begins an IPv6 address, which has to end."""
    with pytest.raises(UriInvalid, match="a signing key file is"):
        FileSigner("file://[/key.pem")


def _reads(text: str) -> bool:
    try:
        Checkpoint.parse(text, "note")
    except SealedLogInvalid:
        return False
    return True


def test_the_lines_of_a_checkpoint() -> None:
    """The text ends with a line, no line is empty, and the root is strict base64 (tlog-checkpoint)."""
    root = base64.b64encode(bytes(32)).decode()
    assert _reads(f"{NAME}\n1\n{root}\n")
    assert _reads(f"{NAME}\n1\n{root}\nmore\nand more\n")
    for wrong in (
        f"\n1\n{root}\n",
        f"{NAME}\n1\n{root}\n\nmore\n",
        f"{NAME}\n1\n{root}\nmore\n\n",
        f"{NAME}\n1\n\nmore\n",
        f"{NAME}\n1\n{root[:8]}!{root[8:]}\n",
        f"{NAME}\n{10**19}\n{root}\n",
    ):
        assert not _reads(wrong)


class OtherSigner:
    """A signer whose key was replaced after its public key was read."""

    uri = "file:///replaced.pem"

    def __init__(self, before: FileSigner, after: FileSigner) -> None:
        self.before, self.after = before, after

    def public_key(self) -> bytes:
        return self.before.public_key()

    def sign(self, text: bytes) -> bytes:
        return self.after.sign(text)


def test_a_note_that_its_key_does_not_verify_is_not_written(tmp_path: Path) -> None:
    """A key that is replaced between two requests leaves no note that nobody can verify."""
    signers = []
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        signers.append(made(tmp_path / name)[1])
    with pytest.raises(SealedLogInvalid, match="does not match the signing key") as refused:
        sign_note("text\n", NAME, OtherSigner(*signers))
    assert refused.value.where == OtherSigner.uri


@pytest.mark.parametrize("key", [b"\x01" + bytes(31), b"\x01" + bytes(33), b"\x02" + bytes(32)])
def test_a_verifier_key_is_an_ed25519_key(key: bytes) -> None:
    """A key of another length or type is refused, even with an id that matches it."""
    other = Verifier(NAME, key[1:])
    text = f"{NAME}+{other.key_id.hex()}+{base64.b64encode(key).decode()}"
    with pytest.raises(SettingInvalid, match="not a verifier key"):
        Verifier.parse(text)


def test_signature_lines_at_the_limits(tmp_path: Path) -> None:
    """A signature has a key id and at least a byte more; a control character is in no note."""
    log, signer = made(tmp_path)
    note = sign_note("text\n", NAME, signer)
    short = "— witness.example {}\n"
    assert open_note(note + short.format("AAAAAAA=").encode(), log.verifiers, "here") == "text\n"
    with pytest.raises(SealedLogInvalid, match="signature line"):
        open_note(note + short.format("AAAAAA==").encode(), log.verifiers, "here")
    with pytest.raises(SealedLogInvalid, match="not a signed note"):
        open_note(note.replace(b"text", b"te\x1fxt"), log.verifiers, "here")
    with pytest.raises(SealedLogInvalid, match="not a signed note"):
        open_note(note.replace(b"text", b"te\xffxt"), log.verifiers, "here")


def test_tree_heads_and_keys_stay_as_they_are() -> None:
    """What was verified once is not changed later, and a line of a log does not show bytes."""
    for part, name in ((Checkpoint.empty(NAME), "root"), (Verifier(NAME, bytes(32)), "public")):
        with pytest.raises(FrozenInstanceError):
            setattr(part, name, b"other")
        assert name not in repr(part)
