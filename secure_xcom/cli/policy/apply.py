"""``secure-xcom policy apply``: apply the compiled access policy to a Vault and an AWS account."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import options, output

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.ops.service_policies.apply.changes import Change
    from secure_xcom.ops.service_policies.compile.all_services import Compiled


class Target(str, Enum):
    """A service that can be applied by itself."""

    vault = "vault"
    iam = "iam"
    s3 = "s3"
    kms = "kms"


def policy_apply(
    file: options.PolicyFile,
    dry_run: options.DryRun = False,
    to: Annotated[
        list[Target] | None,
        typer.Option(metavar="SERVICE", help="Only this service: vault, iam, s3 or kms. Can be repeated."),
    ] = None,
    create_users: Annotated[
        bool, typer.Option("--create-users", help="Create IAM users that do not exist, without a login.")
    ] = False,
    dag: options.DagsThatLimit = None,
    as_json: options.AsJson = False,
) -> None:
    """Apply an access policy to Vault (VAULT_ADDR, VAULT_TOKEN) and AWS, as an operator.

    AWS is accessed with boto3's own settings: AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL. Running it again changes
    nothing; after a failure, it continues where it stopped. It neither deletes nor overwrites what it did not
    create: other statements and lifecycle rules stay. In Vault it deletes the rights of viewers that the file no
    longer has. For Google and Azure, use `policy compile` and your own tools.
    """
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.ops.service_policies.apply import changes
    from secure_xcom.ops.service_policies.compile.all_services import compile_policy

    policy = AccessPolicy.load(str(file))
    compiled = compile_policy(policy, dag or ())
    planned = list(_plan(policy, compiled, dag or (), set(to or Target), create_users=create_users))
    notes = [*compiled.notes, *(note for change in planned for note in change.notes)]
    if not as_json:
        screen = output.console()
        for change in planned:
            screen.print(f"{output.STATES[change.state]:6} {output.clean(change.text)}", soft_wrap=True)
            for line in change.diff:
                screen.print(f"       {output.clean(line)}", soft_wrap=True)
        for note in notes:
            screen.print(f"! {output.clean(note)}", style="yellow", soft_wrap=True)
    if not dry_run:
        changes.apply(planned)
    if as_json:
        steps = [{"step": change.text, "state": change.state, "diff": change.diff} for change in planned]
        output.show_json({"applied": not dry_run, "steps": steps, "notes": notes})
    drift = dry_run and any(change.state != "there" for change in planned)
    raise typer.Exit(output.FOUND_SOMETHING if notes or drift else output.FINE)


def _plan(
    policy: AccessPolicy, compiled: Compiled, dags: Sequence[str], targets: set[Target], *, create_users: bool
) -> Iterator[Change]:
    """Yield the changes for every requested service that the file needs."""
    from secure_xcom.connections.vault.client import VaultClient
    from secure_xcom.ops.service_policies.apply import aws_iam, aws_kms, aws_s3
    from secure_xcom.ops.service_policies.apply import vault as apply_vault
    from secure_xcom.ops.service_policies.aws_account import AwsAccount

    if Target.vault in targets and any(path.startswith("vault/") for path in compiled.files):
        yield from apply_vault.changes(VaultClient("default"), policy, compiled)
    if not any(path.startswith("aws/") for path in compiled.files) or targets == {Target.vault}:
        return
    aws = AwsAccount()
    # Keys and buckets name roles and users, so IAM comes first.
    if Target.iam in targets:
        yield from aws_iam.plan(aws, policy, compiled, create_users=create_users)
    if Target.kms in targets:
        yield from aws_kms.plan(aws, policy, dags)
    if Target.s3 in targets:
        yield from aws_s3.plan(aws, compiled)
