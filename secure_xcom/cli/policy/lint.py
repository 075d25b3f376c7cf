"""``secure-xcom policy lint``: find what an access policy or a service policy probably does not intend."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.core.findings import SEVERITIES

if TYPE_CHECKING:
    from secure_xcom.core.findings import Finding


def policy_lint(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="The access policy, or service policies: a file (.hcl, .json) or a folder of them.",
        ),
    ],
    allow: Annotated[
        list[str] | None, typer.Option(metavar="RULE", help="A rule to ignore. Can be repeated.")
    ] = None,
    dag: options.DagsAsCompiled = None,
    as_json: options.AsJson = False,
) -> None:
    """Find risky or probably unintended settings in policies, each with its rule, line and column.

    In an access policy: rules that are never reached, overlapping globs, readers that admit more than they seem
    to, shared keys. In service policies: wildcards, create on encrypt, batches, NotAction, missing TLS.
    docs/reference/lint-rules.md lists the rules.
    """
    from secure_xcom.core.operator_errors import CommandError
    from secure_xcom.core.suggest import did_you_mean
    from secure_xcom.ops.service_policies.lint.access_policy_rules import RULES
    from secure_xcom.ops.service_policies.lint.document_rules import DOCUMENT_RULES

    allowed = set(allow or ())
    rules = {*RULES, *DOCUMENT_RULES}
    for name in sorted(allowed - rules):
        remedy = did_you_mean(name, rules, "see lint's rules in docs/reference/lint-rules.md")
        raise CommandError(f"there is no rule {name!r:.80}", where="--allow", remedy=remedy)
    every = [finding for path in paths for finding in _lint(path, dag or ())]
    findings = [finding for finding in every if finding.rule not in allowed]
    if as_json:
        output.show_json({"remarks": list(map(_record, findings)), "allowed": len(every) - len(findings)})
    else:
        _show(findings, len(every) - len(findings))
    raise typer.Exit(output.exit_code(findings))


def _lint(path: Path, dags: Iterable[str]) -> Iterable[Finding]:
    from secure_xcom.core.access_policy.policy import read_bytes
    from secure_xcom.deployment import airflow_config
    from secure_xcom.ops.service_policies.lint import connections, default_connection, origin, rows, uris
    from secure_xcom.ops.service_policies.lint.access_policy import lint
    from secure_xcom.ops.service_policies.lint.documents import lint_documents

    if path.is_dir() or path.suffix in (".hcl", ".json"):
        return lint_documents(path)
    beside = (
        uris.findings,
        origin.findings,
        partial(connections.findings, environment=os.environ),
        partial(
            default_connection.findings,
            environment=os.environ,
            exists=default_connection.airflow_has_default,
        ),
        partial(rows.findings, multi_team=airflow_config.multi_team()),
    )
    raw = read_bytes(str(path))
    return lint(raw, where=str(path), dags=tuple(dags), environment=os.environ, beside=beside)


def _record(finding: Finding) -> dict[str, object]:
    return {"file": finding.subject, **finding.record("line", "column", "status", "rule", "text", "remedy")}


def _show(findings: list[Finding], allowed: int) -> None:
    screen = output.console()
    for finding in findings:
        # Editors and CI systems turn this form into links.
        place = f"{output.clean(finding.subject)}:{finding.line}:{finding.column}"
        screen.print(
            f"{place}: {SEVERITIES[finding.status]} {finding.rule}: {output.clean(finding.text)}",
            style=output.STYLES[finding.status],
            soft_wrap=True,
        )
        if finding.remedy:
            screen.print(f"  what to do: {output.clean(finding.remedy)}", soft_wrap=True)
    counts = Counter(finding.status for finding in findings)
    words = f"{counts['error']} errors, {counts['warning']} warnings, {counts['ok']} notes"
    screen.print(words + (f", {allowed} allowed" if allowed else ""), soft_wrap=True)
