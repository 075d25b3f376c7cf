"""The anchored log: notes, checkpoints, anchors and names in a bucket that others may write to."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

from secure_xcom.core.errors import SettingInvalid
from secure_xcom.core.operator_errors import SealedLogInvalid
from secure_xcom.ops.audit_trail.tlog.anchor_record import Anchor, ChainEnd
from secure_xcom.ops.audit_trail.tlog.checkpoint import Checkpoint
from secure_xcom.ops.audit_trail.tlog.ed25519 import from_spki, public_of
from secure_xcom.ops.audit_trail.tlog.layout import bundle_index, bundle_path, join_entries, split_entries
from secure_xcom.ops.audit_trail.tlog.note import Verifier, open_note
from tests.fuzz import vectors
from tests.fuzz.harness import Harness

_PRIVATE = bytes(range(32))
_NAME = "audit.example.com/airflow"
_VERIFIER = Verifier(_NAME, public_of(_PRIVATE))
_CHECKPOINT = Checkpoint(_NAME, 7, bytes(32))
_ANCHOR = Anchor(
    3, 5, 7, "2026-11-22T10:00:00.000000Z",
    {"019ab9a0-0000-7000-8000-0000000000ff": ChainEnd(4, "0" * 64, ended=True)},
    ("worker-1:file:///var/log/log.jsonl", "s3://bucket/events"), "2026-11-22T10:00:00.000000Z",
)  # fmt: skip


def _note(data: bytes) -> None:
    Checkpoint.open(data, [_VERIFIER], "note")


def _checkpoint(data: bytes) -> None:
    # What the holder of the key has signed is parsed as well.
    checkpoint = Checkpoint.parse(data.decode("utf-8", "replace"), "note")
    assert Checkpoint.parse(checkpoint.text(), "note") == checkpoint


def _verifier(data: bytes) -> None:
    # From the command line, where bytes that are not UTF-8 become surrogates (PEP 383).
    text = data.decode("utf-8", "surrogateescape")
    assert str(Verifier.parse(text)) == text.strip()


def _anchor(data: bytes) -> None:
    anchor = Anchor.parse(data, "anchor")
    assert Anchor.parse(anchor.dump(), "anchor") == anchor


def _names(data: bytes) -> None:
    path = data.decode("utf-8", "surrogateescape")
    bundle = bundle_index(path)
    assert bundle is None or bundle_path(*bundle) == path


def _bundle(data: bytes) -> None:
    entries = list(split_entries(data))
    assert sum(2 + len(entry) for entry in entries) <= len(data) + 2
    joined = join_entries(entries)
    assert list(split_entries(joined)) == entries


def _public_key(data: bytes) -> None:
    assert len(from_spki(data)) in (0, 32)


def _sign(text: str) -> bytes:
    from secure_xcom.ops.audit_trail.tlog.ed25519 import sign

    encoded = base64.b64encode(_VERIFIER.key_id + sign(_PRIVATE, text.encode())).decode()
    return f"{text}\n— {_NAME} {encoded}\n".encode()


def _seeds() -> Iterator[bytes]:
    yield _sign(_CHECKPOINT.text())
    yield _CHECKPOINT.text().encode()
    yield str(_VERIFIER).encode()
    yield _ANCHOR.dump()
    yield json.dumps({**json.loads(_ANCHOR.dump()), "chains": {}}).encode()
    for path in ("tile/entries/000", "tile/entries/x001/234", "tile/entries/000.p/7"):
        yield path.encode()
    for log in vectors.chains():
        yield join_entries(log.splitlines()[:4])
    # RFC 8410, section 10.1: the header of an Ed25519 public key.
    yield bytes.fromhex("302a300506032b6570032100") + public_of(_PRIVATE)
    assert open_note(_sign(_CHECKPOINT.text()), [_VERIFIER], "note") == _CHECKPOINT.text()


HARNESS = Harness(
    (_note, _checkpoint, _verifier, _anchor, _names, _bundle, _public_key),
    (SealedLogInvalid, SettingInvalid),
    _seeds,
    words=(
        _NAME,
        "\n— ",
        "\n\n",
        "tile/entries/",
        ".p/",
        "secure_xcom_seal",
        "chains",
        "sources",
        "until",
        "Infinity",
    ),
)
