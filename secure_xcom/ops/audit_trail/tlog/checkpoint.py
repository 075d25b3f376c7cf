"""Checkpoints (C2SP tlog-checkpoint): the signed origin, number of leaves and root of a log."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from secure_xcom.core.operator_errors import SealedLogInvalid
from secure_xcom.ops.audit_trail.tlog.merkle import EMPTY_ROOT, HASH_BYTES
from secure_xcom.ops.audit_trail.tlog.note import Signer, Verifier, open_note, sign_note

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: the log's origin, the number of leaves, the root's 32 bytes."""

    origin: str
    size: int
    root: bytes = field(repr=False)

    @classmethod
    def empty(cls, origin: str) -> Checkpoint:
        """Return the head of an empty log."""
        return cls(origin, 0, EMPTY_ROOT)

    def text(self) -> str:
        """Return the three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def signed(self, signer: Signer) -> bytes:
        """Return the signed note.

        :raises SecureXComError: the signer did not sign.
        """
        return sign_note(self.text(), self.origin, signer)

    @classmethod
    def parse(cls, text: str, where: str) -> Checkpoint:
        """Parse the lines of a note whose signature was checked; extension lines are ignored.

        :raises SealedLogInvalid: they are not a checkpoint.
        """
        lines = text.split("\n")
        if len(lines) < 4 or not all(lines[:-1]) or not _SIZE.fullmatch(lines[1]):
            raise SealedLogInvalid("the note is not a checkpoint", where=where)
        try:
            root = base64.b64decode(lines[2], validate=True)
        except ValueError:
            root = b""
        if len(root) != HASH_BYTES:
            raise SealedLogInvalid("the root of the checkpoint is not 32 bytes of base64", where=where)
        return cls(lines[0], int(lines[1]), root)

    @classmethod
    def open(cls, note: bytes, verifiers: Sequence[Verifier], where: str) -> Checkpoint:
        """Check the signature, then parse.

        :raises SealedLogInvalid: no trusted key signed it, it is not a checkpoint, or its log has another origin.
        """
        checkpoint = cls.parse(open_note(note, verifiers, where), where)
        if checkpoint.origin not in {verifier.name for verifier in verifiers}:
            raise SealedLogInvalid(
                f"the checkpoint belongs to another log: {checkpoint.origin!r:.80}",
                where=where,
                remedy="name the verifier key of this log",
            )
        return checkpoint
