"""``secure-xcom check``: the deployment, seen from this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from secure_xcom.cli import context, options, output
from secure_xcom.core.findings import as_finding, worst


def check(
    config: options.Config = None,
    dag: Annotated[
        str | None,
        typer.Option(
            metavar="DAG_ID",
            help="A DAG that probes pretend to be: only its compartment is tried, as a worker of it may no other.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check settings, keys, stores, access log, clock and Airflow, as seen from this machine.

    Run it as the user and in the environment of an Airflow component. A data key is wrapped and unwrapped, an
    object is put, read and deleted; the access log is opened and no event is written to it. Without --dag every
    compartment is tried.
    """
    from secure_xcom.core.errors import ConfigurationError
    from secure_xcom.ops.checks import check as checks_check

    out = output.console()
    findings = []
    try:
        looks = checks_check.look(context.load(config), dag)
    except ConfigurationError as error:
        looks = iter([checks_check.versions(), as_finding("settings", error)])
    for finding in looks:
        findings.append(finding)
        if not as_json:
            output.show_finding(out, finding)
    if as_json:
        output.show_json({"status": worst(findings), "findings": output.findings_json(findings)})
    raise typer.Exit(output.exit_code(findings))
