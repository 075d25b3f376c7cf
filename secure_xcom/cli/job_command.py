"""Turn a job of the registry into a command: its options, its help, its report and its exit code."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from secure_xcom.cli import context, options, output

if TYPE_CHECKING:
    from secure_xcom.ops.jobs.job import Job, Option, Report


def add_job(app: typer.Typer, job: Job[Any], show: Callable[[Any], None] | None = None) -> None:
    """Add the command of a job. Its exit code is 1 where the report says that anything is left.

    :param show: prints the report for people; by default its lines are printed.
    """

    def command(*, config: Path | None, as_json: bool, state: Path | None = None, **values: Any) -> None:
        with context.job_context(config, state=state, as_json=as_json) as job_context:
            report: Report = job.run(job_context, job.options(**values))
        if as_json or show is None:
            context.show(report.record(), report.lines(), as_json=as_json)
        else:
            show(report)
        raise typer.Exit(output.FOUND_SOMETHING if report.found else output.FINE)

    command.__doc__ = f"{job.summary}\n\n{job.details}"
    vars(command)["__signature__"] = _signature(job)
    app.command(job.name, short_help=job.summary)(command)


def _signature(job: Job[Any]) -> inspect.Signature:
    types = get_type_hints(job.options)
    declared = job.declared_options()
    parameters = [
        _parameter(field.name, Annotated[types[field.name], _option(declared[field.name])], field.default)
        for field in dataclasses.fields(job.options)
        if declared[field.name].help
    ]
    return inspect.Signature(
        [
            *parameters,
            *([_parameter("state", context.State, None)] if job.keeps_state else []),
            _parameter("config", options.Config, None),
            _parameter("as_json", options.AsJson, False),
        ]
    )


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    if default is dataclasses.MISSING:
        default = inspect.Parameter.empty
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _option(declared: Option) -> Any:
    return typer.Option(
        *declared.flags,
        help=declared.help,
        metavar=declared.metavar,
        min=declared.minimum,
        max=declared.maximum,
    )
