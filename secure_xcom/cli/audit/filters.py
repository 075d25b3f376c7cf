"""The options that say which events are meant, the same for `audit search`, `tail` and `export`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from secure_xcom.core.errors import SettingInvalid

if TYPE_CHECKING:
    from secure_xcom.cli.audit.locations import Place
    from secure_xcom.core.hashed_ids import IdHasher
    from secure_xcom.ops.audit_trail.search.query import Query

_TEXT = "%Y-%m-%dT%H:%M:%S.%fZ"


def _option(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text)


@dataclass(frozen=True, slots=True)
class Filters:
    """What the options say: a field for each, in the order of the help."""

    dag: Annotated[str | None, _option("DAG_ID", "The XCom's DAG.")] = None
    run: Annotated[str | None, _option("RUN_ID", "The XCom's run.")] = None
    task: Annotated[str | None, _option("TASK_ID", "The XCom's task.")] = None
    map_index: Annotated[int | None, _option("N", "The XCom's map index.")] = None
    xcom_key: Annotated[str | None, _option("KEY", "The XCom's key.")] = None
    compartment: Annotated[str | None, _option("NAME", "The compartment.")] = None
    consumer: Annotated[str | None, _option("DAG_ID[/TASK_ID]", "Who pulled, or was refused.")] = None
    action: Annotated[str | None, _option("ACTION", "push, pull, purge, claim, open, ...")] = None
    outcome: Annotated[str | None, _option("OUTCOME", "ok, refused or failed.")] = None
    error: Annotated[str | None, _option("CLASS", "The error's class.")] = None
    operator: Annotated[str | None, _option("NAME", "Who did it by hand.")] = None
    host: Annotated[str | None, _option("NAME", "The worker's host.")] = None
    event: Annotated[str | None, _option("ID", "The event's id.")] = None
    since: Annotated[datetime | None, _option("TIME", "From this time on (UTC).")] = None
    until: Annotated[datetime | None, _option("TIME", "Before this time (UTC).")] = None
    hash_key: Annotated[
        str | None, _option("FILE", "Key of hashed ids. Default: [secure_xcom] audit_hash_key.")
    ] = None

    def query(self) -> Query:
        """The query that the options make."""
        from secure_xcom.ops.audit_trail.search.query import Query

        # Airflow's DAG ids have no slash in them.
        consumer_dag, _, consumer_task = (self.consumer or "").partition("/")
        return Query(
            dag=self.dag,
            run=self.run,
            task=self.task,
            map_index=self.map_index,
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
            since=self.since.strftime(_TEXT) if self.since else None,
            until=self.until.strftime(_TEXT) if self.until else None,
        )

    def hasher(self, place: Place) -> IdHasher | None:
        """The key of hashed ids: the option's, else the settings' where it can be read.

        :raises SettingInvalid: the option's file cannot be used.
        """
        from secure_xcom.core.hashed_ids import IdHasher

        if self.hash_key:
            return IdHasher.load(self.hash_key)
        if place.sinks_named:
            # What is searched may be another deployment's, and there may be no settings here.
            return None
        known = place.deployment.settings.audit_hash_key
        try:
            return IdHasher.load(known) if known else None
        except SettingInvalid:
            # Who may read the log may not have the key: ids are then found as they stand there.
            return None


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of `Filters`, each by itself, where its signature has ``filters``.

    Typer makes options of parameters, and cannot make several of one.
    """
    hints = get_type_hints(Filters, include_extras=True)
    options = [
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(Filters)
    ]
    own = signature(command, eval_str=True)
    shown = [
        option
        for one in own.parameters.values()
        for option in (options if one.name == "filters" else [one.replace(kind=Parameter.KEYWORD_ONLY)])
    ]

    @wraps(command)
    def run(**given: Any) -> None:
        asked = Filters(**{option.name: given.pop(option.name) for option in options})
        command(filters=asked, **given)

    run.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]  # inspect.signature looks here
    return run
