"""The reference: a row of Airflow's table, which whoever can write to the database may have written."""

from __future__ import annotations

import json
from collections.abc import Iterator

from secure_xcom.core.errors import CoordinateInvalid, ReferenceMalformed, ReferenceVersionUnknown
from secure_xcom.core.reference import is_reference, parse
from secure_xcom.keys import openers, version_of
from secure_xcom.keys.aws_kms_format import KmsWrap
from tests.fuzz import vectors
from tests.fuzz.harness import Harness

_KMS = "aws-kms:arn:aws:kms:eu-central-1:111122223333:key/mrk-1234abcd:QUJDREVGR0g="
_LISTED = (
    "local:///vectors/keyring.json",
    "vault://vault_xcom/transit/keys/xcom",
    "aws-kms://aws_xcom/arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd",
)


def _read(data: bytes) -> None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        # Airflow's database holds JSON.
        return
    if not is_reference(value):
        return
    reference = parse(value)
    record = reference.dump()
    expected = {name: part for name, part in value.items() if name not in ("preview", "followed", "skipped")}
    assert record == expected, "what was read is not what is written again"
    assert parse(record) == reference
    reference.head.canonical()
    _ = reference.head.coordinate
    openers(_LISTED, [(key.uri, key.wrapped) for key in reference.keys])


def _read_wrap(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    version_of(text)
    wrap = KmsWrap.parse(text)
    assert wrap is None or str(wrap) == text


def _seeds() -> Iterator[bytes]:
    yield from vectors.rows()
    yield _KMS.encode()


HARNESS = Harness(
    (_read, _read_wrap),
    (ReferenceMalformed, ReferenceVersionUnknown, CoordinateInvalid),
    _seeds,
    words=(
        "secure_xcom", "head", "keys", "seal", "payload", "preview", "followed", "skipped", "shredded", "expires",
        "exclusive", "readers", "attempt", "region", "region_index", "iteration", "object", "uri", "wrapped",
        "size", "1e999", "-1", "NaN", "null", "true", "\\ud800",
    ),
)  # fmt: skip
