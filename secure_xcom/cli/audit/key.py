"""``secure-xcom audit key``: the key that signs checkpoints."""

from __future__ import annotations

from typing import Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit.locations import KeyOption, NameOption, Place


def key(
    create: Annotated[
        bool, typer.Option("--create", help="Create the key file of a file:/// URI; never overwrite one.")
    ] = False,
    key: KeyOption = None,
    name: NameOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the sealed log's verifier key, which auditors keep. --create creates a local key.

    Create a key in Vault with `vault write -f transit/keys/NAME type=ed25519`, and in KMS with the key spec
    ECC_NIST_EDWARDS25519.
    """
    from secure_xcom.core.errors import CommandError
    from secure_xcom.ops.audit_trail.tlog.note import Verifier
    from secure_xcom.ops.audit_trail.tlog.signer_file import FileSigner

    place = Place(config, key=key, name=name)
    signer = place.signer()
    if create:
        if not isinstance(signer, FileSigner):
            raise CommandError(
                "--create works for a file:/// URI only", where=signer.uri, remedy="create the key in its service"
            )
        signer.create()
    verifier = Verifier(place.name(), signer.public_key())
    if as_json:
        output.show_json({"key": signer.uri, "name": verifier.name, "verifier": str(verifier), "created": create})
    else:
        print(verifier)
