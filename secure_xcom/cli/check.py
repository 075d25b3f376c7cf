"""``secure-xcom check``: check the deployment from this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from secure_xcom.cli import context, options, output
from secure_xcom.ops.error_findings import as_finding, worst


def check(
    config: options.Config = None,
    dag: Annotated[
        str | None,
        typer.Option(
            metavar="DAG_ID",
            help="The DAG that probes act as. Only its compartment is tried, because its workers can use no "
            "other.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check settings, keys, stores, access log, clock and Airflow from this machine.

    Run it as the user and in the environment of an Airflow component. It wraps and unwraps a data key; it writes,
    reads and deletes an object; it opens the access log and writes no event. Without --dag it tries every
    compartment that this worker serves: those in which its Vault token or role has rights or, if neither says so,
    those whose keys do not refuse its login.
    """
    from secure_xcom.core.errors import ConfigurationError
    from secure_xcom.ops.checks.backend_class import configured_backend
    from secure_xcom.ops.checks.check import check_deployment, versions

    out = output.console()
    findings = []
    try:
        results = check_deployment(context.load(config), dag, backend=configured_backend(config))
    except ConfigurationError as error:
        results = iter([versions(), as_finding("settings", error)])
    for finding in results:
        findings.append(finding)
        if not as_json:
            output.show_finding(out, finding)
    if as_json:
        output.show_json({"status": worst(findings), "findings": output.findings_json(findings)})
    raise typer.Exit(output.exit_code(findings))
