"""``secure-xcom open``: break-glass access to one XCom for an operator with rights of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_xcom.cli import context, options, output

if TYPE_CHECKING:
    from uuid import UUID

    from secure_xcom.core.coordinate import Coordinate
    from secure_xcom.deployment import Deployment
    from secure_xcom.ops.jobs.break_glass import Opened

_JSON = "json"
# Codecs whose values can be previewed without the library that restores them.
_PREVIEWED = (_JSON, "bytes", "bytearray")
_SHAPE_MAX_BYTES = 4096


def open_xcom(
    what: Annotated[
        str,
        typer.Argument(metavar="COORD", help="DAG/RUN/TASK[MAP_INDEX]:KEY; without :KEY, the return value."),
    ],
    reason: options.Reason,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the encoded value to a new file with mode 0600."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the value, if it is JSON.")] = False,
    expired: Annotated[
        bool,
        typer.Option("--expired", help="Also open an expired XCom that is under a legal hold."),
    ] = False,
    attempt: options.Attempt = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Open one XCom in an emergency, with your own rights at the key service and the store.

    The access log records who opened it and why before the value is shown. Without --out and --show, only its
    shape is shown: types, lengths, field names. Exclusive XComs are never opened, expired ones only under a legal
    hold.
    """
    from secure_xcom.cli import reference_argument
    from secure_xcom.core.errors import SecureXComError
    from secure_xcom.core.operator_errors import CommandError
    from secure_xcom.ops.jobs.break_glass import checked_reason

    coordinate = reference_argument.coordinate_of(what)
    if coordinate is None:
        raise CommandError("not a coordinate", where=what[:200], remedy="write DAG/RUN/TASK[MAP_INDEX]:KEY")
    reason = checked_reason(reason)
    deployment = context.load(config)
    # The file comes first: nothing is opened if the value cannot be written.
    with _new_file(out) as write:
        try:
            opened = _open(deployment, coordinate, reason, expired=expired, attempt=attempt)
        except SecureXComError as error:
            if not _concerns_the_xcom(error):
                raise
            output.show_error(error, as_json=as_json)
            raise typer.Exit(output.FOUND_SOMETHING) from None
        finally:
            deployment.access_log.close()
        write(opened.data)
    record = _record(opened, deployment, reason, out)
    if not show:
        context.show(record, _lines(record), as_json=as_json)
        return
    value = _decoded(opened, (_JSON,))
    if as_json:
        output.show_json({**record, "value": value})
        return
    # Only the value goes to standard output, for pipes.
    for line in _lines(record):
        output.console(stderr=True).print(output.clean(line), soft_wrap=True)
    output.show_json(value)


def _open(
    deployment: Deployment, coordinate: Coordinate, reason: str, *, expired: bool, attempt: UUID | None
) -> Opened:
    from secure_xcom.keys import key_service
    from secure_xcom.ops.jobs.break_glass import break_glass
    from secure_xcom.ops.jobs.opener import Opener
    from secure_xcom.ops.xcom_table import Database, database_url
    from secure_xcom.stores import store

    limit = deployment.settings.max_bytes
    opener = Opener(lambda value: value, services=key_service, stores=store, max_bytes=limit)
    # A log that cannot be written stops the command before the database is asked.
    access_log = deployment.access_log
    with closing(Database(database_url())) as database:
        return break_glass(
            deployment.policy,
            database,
            access_log,
            opener,
            coordinate,
            operator=context.operator(),
            reason=reason,
            expired=expired,
            attempt=None if attempt is None else str(attempt),
        )


def _concerns_the_xcom(error: Exception) -> bool:
    """Return whether the XCom exists but may not be opened, as opposed to a fault of this machine or identity."""
    from secure_xcom.core.claim_errors import ClaimError
    from secure_xcom.core.errors import (
        CodecError,
        CompartmentUnknown,
        ContextRefused,
        KeyVersionUnknown,
        ObjectMissing,
        ReferenceRefused,
        SealError,
        UnwrapRefused,
    )

    refusals = ClaimError | CodecError | CompartmentUnknown | ContextRefused | ReferenceRefused
    return isinstance(error, refusals | SealError | KeyVersionUnknown | ObjectMissing | UnwrapRefused)


@contextmanager
def _new_file(path: Path | None) -> Iterator[Callable[[bytes], None]]:
    """Give a function that writes to a new file; the file is removed if nothing was written.

    :raises CommandError: it exists already, or cannot be created or written.
    """
    from secure_xcom.core.operator_errors import CommandError

    if path is None:
        yield lambda _: None
        return

    def failed(error: OSError) -> CommandError:
        reason = os.strerror(error.errno or 0)
        return CommandError(f"the file cannot be written ({reason})", where=str(path), remedy="name a new file")

    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise failed(error) from None
    written = False

    def write(data: bytes) -> None:
        nonlocal written
        try:
            file.write(data)
            file.flush()
        except OSError as error:
            raise failed(error) from None
        written = True

    with os.fdopen(descriptor, "wb") as file:
        try:
            yield write
        finally:
            if not written:
                path.unlink(missing_ok=True)


def _record(opened: Opened, deployment: Deployment, reason: str, out: Path | None) -> dict[str, Any]:
    from secure_xcom.core.masking.preview import preview

    head = opened.reference.head
    shape = None
    if head.codec in _PREVIEWED:
        names = deployment.sensitive_names
        value = _decoded(opened, _PREVIEWED)
        shape = preview(value, mode="shape", names=names, key=head.key, max_bytes=_SHAPE_MAX_BYTES)
    return {
        "coordinate": str(head.coordinate),
        "compartment": head.compartment,
        "codec": head.codec,
        "bytes": len(opened.data),
        "created": head.created,
        "expires": head.expires,
        "legal_hold": opened.hold,
        "opened_by": opened.opened_by,
        "operator": context.operator(),
        "reason": reason,
        "shape": shape,
        "out": None if out is None else str(out),
    }


def _lines(record: dict[str, Any]) -> list[str]:
    """Return the record for people: one line for each field that has a value."""
    import json

    texts = {**record, "shape": None if record["shape"] is None else json.dumps(record["shape"])}
    return [f"{name.replace('_', ' '):<15} {text}" for name, text in texts.items() if text is not None]


def _decoded(opened: Opened, codecs: tuple[str, ...]) -> Any:
    """Return the value as plain structures or bytes.

    :raises CommandError: it is of another codec, whose bytes are not readable by themselves.
    """
    from secure_xcom.core.codecs import Codecs
    from secure_xcom.core.operator_errors import CommandError

    head = opened.reference.head
    if head.codec not in codecs:
        raise CommandError(
            f"a value of the codec {head.codec!r} is not text",
            where=str(head.coordinate),
            remedy="give --out FILE instead of --show",
        )
    plain = Codecs(lambda value: value, lambda structure: structure)
    return plain.decode(head.codec, opened.data, max_bytes=len(opened.data)).structure
