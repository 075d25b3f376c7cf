"""``secure-xcom audit prune``: delete old entries of the sealed log."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit.locations import KeyOption, LogOption, NameOption, Place, VerifierOption
from secure_xcom.core import clock


def prune(
    keep: Annotated[
        int, typer.Option("--keep-days", metavar="DAYS", min=1, help="Keep entries younger than this.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing; show what would be removed.")
    ] = False,
    log: LogOption = None,
    key: KeyOption = None,
    name: NameOption = None,
    verifier: VerifierOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove old entries from the sealed log, in whole bundles of 256.

    Hashes and checkpoints stay, so the remaining entries can still be proved, and so can any event whose line was
    kept. A note signed by the log's key records what was removed. Files and objects of sinks are not touched.
    """
    from datetime import timedelta

    from secure_xcom.core.clock import text_of
    from secure_xcom.ops.audit_trail import prune as audit_trail_prune

    place = Place(config, log=log, key=key, name=name, verifiers=verifier)
    before = text_of(clock.now() - timedelta(days=keep))
    done = audit_trail_prune.prune(place.log(), before, None if dry_run else place.signer())
    if as_json:
        output.show_json({**asdict(done), "before": before, "dry_run": dry_run})
    else:
        verb = "would be removed" if dry_run else "removed"
        print(
            f"{done.entries} entries in {done.objects} objects {verb}; entry {done.below} is the first that stays"
        )
