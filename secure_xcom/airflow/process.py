"""This process's pipeline, through which Airflow's rows are pushed, pulled and purged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.sdk.bases.xcom import BaseXCom

from secure_xcom.airflow import task_context
from secure_xcom.airflow.refused_push import check_key
from secure_xcom.core.coordinate import Asked, Coordinate
from secure_xcom.core.load_adapter import load
from secure_xcom.core.per_process import PerProcess
from secure_xcom.core.reference import is_reference

if TYPE_CHECKING:
    from secure_xcom.core.pipeline.push_and_pull import Pipeline, Pulled
    from secure_xcom.core.pipeline.telemetry.measuring import Telemetry
IMPLEMENTATIONS = {"telemetry": "secure_xcom.airflow.telemetry:telemetry"}
"""What is loaded where Airflow's metrics or traces are on."""


class Value(NamedTuple):
    """What BaseXCom.deserialize_value takes: anything with a value."""

    value: Any


class Rows(BaseXCom):
    """Airflow's own queries, with the rows given as they are and the values taken as they are."""

    @staticmethod
    def serialize_value(value: Any, **_: Any) -> Any:
        return value

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        return result.value


def _restored(structure: Any) -> Any:
    return BaseXCom.deserialize_value(Value(structure))


def _new_pipeline() -> Pipeline:
    from secure_xcom.core.codecs import Codecs
    from secure_xcom.deployment import Deployment

    codecs = Codecs(BaseXCom.serialize_value, _restored)
    return Deployment.of_airflow().pipeline(codecs, telemetry=_telemetry())


def _telemetry() -> Telemetry | None:
    from secure_xcom.deployment import airflow_config

    metrics, traces = airflow_config.metrics_on(), airflow_config.traces_on()
    if not (metrics or traces):
        return None
    measured: Telemetry = load(IMPLEMENTATIONS, "telemetry")(metrics=metrics, traces=traces)
    return measured


_pipeline = PerProcess(_new_pipeline)


def pipeline() -> Pipeline:
    """Return this process's pipeline, made from Airflow's settings when the first value passes.

    :raises ConfigurationError: the settings cannot be used.
    """
    return _pipeline.get()


def pull_each(rows: Sequence[Any], asked: Sequence[Asked | None], order: int) -> list[Pulled]:
    """Open rows as the running task or trigger, each against its own question."""
    from secure_xcom.core.pipeline.push_and_pull import Row

    questions = [Row(row, question) for row, question in zip(rows, asked, strict=True)]
    process_pipeline = pipeline()
    consumer = task_context.consumer()
    claimant = task_context.claimant(consumer) if any(map(_is_exclusive, rows)) else None
    pulled = process_pipeline.pull_sized(questions, consumer=consumer, claimant=claimant, order=order)
    if process_pipeline.claimed:
        from secure_xcom.airflow.shred_on_success import watch

        watch(pipeline, Rows, rows, [value for value, _ in pulled])
    return pulled


def _is_exclusive(row: Any) -> bool:
    """Return whether a row says that only a claimant may pull it; the pipeline reads it strictly."""
    head = row.get("head") if is_reference(row) else None
    return isinstance(head, dict) and "exclusive" in head


def push_value(value: Any, coordinate: Coordinate) -> Any:
    """Seal a value as the running task or trigger, and return the reference."""
    check_key(coordinate)
    from secure_xcom.core.pipeline.push_and_pull import Push

    return pipeline().push([Push(coordinate, value)], producer=task_context.producer(coordinate))[0]
