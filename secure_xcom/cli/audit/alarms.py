"""``secure-xcom audit alarms``: evaluate the access policy's alarms on new events of the access log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit.locations import Place, SinkOption

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.alarms import When
    from secure_xcom.core.errors import AlarmNotTold
    from secure_xcom.ops.audit_trail.evaluate_alarms import AlarmReport


def alarms(
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="State of the last run. Default: secure_xcom/alarms.json in AIRFLOW_HOME."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Notify nobody and leave the state as it is.")
    ] = False,
    sink: SinkOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Evaluate the access policy's alarms on the events since the last run, and send notifications.

    Run it often (the maintenance DAG does); the first run learns who reads from whom. Exit code 1 if an alarm was
    raised, 2 if a notification failed.
    """
    from secure_xcom.ops.audit_trail.evaluate_alarms import default_state, evaluate

    place = Place(config, sinks=sink)
    rules = place.deployment.policy.alarms
    _show(evaluate(rules, place.sources(), state or default_state(), dry_run=dry_run), as_json=as_json)


def sound(place: Place, when: When, texts: Sequence[str]) -> list[AlarmNotTold]:
    """Raise the alarms of a kind for what another command found. Return the notifications that failed."""
    from secure_xcom.ops.audit_trail import evaluate_alarms

    if not texts or not place.deployment.settings.access_policy:
        return []
    return evaluate_alarms.sound(place.deployment.policy.alarms, when, texts)


def _show(done: AlarmReport, *, as_json: bool) -> None:
    if as_json:
        errors = [{"what": error.what, "where": error.where, "remedy": error.remedy} for error in done.not_told]
        output.show_json({"alarms": [alarm.as_json() for alarm in done.raised], "not_told": errors})
    else:
        out = output.console()
        for alarm in done.raised:
            text = f"{alarm.alarm} ({alarm.when}) {alarm.time}: {output.clean(alarm.text)}"
            out.print(text, style="bold red", soft_wrap=True)
        for error in done.not_told:
            output.show_error(error, as_json=False)
        print(f"{len(done.raised)} alarms, {len(done.not_told)} notifications failed")
    if done.not_told:
        raise typer.Exit(output.COULD_NOT_RUN)
    raise typer.Exit(output.FOUND_SOMETHING if done.raised else output.FINE)
