"""The options that select events, the same for `audit search`, `tail` and `export`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from secure_xcom.core.clock import text_of
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.core.event import Action, Outcome
from secure_xcom.core.operator_errors import CommandError

if TYPE_CHECKING:
    from secure_xcom.cli.audit.locations import Place
    from secure_xcom.ops.audit_trail.search.query import Query
    from secure_xcom.sinks.hashed_ids import IdHasher


def _option(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text)


@dataclass(frozen=True, slots=True)
class Filters:
    """The values of the options, one field for each, in the order of the help."""

    dag: Annotated[str | None, _option("DAG_ID", "The XCom's DAG.")] = None
    run: Annotated[str | None, _option("RUN_ID", "The XCom's run.")] = None
    task: Annotated[str | None, _option("TASK_ID", "The XCom's task.")] = None
    map_index: Annotated[int | None, _option("N", "The XCom's map index.")] = None
    attempt: Annotated[str | None, _option("UUID", "The XCom's attempt: the id of its task instance.")] = None
    iteration: Annotated[int | None, _option("N", "The XCom's iteration of a loop.")] = None
    xcom_key: Annotated[str | None, _option("KEY", "The XCom's key.")] = None
    compartment: Annotated[str | None, _option("NAME", "The compartment.")] = None
    consumer: Annotated[str | None, _option("DAG_ID[/TASK_ID]", "The task that pulled or was refused.")] = None
    action: Annotated[str | None, _option("ACTION", ", ".join(get_args(Action)) + ".")] = None
    outcome: Annotated[str | None, _option("OUTCOME", "ok, refused or failed.")] = None
    error: Annotated[str | None, _option("CLASS", "The error's class.")] = None
    operator: Annotated[str | None, _option("NAME", "The person who ran a command.")] = None
    host: Annotated[str | None, _option("NAME", "The worker's host.")] = None
    event: Annotated[str | None, _option("ID", "The event's id.")] = None
    since: Annotated[datetime | None, _option("TIME", "Events from this time on (UTC).")] = None
    until: Annotated[datetime | None, _option("TIME", "Events before this time (UTC).")] = None
    hash_key: Annotated[
        str | None, _option("FILE", "Key of hashed ids. Default: [secure_xcom] audit_hash_key.")
    ] = None

    def query(self) -> Query:
        """Return the query that the options describe.

        :raises CommandError: no event can have such an action or outcome, so nothing would be found.
        """
        from secure_xcom.ops.audit_trail.search.query import Query

        _check("--action", self.action, get_args(Action))
        _check("--outcome", self.outcome, get_args(Outcome))
        # Airflow's DAG ids contain no slash.
        consumer_dag, _, consumer_task = (self.consumer or "").partition("/")
        return Query(
            dag=self.dag,
            run=self.run,
            task=self.task,
            map_index=self.map_index,
            attempt=self.attempt,
            iteration=self.iteration,
            key=self.xcom_key,
            compartment=self.compartment,
            consumer=consumer_dag or None,
            consumer_task=consumer_task or None,
            action=self.action,
            outcome=self.outcome,
            error=self.error,
            operator=self.operator,
            host=self.host,
            event=self.event,
            since=_utc(self.since),
            until=_utc(self.until),
        )

    def hasher(self, place: Place) -> IdHasher | None:
        """Return the key of hashed ids: the option's, else the settings' if it can be read.

        :raises SettingInvalid: the option's file cannot be used.
        """
        from secure_xcom.sinks.hashed_ids import IdHasher

        if self.hash_key:
            return IdHasher.load(self.hash_key)
        if place.sinks_named:
            # The sinks may belong to another deployment, and there may be no settings on this machine.
            return None
        path = place.deployment.settings.audit_hash_key
        try:
            return IdHasher.load(path) if path else None
        except SettingInvalid:
            # A reader of the log may lack the key; ids are then searched for as given.
            return None


def _check(option: str, value: str | None, choices: Sequence[str]) -> None:
    from secure_xcom.core.suggest import did_you_mean

    if value is not None and value not in choices:
        raise CommandError(
            f"no event has {value!r:.40}",
            where=option,
            remedy=did_you_mean(value, choices, f"write one of {', '.join(choices)}"),
        )


def _utc(moment: datetime | None) -> str | None:
    return text_of(moment.replace(tzinfo=timezone.utc)) if moment else None


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the single options of `Filters` in place of its parameter ``filters``.

    Typer makes one option of each parameter, and cannot make several of one.
    """
    hints = get_type_hints(Filters, include_extras=True)
    options = [
        Parameter(option.name, Parameter.KEYWORD_ONLY, default=option.default, annotation=hints[option.name])
        for option in fields(Filters)
    ]
    original = signature(command, eval_str=True)
    parameters: list[Parameter] = []
    for parameter in original.parameters.values():
        is_filters = parameter.name == "filters"
        parameters += options if is_filters else [parameter.replace(kind=Parameter.KEYWORD_ONLY)]

    @wraps(command)
    def run(**given: Any) -> None:
        filters = Filters(**{option.name: given.pop(option.name) for option in options})
        command(filters=filters, **given)

    run.__signature__ = original.replace(parameters=parameters)  # type: ignore[attr-defined]  # inspect.signature looks here
    return run
