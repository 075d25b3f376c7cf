"""The options that say which events are meant, the same for `audit search`, `tail` and `export`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_xcom.errors import SettingInvalid

if TYPE_CHECKING:
    from secure_xcom.audit.hashed_ids import IdHasher
    from secure_xcom.audit.search.query import Query
    from secure_xcom.cli.audit.place import Place

_TEXT = "%Y-%m-%dT%H:%M:%S.%fZ"


def _text(metavar: str, text: str, *names: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=text)


Dag = Annotated[str | None, _text("DAG_ID", "The XCom's DAG.", "--dag")]
Run = Annotated[str | None, _text("RUN_ID", "The XCom's run.", "--run")]
Task = Annotated[str | None, _text("TASK_ID", "The XCom's task.", "--task")]
MapIndex = Annotated[int | None, _text("N", "The XCom's map index.", "--map-index")]
XComKey = Annotated[str | None, _text("KEY", "The XCom's key.", "--xcom-key")]
Compartment = Annotated[str | None, _text("NAME", "The compartment.", "--compartment")]
Consumer = Annotated[str | None, _text("DAG_ID[/TASK_ID]", "Who pulled, or was refused.", "--consumer")]
Action = Annotated[str | None, _text("ACTION", "push, pull, purge, claim, open, ...", "--action")]
Outcome = Annotated[str | None, _text("OUTCOME", "ok, refused or failed.", "--outcome")]
Error = Annotated[str | None, _text("CLASS", "The error's class.", "--error")]
Operator = Annotated[str | None, _text("NAME", "Who did it by hand.", "--operator")]
Host = Annotated[str | None, _text("NAME", "The worker's host.", "--host")]
Event = Annotated[str | None, _text("ID", "The event's id.", "--event")]
Since = Annotated[datetime | None, _text("TIME", "From this time on (UTC).", "--since")]
Until = Annotated[datetime | None, _text("TIME", "Before this time (UTC).", "--until")]
HashKey = Annotated[
    str | None, _text("FILE", "Key of hashed ids. Default: [secure_xcom] audit_hash_key.", "--hash-key")
]


def query(
    *,
    dag: str | None,
    run: str | None,
    task: str | None,
    map_index: int | None,
    xcom_key: str | None,
    compartment: str | None,
    consumer: str | None,
    action: str | None,
    outcome: str | None,
    error: str | None,
    operator: str | None,
    host: str | None,
    event: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Query:
    """The query that the options make."""
    from secure_xcom.audit.search.query import Query

    # Airflow's DAG ids have no slash in them.
    consumer_dag, _, consumer_task = (consumer or "").partition("/")
    return Query(
        dag=dag,
        run=run,
        task=task,
        map_index=map_index,
        key=xcom_key,
        compartment=compartment,
        consumer=consumer_dag or None,
        consumer_task=consumer_task or None,
        action=action,
        outcome=outcome,
        error=error,
        operator=operator,
        host=host,
        event=event,
        since=since.strftime(_TEXT) if since else None,
        until=until.strftime(_TEXT) if until else None,
    )


def hasher(place: Place, path: str | None, *, sinks_named: bool) -> IdHasher | None:
    """The key of hashed ids: the option's, else the settings' where it can be read.

    :raises SettingInvalid: the option's file cannot be used.
    """
    from secure_xcom.audit.hashed_ids import IdHasher

    if path:
        return IdHasher.load(path)
    if sinks_named:
        # What is searched may be another deployment's, and there may be no settings here.
        return None
    known = place.deployment.settings.audit_hash_key
    try:
        return IdHasher.load(known) if known else None
    except SettingInvalid:
        # Who may read the log may not have the key: ids are then found as they stand there.
        return None
