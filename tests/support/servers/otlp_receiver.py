"""A receiver of OpenTelemetry's protocol over HTTP on loopback, which keeps what it gets."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver(ThreadingHTTPServer):
    """Takes requests from entering to leaving.

    :ivar raw: all that came, in bytes.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.metrics: list[dict[str, Any]] = []
        self.spans: list[dict[str, Any]] = []
        self.raw = b""
        self.lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def __enter__(self) -> Receiver:  # noqa: PYI034  # Self needs Python 3.11
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What Airflow's processes need to send to it, differences instead of running totals."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server_address[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
            "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        }

    def added_up(self, stat: str, *labels: str) -> dict[tuple[str | None, ...], int]:
        """What all processes sent of a counter, by the values of these labels; None where one is absent."""
        sums: Counter[tuple[str | None, ...]] = Counter()
        for one in self.metrics:
            if one["name"] == f"airflow.{stat}":
                for point in one["sum"]["dataPoints"]:
                    told = attributes(point)
                    sums[tuple(told.get(label) for label in labels)] += int(point["asInt"])
        return dict(sums)

    def tree(self) -> dict[tuple[str, str], int]:
        """How many spans there are of a name below one of another."""
        by_id = {span["spanId"]: span for span in self.spans}
        return Counter(
            (span["name"], by_id[span["parentSpanId"]]["name"])
            for span in self.spans
            if span.get("parentSpanId") in by_id
        )


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.raw += body
            if self.path == "/v1/metrics":
                asked = MessageToDict(ExportMetricsServiceRequest.FromString(body))
                for scope in _all(asked, "resourceMetrics", "scopeMetrics"):
                    self.server.metrics += scope["metrics"]
            else:
                asked = MessageToDict(ExportTraceServiceRequest.FromString(body))
                for scope in _all(asked, "resourceSpans", "scopeSpans"):
                    self.server.spans += scope["spans"]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name of it
        """Says nothing: tests read what was kept."""


def _all(asked: dict[str, Any], outer: str, inner: str) -> Iterator[dict[str, Any]]:
    for resource in asked.get(outer, ()):
        yield from resource.get(inner, ())


def attributes(entry: dict[str, Any]) -> dict[str, str]:
    """The attributes of a span or a data point."""
    return {one["key"]: next(iter(one["value"].values())) for one in entry.get("attributes", [])}
