"""Create in Vault what ``vault://`` and ``vault-kv://`` URIs name: ``secure-xcom init --vault``.

It uses the operator's own token (VAULT_ADDR, VAULT_TOKEN); the connections in the URIs are for the workers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from secure_xcom.connections.vault.client import forget_clients, vault_client
from secure_xcom.core.findings import Finding
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.core.suggest import did_you_mean
from secure_xcom.keys import KeyUri
from secure_xcom.keys.vault import split_uri
from secure_xcom.ops.service_policies.apply.vault_approles import (
    airflow_connection_line,
    credentials,
    write_private,
)
from secure_xcom.ops.service_policies.apply.vault_setup import AppRole, Step, Wanted, apply, plan
from secure_xcom.stores.vault_kv_uri import split_uri as split_store_uri

SCREEN = "-"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the operator asked for.

    :param roles: AppRoles to create credentials for.
    :param connections: the file for their Airflow connections, ``-`` for the screen, or nothing.
    :param dry_run: plan only.
    """

    roles: tuple[str, ...] = ()
    connections: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What was created or is planned; ``lines`` are connections for the screen, with their secrets."""

    findings: list[Finding]
    policies: dict[str, str]
    lines: list[str] = field(default_factory=list, repr=False)


def prepare(key_uris: list[str], store_uri: str, asked: Asked) -> Made:
    """Create it, or return the plan.

    :raises CommandError: the options do not go together.
    :raises SecureXComError: Vault refuses.
    """
    conn_id, desired = _wanted(key_uris, store_uri, asked)
    operator = vault_client("default")
    steps = plan(operator, desired)
    policies = {desired.policy(role): text for role, text in desired.policy_texts().items()}
    findings = [_finding(step, dry_run=asked.dry_run) for step in steps]
    if asked.dry_run:
        return Made(findings, policies)
    file = Path(asked.connections) if asked.connections and asked.connections != SCREEN else None
    if file is not None and (file.exists() or not file.parent.is_dir()):
        # Before anything is created: a secret id that cannot be stored is of no use.
        raise CommandError(
            "the file exists already, or its folder does not",
            where=str(file),
            remedy="name a new file in an existing folder",
        )
    apply(operator, steps)
    lines = []
    for role in desired.approles:
        named = conn_id if role == desired.approles[0] else f"{conn_id}_{role}"
        line = airflow_connection_line(operator, desired, credentials(operator, desired, role), named)
        lines.append(line)
        if named == conn_id:
            name, _, value = line.partition("=")
            os.environ[name] = value.strip("'")
    if lines and file is not None:
        write_private(file, "".join(f"{line}\n" for line in lines))
        findings.append(Finding(f"file {file}", "ok", f"{len(lines)} connection(s), mode 0600"))
        lines = []
    # The tests that follow use the workers' connection, not the operator's token.
    forget_clients()
    return Made(findings, policies, lines)


def _wanted(key_uris: list[str], store_uri: str, asked: Asked) -> tuple[str, Wanted]:
    keys = [KeyUri.parse(uri).service for uri in key_uris if uri.startswith("vault://")]
    if len(keys) != 1:
        raise CommandError(f"--vault creates one key, but {len(keys)} key URIs name Vault", where="--key")
    conn_id, mount, name, _ = split_uri(keys[0])
    kv = split_store_uri(store_uri)[1:] if store_uri.startswith("vault-kv://") else None
    unknown = [role for role in asked.roles if role not in get_args(AppRole)]
    if unknown:
        raise CommandError(
            f"there is no AppRole {unknown[0]!r:.40}",
            where="--approle",
            remedy=did_you_mean(unknown[0], get_args(AppRole), f"name one of {', '.join(get_args(AppRole))}"),
        )
    if asked.roles and conn_id == "default":
        raise CommandError(
            "the connection of an AppRole needs an id, and `default` means the environment",
            where=keys[0],
            remedy="name an Airflow connection in the key URI: vault://CONN_ID/MOUNT/keys/NAME",
        )
    if asked.roles and not asked.connections and not asked.dry_run:
        raise CommandError(
            "there is no place for the secret ids of the AppRoles",
            where="--approle",
            remedy="add --connections FILE for a new file with mode 0600, or --connections - for the screen",
        )
    roles = cast("tuple[AppRole, ...]", tuple(dict.fromkeys(asked.roles)))
    return conn_id, Wanted(transit=mount, key=name, kv=kv, approles=roles)


def _finding(step: Step, *, dry_run: bool) -> Finding:
    words = {"there": "exists", "make": "would be created", "change": "would be changed"}
    done = {"there": "exists", "make": "created", "change": "changed"}
    return Finding(
        step.text, "ok", (words if dry_run else done)[step.state], details={"changes": step.state != "there"}
    )
