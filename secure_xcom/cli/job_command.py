"""Turn a job of the registry into a command: its options, its help, its report and its exit code."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from secure_xcom.cli import context, declare, options, output
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.ops.jobs.job import APPLY

if TYPE_CHECKING:
    from secure_xcom.ops.jobs.job import Job, Option, Report

_ACT, _REPORT = APPLY.split("/")


def add_job(
    app: typer.Typer,
    job: Job[Any],
    show: Callable[[Any], None] | None = None,
    *,
    kind: declare.Kind = "changes",
    group: str | None = None,
) -> None:
    """Add the command of a job. Its exit code is 1 where the report says that anything is left.

    :param show: prints the report for people; by default its lines are printed.
    :param kind: see `declare.add`; :param group: the heading in the command list.
    """
    former = {spelling: name for name, declared in job.declared_options().items() for spelling in declared.former}

    def command(*, config: Path | None, as_json: bool, **values: Any) -> None:
        # A job without a state file of its own may have an option of this name.
        state = values.pop("state") if job.keeps_state else None
        for spelling, name in former.items():
            if values.pop(_parameter_name(spelling)):
                if values[name] is False:
                    raise CommandError(f"{spelling} and {_REPORT} exclude each other", remedy="give one of them")
                values[name] = True
        given = {
            name: False if name in former.values() and value is None else value for name, value in values.items()
        }
        with context.job_context(config, state=state, as_json=as_json) as job_context:
            report: Report = job.run(job_context, job.options(**given))
        if as_json or show is None:
            context.show(report.record(), report.lines(), as_json=as_json)
        else:
            show(report)
        for error in report.errors:
            output.show_error(error, as_json=False)
        if report.errors:
            raise typer.Exit(output.COULD_NOT_RUN)
        raise typer.Exit(output.FOUND_SOMETHING if report.found else output.FINE)

    command.__doc__ = f"{job.summary}\n\n{job.details}"
    vars(command)["__signature__"] = _signature(job)
    declare.add(
        app,
        job.command or job.name,
        command,
        job.summary,
        kind=kind,
        examples=job.examples,
        found=job.found,
        group=group,
        former=job.former,
    )


def typer_option(declared: Option) -> Any:
    """Return an option of a job as typer's."""
    return typer.Option(
        *declared.flags,
        help=declared.help,
        metavar=declared.metavar,
        min=declared.minimum,
        max=declared.maximum,
    )


def _signature(job: Job[Any]) -> inspect.Signature:
    types = get_type_hints(job.options)
    declared = job.declared_options()
    parameters = [
        parameter
        for field in dataclasses.fields(job.options)
        if declared[field.name].help
        for parameter in _parameters(field.name, types[field.name], declared[field.name], field.default)
    ]
    return inspect.Signature(
        [
            *parameters,
            *([_parameter("state", context.State, None)] if job.keeps_state else []),
            _parameter("config", options.Config, None),
            _parameter("as_json", options.AsJson, False),
        ]
    )


def _parameters(name: str, type_: Any, declared: Option, default: Any) -> list[inspect.Parameter]:
    """Return the parameter of an option, and a hidden one for each of its former spellings."""
    if not declared.former:
        return [_parameter(name, Annotated[type_, typer_option(declared)], default)]
    # None tells that neither flag was given, so that a former spelling cannot contradict one.
    # This is the form in which typer shows the default of a flag.
    help_text = f"{declared.help}  [default: {_REPORT.strip('-')}]"
    shown = typer.Option(*declared.flags, help=help_text, show_default=False)
    return [
        _parameter(name, Annotated[bool | None, shown], None),
        *(
            _parameter(
                _parameter_name(spelling), Annotated[bool, typer.Option(spelling, hidden=True)], default=False
            )
            for spelling in declared.former
        ),
    ]


def _parameter_name(spelling: str) -> str:
    return f"former_{spelling.strip('-').replace('-', '_')}"


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    if default is dataclasses.MISSING:
        default = inspect.Parameter.empty
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
