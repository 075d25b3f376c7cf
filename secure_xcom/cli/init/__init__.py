"""``secure-xcom init``: create what the settings need, test it, and print the settings.

`secure_xcom.ops.setup` creates it, and `secure_xcom.cli.init.vault` what is in a Vault.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from secure_xcom.cli import options, output
from secure_xcom.core.findings import Finding
from secure_xcom.ops.error_findings import worst

_NEXT = (
    "Put these settings where every Airflow component and worker reads them, and restart them.",
    "Run `secure-xcom check` there, as the user that Airflow runs as.",
)
_CONNECTIONS = (
    "Give each worker the connection of its own role and no other, under the connection id of the key URI: "
    "there, AIRFLOW_CONN_..._MAINTENANCE has no ending. Put it into that worker's own environment, "
    "or into a file of mode 0600 for the LocalFilesystemBackend of its [workers] secrets_backend. Then remove the "
    "file."
)
_LOCAL = (
    "Give the connection {names} to each worker that needs it as {variables} in its own environment, or in a file "
    "of mode 0600 for the LocalFilesystemBackend of its [workers] secrets_backend."
)
_NEVER_STORED = (
    "Never add it to Airflow's database (`airflow connections add`) or to the API server's environment: every "
    "task of every team can read it there. Revoke and replace a login that was stored there."
)


def init(
    key: Annotated[
        list[str],
        typer.Option(
            metavar="URI",
            help="Key URI, such as local:///path/keyring.json. Can be repeated: any one of the keys can open "
            "a value.",
        ),
    ],
    store: Annotated[str, typer.Option(metavar="URI", help="Store URI, such as file:///path.")],
    use_vault: Annotated[
        bool,
        typer.Option(
            "--vault",
            help="Create in Vault what the vault:// key URI and a vault-kv:// store URI name: engines, the key, "
            "policies for writers, readers and maintenance. Needs an operator's VAULT_ADDR and VAULT_TOKEN.",
        ),
    ] = False,
    approle: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE",
            help="With --vault: also create an AppRole: worker (pushes and pulls), writer, reader, maintenance. "
            "The key URI's connection is that of the first one.",
        ),
    ] = None,
    connections: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="With --approle: a new file for the Airflow connections with their secret ids, or - for the "
            "screen.",
        ),
    ] = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Create a local keyring and a store folder, or what Vault needs; test everything and print the settings.

    Existing resources are kept: a keyring is never overwritten. The command wraps and unwraps a data key, and
    writes, reads and deletes an object, before it prints anything.
    """
    from secure_xcom.cli.init import vault
    from secure_xcom.core.operator_errors import CommandError
    from secure_xcom.ops.setup import plan, prepare

    prepared = None
    if use_vault:
        prepared = vault.prepare(key, store, vault.Asked(tuple(approle or ()), connections, dry_run))
    elif approle or connections:
        raise CommandError("--approle and --connections go with --vault")
    if dry_run:
        planned = [*(prepared.findings if prepared else ()), *plan(key, store)]
        _show_plan(planned, prepared.policies if prepared else {}, as_json=as_json)
        drift = any(finding.details.get("changes") for finding in planned)
        raise typer.Exit(output.FOUND_SOMETHING if drift else output.exit_code(planned))
    findings = [*(prepared.findings if prepared else ()), *prepare(key, store)]
    settings = {"core.xcom_backend": "secure_xcom.SecureXComBackend"}
    settings["secure_xcom.key_uris"] = ",".join(key)
    settings["secure_xcom.store_uri"] = store
    lines = prepared.lines if prepared else []
    steps = [*steps_for_logins([*key, store], approle=bool(approle)), *_NEXT]
    if as_json:
        output.show_json({**_record(findings, settings, steps), **({"connections": lines} if lines else {})})
    else:
        _show(findings, settings, steps)
        _show_connections(lines)
    raise typer.Exit(output.exit_code(findings))


def steps_for_logins(uris: list[str], *, approle: bool = False) -> list[str]:
    """Return where the logins of workers belong, if these URIs need any.

    :param approle: whether the connections of AppRoles were made.
    """
    from secure_xcom.connections.connection_ids import connection_id, variable

    names = list(dict.fromkeys(name for name in map(connection_id, uris) if name is not None))
    if not names:
        return []
    variables = ", ".join(map(variable, names))
    return [_CONNECTIONS if approle else _LOCAL.format(names=", ".join(names), variables=variables), _NEVER_STORED]


def airflow_cfg(settings: dict[str, str]) -> str:
    """Return settings by ``section.option`` as lines of airflow.cfg."""
    sections: dict[str, list[str]] = {}
    for name, value in settings.items():
        section, _, option = name.partition(".")
        # Airflow's parser interpolates a single %.
        sections.setdefault(section, []).append(f"{option} = {value.replace('%', '%%')}")
    return "\n\n".join("\n".join([f"[{section}]", *lines]) for section, lines in sections.items())


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Return settings by ``section.option`` as environment variables."""
    return {f"AIRFLOW__{name.replace('.', '__').upper()}": value for name, value in settings.items()}


def _show_plan(planned: list[Finding], policies: dict[str, str], *, as_json: bool) -> None:
    """Print what would be created, and the text of every policy."""
    if as_json:
        output.show_json({"plan": output.findings_json(planned), "policies": policies})
        return
    out = output.console()
    for finding in planned:
        output.show_finding(out, finding)
    for name, text in policies.items():
        out.print(f"\nPolicy {name}:\n", style="bold")
        out.print(text, soft_wrap=True)


def _show_connections(lines: list[str]) -> None:
    """Print the connections, as the operator asked."""
    if lines:
        out = output.console()
        out.print("\nAirflow connections, with their secret ids:\n", style="bold")
        for line in lines:
            out.print(line, soft_wrap=True)


def _record(findings: list[Finding], settings: dict[str, str], steps: list[str]) -> dict[str, Any]:
    return {
        "status": worst(findings),
        "findings": output.findings_json(findings),
        "airflow_cfg": airflow_cfg(settings),
        "environment": environment(settings),
        "next": steps,
    }


def _show(findings: list[Finding], settings: dict[str, str], steps: list[str]) -> None:
    import shlex

    out = output.console()
    for finding in findings:
        output.show_finding(out, finding)
    out.print("\nSettings, as lines of airflow.cfg:\n", style="bold")
    out.print(airflow_cfg(settings), soft_wrap=True)
    out.print("\nor as environment variables:\n", style="bold")
    for name, value in environment(settings).items():
        out.print(f"export {name}={shlex.quote(value)}", soft_wrap=True)
    out.print("\nWhat to do next:", style="bold")
    for number, step in enumerate(steps, 1):
        out.print(f"{number}. {step}", soft_wrap=True)
