"""Mask what tasks log and print under ``dag.test()`` and ``airflow dags test``.

There a task has no supervisor whose log would be masked: it writes to the terminal, or to the log of a CI job.
"""

from __future__ import annotations

import sys
from typing import Any

from secure_xcom.airflow.plugin import supervisor
from secure_xcom.deployment import airflow_config


def mask_output() -> None:
    """Put Airflow's masker before the renderers of this process's logs, and before its standard streams."""
    if not airflow_config.backend_is_ours():
        return
    supervisor.mask_rendered_fields()
    if not airflow_config.switched_on("mask_component_logs"):
        return
    supervisor.mask_component_logs()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # A test runner puts streams of its own in place for each test.
        if stream is not None and not isinstance(stream, MaskedStream):
            setattr(sys, name, MaskedStream(stream))


class MaskedStream:
    """A text stream behind Airflow's masker. What is written to its buffer or its file descriptor passes by."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text without the secrets that are registered by now; return the length of the text."""
        from airflow.sdk._shared.secrets_masker import redact

        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)
