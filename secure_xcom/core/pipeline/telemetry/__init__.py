"""Metrics and traces of pushes, pulls and key services, told to Airflow's own (docs/reference/metrics.md).

Measuring cannot make a push or a pull fail, and is not loaded where Airflow's metrics and traces are off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secure_xcom.core.event import Action
    from secure_xcom.keys import KeyService
    from secure_xcom.sinks.recording import Draft


class NotMeasured:
    """Measures nothing, with the methods of `Telemetry` that a pipeline calls."""

    def operation(self, _action: Action, _drafts: Sequence[Draft]) -> AbstractContextManager[None]:
        """See `Telemetry.operation`."""
        return nullcontext()

    def services(self, open_service: Callable[[str], KeyService]) -> Callable[[str], KeyService]:
        """See `Telemetry.services`."""
        return open_service
