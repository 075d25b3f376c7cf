"""``secure-xcom reveal``: the service that shows values to viewers, or to one person on their own machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import context, options
from secure_xcom.reveal import REVEALS_AT_ONCE

if TYPE_CHECKING:
    from secure_xcom.core.coordinate import Coordinate

_NOT_HERE = ("host", "port", "tls_certificate", "tls_key", "at_once")


def reveal(
    command: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(metavar="COORD", help="With --here: DAG/RUN/TASK[MAP_INDEX]:KEY; the key may be left out."),
    ] = None,
    here: Annotated[
        bool,
        typer.Option("--here", help="Show values to you alone, on this machine, with your own credentials."),
    ] = False,
    opens: Annotated[
        bool,
        typer.Option("--opens", help="Unwrap as the service's own identity; people log in by OpenID Connect."),
    ] = False,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on; 0.0.0.0 in a container.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")] = 8484,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate chain (PEM); without it, plain HTTP.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate's private key (PEM).")
    ] = None,
    at_once: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Maximum number of XComs to reveal at the same time, of up to 8 MiB each."
        ),
    ] = REVEALS_AT_ONCE,
    idle: Annotated[
        float,
        typer.Option(
            metavar="MINUTES", min=0.01, max=480, help="With --here: stop after this many minutes without use."
        ),
    ] = 15.0,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Run the reveal service until SIGTERM or Ctrl-C.

    It checks who asks, records the request, and gives sealed values to viewers' browsers, which open them with
    the person's own rights at Vault. The service has no key and no token of Vault. It needs the section `reveal`
    of the access policy, the right to read Airflow's tables and the stores, and a required sink of the access
    log.

    With --opens the service itself unwraps, for keys that browsers cannot use: whoever takes it over can open
    what its identity may unwrap. With --here it is for one person: it listens on loopback, prints an address that
    works once, and opens with that person's rights, as `secure-xcom open` does.
    """
    from secure_xcom.core.operator_errors import CommandError

    if here and opens:
        raise CommandError("--here and --opens exclude each other", remedy="give one of them")
    if here:
        _refuse_given(command, _NOT_HERE, "is for the service: --here listens on loopback only")
        _serve_here(_coordinate(what), idle * 60, config, as_json=as_json)
        return
    if what is not None:
        raise CommandError(
            "a coordinate needs --here", where=what[:200], remedy="add --here, or omit the coordinate"
        )
    _refuse_given(command, ("idle",), "needs --here: the service runs until it is stopped")
    _serve(host, port, tls_certificate, tls_key, at_once, config, opens=opens, as_json=as_json)


def _serve(
    host: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    at_once: int,
    config: Path | None,
    *,
    opens: bool,
    as_json: bool,
) -> None:
    from secure_xcom.reveal.serving import Listen, serve

    def started(url: str) -> None:
        context.show({"listening": url}, [f"listening on {url}"], as_json=as_json)

    listen = Listen(host, port, certificate, key)
    serve(context.load(config), listen, reveals_at_once=at_once, started=started, opens=opens)


def _serve_here(coordinate: Coordinate | None, idle_seconds: float, config: Path | None, *, as_json: bool) -> None:
    from secure_xcom.reveal.here_serving import serve_here

    def started(address: str) -> None:
        lines = [address, "Open this address in a browser on this machine. It works once. Ctrl-C ends it."]
        context.show({"address": address}, lines, as_json=as_json)

    serve_here(context.load(config), context.operator(), coordinate, idle_seconds=idle_seconds, started=started)


def _coordinate(what: str | None) -> Coordinate | None:
    from secure_xcom.cli import reference_argument
    from secure_xcom.core.operator_errors import CommandError

    if what is None:
        return None
    coordinate = reference_argument.coordinate_of(what)
    if coordinate is None:
        raise CommandError("not a coordinate", where=what[:200], remedy="write DAG/RUN/TASK[MAP_INDEX]:KEY")
    return coordinate


def _refuse_given(command: typer.Context, names: tuple[str, ...], why: str) -> None:
    from secure_xcom.core.operator_errors import CommandError

    for name in names:
        source = command.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise CommandError(f"--{name.replace('_', '-')} {why}", remedy="leave it out")
