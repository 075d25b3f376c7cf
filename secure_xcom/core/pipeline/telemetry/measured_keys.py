"""A key service whose requests are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from secure_xcom.core.errors import KeyServiceError
from secure_xcom.keys import DataKey, KeyService, Wrap

if TYPE_CHECKING:
    from secure_xcom.core.pipeline.telemetry.measuring import Telemetry


class MeasuredKeys:
    """Passes everything on, and says how long each request took and how it ended."""

    def __init__(self, service: KeyService, telemetry: Telemetry) -> None:
        self.uri = service.uri
        self._service = service
        self._telemetry = telemetry
        # The scheme alone: a deployment has few of them, and key names are told by the access log.
        self._scheme = service.uri.partition("://")[0]

    def wrap(self, data_key: DataKey, context: Mapping[str, str]) -> str:
        """See `KeyService.wrap`."""
        with self._telemetry.key_call(self._scheme, "wrap"):
            return self._service.wrap(data_key, context)

    def unwrap_many(self, wraps: Sequence[Wrap]) -> list[DataKey | KeyServiceError]:
        """See `KeyService.unwrap_many`."""
        with self._telemetry.key_call(self._scheme, "unwrap") as answered:
            answers = self._service.unwrap_many(wraps)
            answered(answers)
            return answers

    def rewrap_many(self, wraps: Sequence[Wrap]) -> list[str | KeyServiceError]:
        """See `KeyService.rewrap_many`."""
        with self._telemetry.key_call(self._scheme, "rewrap") as answered:
            answers = self._service.rewrap_many(wraps)
            answered(answers)
            return answers
