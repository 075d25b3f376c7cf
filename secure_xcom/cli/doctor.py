"""``secure-xcom doctor``: what is ill in a deployment, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from secure_xcom.cli import context, options, output

if TYPE_CHECKING:
    from secure_xcom.ops.checks.doctor_findings import Ailment


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair what can be repaired without harm: modes of files.")
    ] = False,
    payloads: Annotated[
        bool,
        typer.Option("--payloads/--no-payloads", help="Hold rows and payloads against each other, as gc does."),
    ] = True,
    role: Annotated[
        Literal["worker", "maintenance"],
        typer.Option(help="The role of the identity that this runs as: rights beyond it are found."),
    ] = "maintenance",
    examples: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="How many ids of each kind are named.")
    ] = 20,
    state: context.State = None,
    config: context.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Find plaintext rows, references that cannot be opened, stale keys, settings and rights that leak.

    Nothing is opened, and without --fix nothing is changed. Each finding has a remedy. Exit code 1 where
    any is left.
    """
    from secure_xcom.ops.checks.doctor_findings import Ailments
    from secure_xcom.ops.checks.doctor_host import examine_files, examine_logins, examine_rights, examine_settings
    from secure_xcom.ops.checks.doctor_teams import examine_teams
    from secure_xcom.ops.jobs.doctor import examine_payloads, examine_rows

    loaded = context.load(config)
    policy = loaded.policy
    ailments = Ailments(examples)
    with context.database() as database, context.progress(as_json=as_json) as progress:
        rows = examine_rows(policy, database, ailments, progress=progress)
        ailments.add(*examine_logins(policy, loaded.settings, loaded.sinks, database))
        if payloads:
            examine_payloads(policy, database, context.state_file(state, "doctor"), ailments, progress=progress)
    ailments.add(*examine_files(policy, loaded.sinks))
    ailments.add(*examine_settings(loaded.settings, backend=loaded.backend))
    ailments.add(*examine_teams(policy, multi_team=loaded.multi_team))
    ailments.add(*examine_rights(policy, role))
    found = ailments.all()
    if fix:
        for ailment in found:
            if ailment.fix is not None:
                ailment.fix()
                ailment.fixed = True
    _show(found, rows, as_json=as_json)
    left = any(not ailment.fixed for ailment in found)
    raise typer.Exit(output.FOUND_SOMETHING if left else output.FINE)


def _show(found: list[Ailment], rows: int, *, as_json: bool) -> None:
    if as_json:
        output.show_json({"rows": rows, "found": [record(ailment) for ailment in found]})
        return
    from secure_xcom.core.findings import Finding

    out = output.console()
    for ailment in found:
        times = f" ({ailment.count})" if ailment.count > 1 else ""
        fixed = "; repaired" if ailment.fixed else "; --fix repairs it" if ailment.fix else ""
        text = f"{ailment.text}{times}{fixed}"
        output.show_finding(
            out, Finding(ailment.kind, ailment.status, text, "" if ailment.fixed else ailment.remedy)
        )
        for line in context.examples("", ailment.examples, ailment.count)[1:]:
            out.print(output.clean(line), soft_wrap=True)
    out.print(f"{rows} rows looked at, {len(found)} kinds of trouble" if found else f"{rows} rows: nothing found")


def record(ailment: Ailment) -> dict[str, Any]:
    """A finding as JSON."""
    return {
        "kind": ailment.kind,
        "status": ailment.status,
        "text": ailment.text,
        "remedy": ailment.remedy,
        "count": ailment.count,
        "examples": ailment.examples,
        "fixable": ailment.fix is not None,
        "fixed": ailment.fixed,
    }
