"""The key that signs checkpoints in KMS, against a double: moto does not know ECC_NIST_EDWARDS25519."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from secure_xcom.core.operator_errors import SealedLogError
from secure_xcom.ops.audit_trail.tlog.checkpoint import Checkpoint
from secure_xcom.ops.audit_trail.tlog.note import Verifier
from secure_xcom.ops.audit_trail.tlog.signers import signer
from tests.support import second_log_reader as second
from tests.support.servers.aws_connections import clean_environment, connect
from tests.support.servers.kms_double import KmsDouble

pytest.importorskip("airflow.providers.amazon")
NAME = "audit.example.com/airflow"
PRIVATE = bytes(range(32))


@pytest.fixture(scope="module")
def kms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KmsDouble, str]]:
    """A KMS with one connection to it."""
    with KmsDouble() as double, pytest.MonkeyPatch.context() as patch:
        clean_environment(patch, tmp_path_factory.mktemp("aws"))
        config = {"retries": {"mode": "standard", "total_max_attempts": 1}}
        yield double, connect(patch, double.endpoint, config=config)


def test_a_checkpoint_signed_in_kms(kms: tuple[KmsDouble, str], tmp_path: Path) -> None:
    """The request is Ed25519 over the raw note, and the note convinces the second verifier."""
    double, conn_id = kms
    key = double.create_key(spec="ECC_NIST_EDWARDS25519", usage="SIGN_VERIFY", materials=[PRIVATE])
    made = signer(f"aws-kms://{conn_id}/{key.arn}")
    verifier = Verifier(NAME, made.public_key())
    note = Checkpoint(NAME, 7, bytes(32)).signed(made)
    head = second.head(note, str(verifier))
    assert (head.origin, head.size, head.root) == (NAME, 7, bytes(32))
    asked = double.requests[-1]
    assert (asked.operation, asked.body["SigningAlgorithm"]) == ("Sign", "ED25519_SHA_512")
    assert asked.body["MessageType"] == "RAW"


def test_a_key_that_does_not_sign_is_refused(kms: tuple[KmsDouble, str]) -> None:
    """A key for encryption, and one that this identity may not use, are named errors."""
    double, conn_id = kms
    wrong = signer(f"aws-kms://{conn_id}/{double.create_key().arn}")
    with pytest.raises(SealedLogError, match="cannot be used"):
        wrong.public_key()
    key = double.create_key(spec="ECC_NIST_EDWARDS25519", usage="SIGN_VERIFY", materials=[PRIVATE])
    double.allows = lambda request: request.operation != "Sign"
    made = signer(f"aws-kms://{conn_id}/{key.arn}")
    with pytest.raises(SealedLogError, match="cannot be used"):
        made.sign(b"text")
    double.calm()
