"""Counts of what the service did, as text for Prometheus. No id and no person is a label."""

from __future__ import annotations

import threading
from collections import Counter

from secure_xcom.core.config import RELEASE

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""https://prometheus.io/docs/instrumenting/exposition_formats/"""
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts requests to reveal. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._within: Counter[float] = Counter()
        self._seconds = 0.0
        self._bytes = 0
        self.in_progress = 0
        """The number of requests that are being worked on."""

    def answered(self, outcome: str, error: str, seconds: float, size: int = 0) -> None:
        """Count an answer.

        :param outcome: ``ok``, ``refused`` or ``failed``; :param error: the class of the error, or nothing.
        :param size: bytes of sealed payload.
        """
        with self._lock:
            self._answers[outcome, error] += 1
            self._seconds += seconds
            self._bytes += size
            for bucket in _BUCKETS:
                if seconds <= bucket:
                    self._within[bucket] += 1

    def text(self) -> str:
        """Return all counts in the text format."""
        with self._lock:
            total = sum(self._answers.values())
            lines = [
                "# HELP secure_xcom_reveal_info The release of the service.",
                "# TYPE secure_xcom_reveal_info gauge",
                f'secure_xcom_reveal_info{{release="{RELEASE}"}} 1',
                "# HELP secure_xcom_reveal_requests_total Requests to reveal an XCom.",
                "# TYPE secure_xcom_reveal_requests_total counter",
                *(
                    f'secure_xcom_reveal_requests_total{{outcome="{outcome}",error="{error}"}} {count}'
                    for (outcome, error), count in sorted(self._answers.items())
                ),
                "# HELP secure_xcom_reveal_seconds Time from a request to its answer.",
                "# TYPE secure_xcom_reveal_seconds histogram",
                *(
                    f'secure_xcom_reveal_seconds_bucket{{le="{bucket}"}} {self._within[bucket]}'
                    for bucket in _BUCKETS
                ),
                f'secure_xcom_reveal_seconds_bucket{{le="+Inf"}} {total}',
                f"secure_xcom_reveal_seconds_sum {self._seconds:.6f}",
                f"secure_xcom_reveal_seconds_count {total}",
                "# HELP secure_xcom_reveal_sealed_bytes_total Sealed bytes that were handed out.",
                "# TYPE secure_xcom_reveal_sealed_bytes_total counter",
                f"secure_xcom_reveal_sealed_bytes_total {self._bytes}",
                "# HELP secure_xcom_reveal_in_progress Requests that are being worked on.",
                "# TYPE secure_xcom_reveal_in_progress gauge",
                f"secure_xcom_reveal_in_progress {self.in_progress}",
            ]
        return "\n".join(lines) + "\n"
