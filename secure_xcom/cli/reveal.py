"""``secure-xcom reveal``: the service that shows values to viewers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import context, options

_REVEALS_AT_ONCE = 4


def reveal(
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
        int, typer.Option(min=1, max=64, help="How many XComs to reveal at the same time, of up to 8 MiB each.")
    ] = _REVEALS_AT_ONCE,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Run the reveal service until SIGTERM or Ctrl-C.

    It checks who asks and records it, and gives sealed values to the browsers of viewers, which open them with the
    person's own rights at Vault. The service has no key and no token of Vault. It needs the section `reveal` of
    the access policy, the right to read Airflow's tables and the stores, and a required sink of the access log.
    """
    from secure_xcom.reveal.serving import Listen, serve

    def started(url: str) -> None:
        context.show({"listening": url}, [f"listening on {url}"], as_json=as_json)

    deployment = context.load(config)
    listen = Listen(host, port, tls_certificate, tls_key)
    serve(deployment, listen, reveals_at_once=at_once, started=started)
