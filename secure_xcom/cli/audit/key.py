"""``secure-xcom audit key``: the key that signs checkpoints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit.locations import KeyOption, NameOption, Place

if TYPE_CHECKING:
    from secure_xcom.ops.audit_trail.tlog.signer_file import FileSigner


def key(
    create: Annotated[
        bool, typer.Option("--create", help="Create the key file of a file:/// URI; never overwrite one.")
    ] = False,
    dry_run: options.DryRun = False,
    key: KeyOption = None,
    name: NameOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the anchored log's verifier key, which auditors keep, or create a local key with --create.

    Create a key in Vault with `vault write -f transit/keys/NAME type=ed25519`, and in KMS with the key spec
    ECC_NIST_EDWARDS25519.
    """
    from secure_xcom.core.operator_errors import CommandError
    from secure_xcom.ops.audit_trail.tlog.note import Verifier
    from secure_xcom.ops.audit_trail.tlog.signer_file import FileSigner

    place = Place(config, key=key, name=name)
    signer = place.signer()
    if create:
        if not isinstance(signer, FileSigner):
            raise CommandError(
                "--create works for a file:/// URI only", where=signer.uri, remedy="create the key in its service"
            )
        if dry_run:
            _show_plan(signer, as_json=as_json)
        signer.create()
    verifier = Verifier(place.name(), signer.public_key())
    if as_json:
        output.show_json({"key": signer.uri, "name": verifier.name, "verifier": str(verifier), "created": create})
    else:
        print(verifier)


def _show_plan(signer: FileSigner, *, as_json: bool) -> NoReturn:
    """Say whether the key would be created, and end with 1 if so."""
    exists = os.path.lexists(signer.path)
    if as_json:
        output.show_json({"key": signer.uri, "created": False, "exists": exists})
    else:
        print(f"{signer.uri}: {'exists and is kept' if exists else 'would be created'}")
    raise typer.Exit(output.FINE if exists else output.FOUND_SOMETHING)
