"""``secure-xcom policy lint``: what is allowed in an access policy, or in services' policies, and hardly meant."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import options, output

if TYPE_CHECKING:
    from secure_xcom.ops.service_policies.lint.lint_finding import Remark


@dataclass(frozen=True, slots=True)
class Looked:
    """A remark and the file that it is about."""

    file: str
    remark: Remark


def policy_lint(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="The access policy, or services' policies: a file (.hcl, .json) or a folder of them.",
        ),
    ],
    allow: Annotated[
        list[str] | None, typer.Option(metavar="RULE", help="A rule that is not to be remarked. May repeat.")
    ] = None,
    dag: options.DagsAsCompiled = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what is risky or cannot be meant, each remark with its rule, line and column.

    In an access policy: rules never reached, globs that overlap, readers wider than they look, shared keys.
    In policies of services: wildcards, create on encrypt, batches, NotAction, no TLS.
    docs/policies.md lists the rules. Exit code 1 where a warning or an error is left.
    """
    from secure_xcom.core.errors import CommandError
    from secure_xcom.ops.service_policies.lint.access_policy_rules import RULES
    from secure_xcom.ops.service_policies.lint.document_rules import DOCUMENT_RULES

    allowed = set(allow or ())
    if unknown := allowed - set(RULES) - set(DOCUMENT_RULES):
        raise CommandError(
            f"there is no rule {sorted(unknown)[0]!r:.80}", remedy="docs/policies.md lists lint's rules"
        )
    found = [looked for path in paths for looked in _look(path, dag or ())]
    left = [looked for looked in found if looked.remark.rule not in allowed]
    if as_json:
        output.show_json({"remarks": list(_records(left)), "allowed": len(found) - len(left)})
    else:
        _show(left, len(found) - len(left))
    serious = any(looked.remark.status != "ok" for looked in left)
    raise typer.Exit(output.FOUND_SOMETHING if serious else output.FINE)


def _look(path: Path, dags: Iterable[str]) -> Iterator[Looked]:

    from secure_xcom.core.access_policy.policy import read_bytes
    from secure_xcom.deployment import airflow_config
    from secure_xcom.ops.service_policies.lint import connections, origin, rows, uris
    from secure_xcom.ops.service_policies.lint.access_policy import lint
    from secure_xcom.ops.service_policies.lint.documents import lint_documents

    if path.is_dir() or path.suffix in (".hcl", ".json"):
        for name, remark in lint_documents(path):
            yield Looked(name, remark)
        return
    beside = (
        uris.remarks,
        origin.remarks,
        partial(connections.remarks, environment=os.environ),
        partial(rows.remarks, multi_team=airflow_config.multi_team()),
    )
    raw = read_bytes(str(path))
    for remark in lint(raw, where=str(path), dags=tuple(dags), environment=os.environ, beside=beside):
        yield Looked(str(path), remark)


def _records(found: Iterable[Looked]) -> Iterator[dict[str, object]]:
    for looked in found:
        one = looked.remark
        yield {
            "file": looked.file,
            "line": one.line,
            "column": one.column,
            "status": one.status,
            "rule": one.rule,
            "text": one.text,
            "remedy": one.remedy,
        }


def _show(found: list[Looked], allowed: int) -> None:
    screen = output.console()
    for looked in found:
        one = looked.remark
        # The form that editors and CI systems make links of.
        head = f"{output.clean(looked.file)}:{one.line}:{one.column}: {one.status} {one.rule}: "
        screen.print(head + output.clean(one.text), style=output.STYLES[one.status], soft_wrap=True)
        if one.remedy:
            screen.print(f"  what to do: {output.clean(one.remedy)}", soft_wrap=True)
    counts = {
        status: sum(looked.remark.status == status for looked in found) for status in ("error", "warning", "ok")
    }
    words = f"{counts['error']} errors, {counts['warning']} warnings, {counts['ok']} to be known"
    screen.print(words + (f", {allowed} allowed" if allowed else ""), soft_wrap=True)
