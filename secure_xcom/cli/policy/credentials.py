"""``secure-xcom policy credentials``: make each identity's login, and the file that its workers get."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_xcom.cli import options, output

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.identities import Identity
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.ops.service_policies.credentials.handing_out import Handout, Services
    from secure_xcom.ops.service_policies.credentials.logins import Logins


def policy_credentials(
    file: options.PolicyFile,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The output folder, which nobody else may enter.")],
    dry_run: options.DryRun = False,
    rotate: Annotated[bool, typer.Option("--rotate", help="Create new logins. Old ones stay valid.")] = False,
    end_old: Annotated[
        bool, typer.Option("--end-old", help="Revoke every login of these identities that is not in their files.")
    ] = False,
    identity: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this identity. Can be repeated.")
    ] = None,
    vault_addr: Annotated[
        str | None, typer.Option(metavar="URL", help="The Vault server as workers reach it. Default: VAULT_ADDR.")
    ] = None,
    s3_endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The S3 server as workers reach it. Default: AWS_ENDPOINT_URL."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Create each identity's login for Vault and the S3 server, and the connections file for its workers.

    Run `policy apply` first. Run it as an operator, with VAULT_ADDR, VAULT_TOKEN and boto3's own settings for
    IAM. AppRoles get a secret id, IAM users an access key. Kubernetes logins and IAM roles need none. Each file
    is FOLDER/IDENTITY/connections.json, mode 0600, for Airflow's LocalFilesystemBackend. Running it again changes
    nothing as long as the logins work. No secret is ever printed.

    To rotate: --rotate, copy the files, restart the workers, then --end-old.
    """
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.ops.service_policies.credentials import handing_out

    policy = AccessPolicy.load(str(file))
    chosen = _named(policy, identity or [])
    logins = _logins(policy, chosen)
    services = _services(logins, vault_addr, s3_endpoint)
    planned = list(handing_out.plan(policy, chosen, out, logins, services, rotate=rotate))
    done = [_one(handout, services, dry_run=dry_run, end_old=end_old) for handout in planned]
    if as_json:
        output.show_json({"applied": not dry_run, "identities": done})
    else:
        _show(done)
    to_do = any(entry["state"] not in ("there", "none") or entry["ended"] for entry in done)
    raise typer.Exit(output.FOUND_SOMETHING if dry_run and to_do else output.FINE)


def _one(handout: Handout, services: Services, *, dry_run: bool, end_old: bool) -> dict[str, Any]:
    """Do one identity's part, and return what is said of it. It holds no secret."""
    from secure_xcom.ops.service_policies.credentials import handing_out

    if not dry_run:
        handing_out.hand_out(handout, services)
    old = handout.state == "there" and end_old
    return {
        "identity": handout.identity.name,
        "state": handout.state,
        "file": None if handout.state == "none" else str(handout.file),
        "for": handout.workers,
        "logins": [of_service.text for of_service in handout.logins.values()],
        "ended": handing_out.end_old(handout, dry_run=dry_run) if old else [],
        "notes": list(handout.notes),
    }


def _show(done: list[dict[str, Any]]) -> None:
    screen = output.console()
    for entry in done:
        screen.print(
            f"{output.STATES[entry['state']]:6} {entry['identity']}: {', '.join(entry['logins']) or 'no login'}",
            soft_wrap=True,
        )
        if entry["file"]:
            screen.print(f"       {output.clean(entry['file'])} -> {output.clean(entry['for'])}", soft_wrap=True)
        for line in (*entry["ended"], *entry["notes"]):
            screen.print(f"       {output.clean(line)}", soft_wrap=True)
    if any(entry["file"] for entry in done):
        screen.print("Copy each file to its workers alone, mode 0600, and set there:", soft_wrap=True)
        screen.print(
            "AIRFLOW__WORKERS__SECRETS_BACKEND=airflow.secrets.local_filesystem.LocalFilesystemBackend",
            soft_wrap=True,
        )
        screen.print(
            """AIRFLOW__WORKERS__SECRETS_BACKEND_KWARGS='{"connections_file_path": "/PATH/connections.json"}'""",
            soft_wrap=True,
        )


def _named(policy: AccessPolicy, names: list[str]) -> list[Identity]:
    from secure_xcom.core.errors import SettingInvalid

    names_known = {identity.name for identity in policy.identities}
    if unknown := sorted(set(names) - names_known):
        raise SettingInvalid(
            f"the access policy has no identity {unknown[0]!r:.80}",
            where="--identity",
            remedy=f"name one of: {', '.join(sorted(names_known))}",
        )
    return [identity for identity in policy.identities if not names or identity.name in names]


def _logins(policy: AccessPolicy, identities: Sequence[Identity]) -> dict[str, dict[str, Logins]]:
    """Return each identity's logins at the services that it has a file's login at."""
    from secure_xcom.connections.vault.client import VaultClient
    from secure_xcom.ops.service_policies.aws_account import AwsAccount
    from secure_xcom.ops.service_policies.credentials.connection_files import ids_of
    from secure_xcom.ops.service_policies.credentials.logins import AccessKeys, AppRole

    logins: dict[str, dict[str, Logins]] = {}
    vault, aws = None, None
    for identity in identities:
        ids, services = ids_of(policy, identity), logins.setdefault(identity.name, {})
        if identity.vault is not None and identity.vault.auth == "approle" and ids.vault:
            vault = vault or VaultClient("default")
            services["vault"] = AppRole(vault, identity)
        if identity.aws is not None and ":user/" in identity.aws.principal and ids.s3:
            aws = aws or AwsAccount()
            services["s3"] = AccessKeys(aws, identity.aws.principal)
    return logins


def _services(logins: dict[str, dict[str, Logins]], vault_addr: str | None, s3_endpoint: str | None) -> Services:
    from dataclasses import replace

    from secure_xcom.connections.vault.endpoint import checked_address, endpoint_from_environment
    from secure_xcom.ops.service_policies.credentials.handing_out import Services

    server = None
    if any("vault" in services for services in logins.values()):
        server = endpoint_from_environment()
        if vault_addr is not None:
            server = replace(server, address=checked_address(vault_addr, "--vault-addr"))
    endpoint = s3_endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION")
    return Services(server, endpoint, region)
