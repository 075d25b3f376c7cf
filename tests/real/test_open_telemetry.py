"""Airflow's own exporters send what is measured, to a receiver of OpenTelemetry's protocol on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from secure_xcom.keys.keyring_file import create_keyring
from secure_xcom.telemetry.measuring import COUNTERS, TIMERS

PROGRAM = Path(__file__).with_name("observed_task.py")


class Receiver(ThreadingHTTPServer):
    """Keeps the requests that it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.metrics: list[dict[str, Any]] = []
        self.spans: list[dict[str, Any]] = []
        self.raw = b""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
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
    for resource in asked[outer]:
        yield from resource[inner]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(folder: Path, receiver: Receiver, *, on: bool) -> None:
    """Run the program with Airflow's metrics and traces on or off."""
    keyring = folder / "keyring.json"
    create_keyring(str(keyring))
    (folder / "sealed").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "OTEL"))}
    environment = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__XCOM_BACKEND": "secure_xcom.SecureXComBackend",
        "AIRFLOW__METRICS__OTEL_ON": str(on),
        "AIRFLOW__TRACES__OTEL_ON": str(on),
        "AIRFLOW__SECURE_XCOM__KEY_URIS": f"local://{keyring}",
        "AIRFLOW__SECURE_XCOM__STORE_URI": f"file://{folder}/sealed",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
    }
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env={**kept, **environment, "PYTHONPATH": str(PROGRAM.parents[2])},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ContextRefused"


def attributes(entry: dict[str, Any]) -> dict[str, str]:
    """The attributes of a span or a data point."""
    return {one["key"]: next(iter(one["value"].values())) for one in entry.get("attributes", [])}


def test_airflow_sends_what_is_measured(tmp_path: Path, receiver: Receiver) -> None:
    """With Airflow on every metric arrives, and spans below the span of the task, with nothing of the value."""
    run(tmp_path, receiver, on=True)
    ours = {one["name"]: one for one in receiver.metrics if ".secure_xcom." in one["name"]}
    assert set(ours) == {f"airflow.{name}" for name in (*COUNTERS, *TIMERS)}
    for name in COUNTERS:
        # As deltas, so that the numbers of many short processes can be added up.
        summed = ours[f"airflow.{name}"]["sum"]
        assert (summed["isMonotonic"], summed["aggregationTemporality"]) == (True, "AGGREGATION_TEMPORALITY_DELTA")
    for name in TIMERS:
        assert ours[f"airflow.{name}"]["unit"] == "ms"
        assert ours[f"airflow.{name}"]["exponentialHistogram"]["dataPoints"]
    points = ours["airflow.secure_xcom.operations"]["sum"]["dataPoints"]
    told = sorted((attributes(point)["action"], attributes(point)["outcome"], point["asInt"]) for point in points)
    assert told == [("pull", "ok", "1"), ("pull", "refused", "1"), ("push", "ok", "1")]
    spans = {span["spanId"]: span for span in receiver.spans}
    tree = sorted(
        (span["name"], spans[span["parentSpanId"]]["name"]) for span in spans.values() if "parentSpanId" in span
    )
    assert tree == [
        ("secure_xcom.key_service.wrap", "secure_xcom.push"),
        ("secure_xcom.pull", "worker.extract"),
        ("secure_xcom.pull", "worker.extract"),
        ("secure_xcom.push", "worker.extract"),
    ]
    assert b"correct-horse" not in receiver.raw
    assert [span["name"] for span in spans.values() if "events" in span] == []


def test_nothing_is_sent_where_airflow_sends_nothing(tmp_path: Path, receiver: Receiver) -> None:
    """With Airflow's switches off, values pass and nothing arrives."""
    run(tmp_path, receiver, on=False)
    assert receiver.raw == b""
