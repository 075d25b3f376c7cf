"""``secure-xcom policy verify``: compare each identity's actual rights with the access policy."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import options, output

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.ops.service_policies.verify.matrix import Trial


class Service(str, Enum):
    """A service that can be tried by itself."""

    vault = "vault"
    s3 = "s3"
    kms = "kms"


@dataclass
class _Matrix:
    """The trials, the identities that were left out, and notes about what could not be tried or deleted."""

    rows: list[Trial] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def policy_verify(
    file: options.PolicyFile,
    on: Annotated[
        list[Service] | None,
        typer.Option(metavar="SERVICE", help="Only this service: vault, s3 or kms. Can be repeated."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[IDENTITY/]ACTION",
            help="A difference to report without counting it, where a server cannot do what the policy says. Can "
            "be repeated.",
        ),
    ] = None,
    dag: options.DagsAsCompiled = None,
    as_json: options.AsJson = False,
) -> None:
    """Try what a policy allows and forbids, each identity with its own credentials.

    The environment has the credentials: SECURE_XCOM_VERIFY_FINANCE_WORKER is the Vault token of the identity
    finance-worker, SECURE_XCOM_VERIFY_FINANCE_WORKER_AWS the name of a profile of boto3's configuration. An
    identity without credentials is skipped and reported. SECURE_XCOM_VERIFY_VIEWERS_FINANCE_ONCALL is the token of
    a person in the group of viewers finance-oncall. Some servers do not support every statement of a policy:
    SeaweedFS, for example, lets a put overwrite an object. Accept such a difference with --allow, so that the exit
    code stays useful in CI.
    """
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.errors import SettingMissing
    from secure_xcom.ops.service_policies.verify.matrix import grouped

    policy = AccessPolicy.load(str(file))
    services = set(on or Service)
    matrix = _Matrix()
    if Service.vault in services:
        _in_vault(policy, dag or (), matrix)
    if services & {Service.s3, Service.kms}:
        _in_aws(policy, dag or (), services, matrix)
    if not matrix.rows:
        raise SettingMissing(
            "there are no credentials of any identity",
            remedy="set SECURE_XCOM_VERIFY_NAME, or SECURE_XCOM_VERIFY_NAME_AWS, for each identity",
        )
    allowed_rows = _allowed(matrix.rows, allow or ())
    surprises = [row for row in matrix.rows if row.surprise and row not in allowed_rows]
    if as_json:
        record = [
            {**asdict(row), "surprise": row.surprise, "accepted": row in allowed_rows} for row in matrix.rows
        ]
        output.show_json({"matrix": record, "left_out": matrix.left_out, "notes": matrix.notes})
    else:
        screen = output.console()
        for line in grouped(matrix.rows):
            where = f"{line.identity} | {line.service} | {line.compartment} | {output.clean(line.place)}"
            screen.print(where, soft_wrap=True)
            for word, actions in (("allowed", line.allowed), ("denied", line.denied)):
                if actions:
                    screen.print(f"  {word:8}{', '.join(actions)}", soft_wrap=True)
            for surprise in line.surprises:
                screen.print(f"  UNEXPECTED {surprise}", style="bold red", soft_wrap=True)
        tried, succeeded = len(matrix.rows), sum(row.allowed for row in matrix.rows)
        accepted = f", {len(allowed_rows)} accepted (--allow)" if allowed_rows else ""
        screen.print(
            f"{tried} tried: {succeeded} allowed, {tried - succeeded} denied, {len(surprises)} unexpected"
            f"{accepted}"
        )
        for name in matrix.left_out:
            screen.print(f"! {name}: no credentials, not tried", style="yellow", soft_wrap=True)
        for note in matrix.notes:
            screen.print(f"! {output.clean(note)}", style="yellow", soft_wrap=True)
    found_any = matrix.left_out or matrix.notes or surprises
    raise typer.Exit(output.FOUND_SOMETHING if found_any else output.FINE)


def _allowed(rows: Sequence[Trial], allow: Sequence[str]) -> set[Trial]:
    """Return the unexpected results that the operator accepts.

    :raises CommandError: no trial has such an identity and action.
    """
    from secure_xcom.core.operator_errors import CommandError
    from secure_xcom.core.suggest import did_you_mean

    actions = {row.action for row in rows} | {f"{row.identity}/{row.action}" for row in rows}
    for name in allow:
        if name not in actions:
            raise CommandError(
                f"no action called {name!r:.80} was tried",
                where="--allow",
                remedy=did_you_mean(name, actions, "write ACTION or IDENTITY/ACTION as the matrix shows them"),
            )
    return {
        row for row in rows if row.surprise and not {row.action, f"{row.identity}/{row.action}"}.isdisjoint(allow)
    }


def _given(names: Sequence[str], ending: str, matrix: _Matrix) -> dict[str, str]:
    options = {
        name: os.environ.get(f"SECURE_XCOM_VERIFY_{re.sub(r'[^A-Z0-9]', '_', name.upper())}{ending}")
        for name in names
    }
    left_out = [name for name, value in options.items() if not value and name not in matrix.left_out]
    matrix.left_out += left_out
    return {name: value for name, value in options.items() if value}


def _in_vault(policy: AccessPolicy, dags: Sequence[str], matrix: _Matrix) -> None:
    from secure_xcom.connections.vault.client import VaultClient
    from secure_xcom.ops.service_policies.verify.vault import verify
    from secure_xcom.ops.service_policies.verify.vault_viewers import verified_groups, verify_viewers

    names = [identity.name for identity in policy.identities if identity.vault is not None]
    if tokens := _given(names, "", matrix):
        matrix.rows += verify(VaultClient("default").wire, policy, tokens, dags)
    if viewers := _given(list(verified_groups(policy)), "", matrix):
        matrix.rows += verify_viewers(VaultClient("default").wire, policy, viewers, dags)


def _in_aws(policy: AccessPolicy, dags: Sequence[str], services: set[Service], matrix: _Matrix) -> None:
    from secure_xcom.ops.service_policies.aws_account import AwsAccount
    from secure_xcom.ops.service_policies.rights import Known, rights_of
    from secure_xcom.ops.service_policies.verify.aws_kms import KmsVerifier
    from secure_xcom.ops.service_policies.verify.aws_s3 import S3Verifier

    names = [identity.name for identity in policy.identities if identity.aws is not None]
    accounts = {name: AwsAccount(profile) for name, profile in _given(names, "_AWS", matrix).items()}
    if not accounts:
        return
    known = Known(tuple(sorted(set(dags))))
    rights = {identity.name: rights_of(policy, identity, known) for identity in policy.identities}
    for service, kind in ((Service.s3, S3Verifier), (Service.kms, KmsVerifier)):
        if service in services:
            verifier = kind(policy, accounts, rights)
            matrix.rows += verifier.rows()
            matrix.notes += verifier.left
