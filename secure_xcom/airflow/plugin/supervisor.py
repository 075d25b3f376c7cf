"""In the process that supervises tasks: mask the copy of their logs on its own output, and mask in time.

Airflow's LocalExecutor copies every line of a task to the scheduler's output without masking it, although the
task's log file is masked by the same process. Why this is no listener: docs/adr/0005.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from functools import cache
from typing import Any

from secure_xcom.airflow.task_context import DAG_PROCESSOR
from secure_xcom.core.config import SECTION
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.deployment import airflow_config

log = logging.getLogger(__name__)

_MASKED_TYPES = frozenset({str, int, float, bool, type(None)})


def before_fork() -> None:
    """Prepare a process that supervises tasks for the fork of one."""
    try:
        if not airflow_config.backend_is_ours():
            say_unused()
            return
        teach_masker()
        read_policy()
        if airflow_config.switched_on("mask_component_logs"):
            mask_component_logs()
        mask_rendered_fields()
        import_ahead()
        configure_models()
    except Exception as error:  # noqa: BLE001  # a component must run on, whatever Airflow's logging looks like
        _warn(f"{type(error).__name__} at {_place(error)}")


@cache
def say_unused() -> None:
    """Say that what is pushed here is plaintext, where the settings show that it is not meant to be.

    A triggerer is often configured apart from the workers, and nothing fails where its triggers push.
    """
    if any(airflow_config.option(SECTION, name) for name in ("key_uris", "access_policy")):
        log.error(
            "What the tasks or triggers of this process push is stored in plaintext: [core] xcom_backend is not "
            "secure_xcom.SecureXComBackend here, although [secure_xcom] is set. What to do: set it for every "
            "component, triggerers included, and run `secure-xcom check` in the environment of each."
        )


def read_policy() -> None:
    """Read the access policy before a fork, so that no child has to. What is wrong with it, a child says."""
    path = airflow_config.placing_policy()
    if path is None:
        return
    from secure_xcom.core.access_policy.watched_policy import watched

    try:
        watched(path).current()
    except PolicyInvalid as error:
        log.debug("The access policy cannot be used: %s", error)


@cache
def import_ahead() -> None:
    """Import once, in the parent of tasks, what each of them would import at its first push or pull."""
    if DAG_PROCESSOR in sys.modules:
        # It forks processes that read DAG files, and none that runs a task.
        return
    from secure_xcom.airflow import preload

    try:
        uris, alarms = _needed()
    except SecureXComError as error:
        # A task's push or pull says so where somebody looks.
        log.debug("The settings cannot be used: %s", error)
        return
    preload.import_ahead(uris)
    if alarms:
        preload.import_alarms()
    preload.import_parser()


def configure_models() -> None:
    """Prepare SQLAlchemy's models before each fork: a secrets backend may have been loaded since the last one."""
    if DAG_PROCESSOR not in sys.modules:
        from secure_xcom.airflow import preload

        preload.configure_models()


def _needed() -> tuple[tuple[str, ...], bool]:
    """Return the key and store URIs that a task here may need, and whether alarms may have to be told."""
    policy_path = airflow_config.policy_path()
    if policy_path is None:
        settings = airflow_config.load()
        return (*settings.key_uris, settings.store_uri or ""), False
    from secure_xcom.core.access_policy.watched_policy import watched

    policy = watched(policy_path).current()
    uris = (
        uri
        for compartment in policy.compartments
        for uri in (*compartment.all_key_uris, *compartment.all_store_uris)
    )
    return tuple(uris), bool(policy.alarms_at_once)


def teach_masker() -> None:
    """Let this process's masker take a list of secrets with one compilation instead of one for each."""
    from airflow.sdk._shared.secrets_masker import _secrets_masker

    masker: Any = _secrets_masker()
    if "add_mask" in vars(masker):
        return
    original = masker.add_mask

    from secure_xcom.core.masking.masker_registration import compile_once

    def add_mask(secret: Any, name: str | None = None) -> None:
        if isinstance(secret, list) and name is None:
            compile_once(masker, secret)
        original(secret, name)

    masker.add_mask = add_mask


@cache
def mask_rendered_fields() -> None:
    """Mask a task's rendered template fields before they are stored, where this Airflow does not.

    Airflow 3.1.0 to 3.1.3 stores them as they are, and up to 3.1.5 it shortens long ones before the masker that
    knows the secrets of tasks has seen them (airflow/sdk/execution_time/task_runner.py).
    """
    from airflow.sdk.execution_time import task_runner

    if hasattr(task_runner, "_serialize_template_field"):
        return
    from airflow.sdk._shared.secrets_masker import redact
    from airflow.serialization import helpers

    serialize = task_runner._serialize_rendered_fields

    def masked(task: Any) -> dict[str, Any]:
        return {field: redact(value, field) for field, value in serialize(task).items()}

    helpers.redact = redact  # type: ignore[attr-defined]  # imported there for its own use
    task_runner._serialize_rendered_fields = masked


def mask_component_logs() -> None:
    """Put the SDK's masker, which knows the secrets of the tasks, before the renderers of this process's logs."""
    import structlog

    processors = structlog.get_config()["processors"]
    if not isinstance(processors, list) or not processors or not callable(processors[-1]):
        _warn("structlog's processors are not a list that ends in a renderer")
        return
    if not isinstance(processors[-1], MaskedRenderer):
        # In place, because loggers that were used already keep this very list; and as one assignment, because
        # another thread may be half-way through it.
        processors[-1] = MaskedRenderer(processors[-1])
    for handler in _handlers():
        formatter = handler.formatter
        if not isinstance(formatter, structlog.stdlib.ProcessorFormatter):
            continue
        last = formatter.processors[-1]
        if not isinstance(last, MaskedRenderer):
            formatter.processors = (*formatter.processors[:-1], MaskedRenderer(last))


class MaskedRenderer:
    """A renderer of log lines behind Airflow's masker."""

    def __init__(self, renderer: Any) -> None:
        self.renderer = renderer

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        from airflow.sdk._shared.secrets_masker import redact

        # A renderer takes these three for granted.
        needed = {name: event[name] for name in ("timestamp", "level", "event") if name in event}
        # The renderer makes text of exceptions and objects, which the masker does not walk.
        makes_text = bool(event.get("exc_info")) or not {*map(type, event.values())} <= _MASKED_TYPES
        masked: Any = redact(event)
        if not isinstance(masked, MutableMapping):
            # Airflow's masker gives a text in place of what it could not walk.
            masked = {**needed, "event": str(masked)}
        rendered = self.renderer(logger, method, masked)
        if makes_text and isinstance(rendered, str):
            rendered = redact(rendered)
        return rendered


def _handlers() -> list[logging.Handler]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return [handler for logger in loggers if isinstance(logger, logging.Logger) for handler in logger.handlers]


@cache
def _warn(why: str) -> None:
    log.warning(
        "The copy of task logs on this component's output is not masked (%s). What to do: update secure_xcom, "
        "or protect that output like the values; [secure_xcom] mask_component_logs = False silences this.",
        why,
    )


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "an unknown place"
