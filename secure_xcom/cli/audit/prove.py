"""``secure-xcom audit prove``: write proofs to be checked elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit.locations import (
    KeyOption,
    LogOption,
    NameOption,
    Place,
    VerifierOption,
    read_file,
    write_file,
)


def prove(
    event: Annotated[
        str, typer.Option(metavar="ID", help="Prove that the event with this id is in the log.")
    ] = "",
    chain: Annotated[
        str, typer.Option(metavar="ID", help="Prove that an event of this chain is in the log.")
    ] = "",
    sequence: Annotated[int, typer.Option(min=0, help="With --chain: the event's number.")] = 0,
    index: Annotated[int, typer.Option(min=-1, help="Prove that the entry with this index is in the log.")] = -1,
    extends: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prove that the newest checkpoint extends this one."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the proof here.")] = None,
    log: LogOption = None,
    verifier: VerifierOption = None,
    key: KeyOption = None,
    name: NameOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a proof of inclusion (C2SP tlog-proof) or of consistency (C2SP tlog-witness, add-checkpoint request).

    Any software that implements these formats can check it with the verifier key.
    """
    from secure_xcom.core.operator_errors import CommandError
    from secure_xcom.ops.audit_trail import prove as audit_trail_prove
    from secure_xcom.ops.audit_trail.tlog.checkpoint import Checkpoint

    if sum((bool(event), bool(chain), index >= 0, extends is not None)) != 1:
        raise CommandError(
            "a proof needs exactly one subject", remedy="give one of --event, --chain, --index and --extends"
        )
    sealed_log = Place(config, log=log, key=key, name=name, verifiers=verifier).log()
    line = b""
    if extends is not None:
        checkpoint = Checkpoint.open(read_file(extends), sealed_log.verifiers, str(extends))
        proof = audit_trail_prove.consistency(sealed_log, checkpoint)
    else:
        if index < 0:
            index, line = audit_trail_prove.find(sealed_log, event_id=event, chain=chain, sequence=sequence)
        proof = audit_trail_prove.inclusion(sealed_log, index)
    if out is not None:
        write_file(out, proof)
    if as_json:
        where = None if extends is not None else index
        output.show_json({"index": where, "line": line.decode() or None, "proof": proof.decode()})
    elif out is None:
        print(proof.decode(), end="")
    else:
        print(f"{out} written")
