"""Airflow's own exporters send what is measured, to a receiver of OpenTelemetry's protocol on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from secure_xcom.keys.keyring_file import create_keyring
from secure_xcom.telemetry.measuring import COUNTERS, DATA_KEYS, KEY_CALLS, OPERATIONS, TIMERS, XCOMS

PROGRAM = Path(__file__).with_name("observed_task.py")
# Pulls in threads and on an event loop, beside one plain pull and one that is refused.
THREADED, ASYNC = 40, 10


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
        [sys.executable, str(PROGRAM), str(THREADED), str(ASYNC)],
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


def added_up(receiver: Receiver, stat: str) -> dict[tuple[str, ...], int]:
    """What all processes sent of a counter, by the values of its labels in the order of their names."""
    sums: Counter[tuple[str, ...]] = Counter()
    for one in receiver.metrics:
        if one["name"] == f"airflow.{stat}":
            for point in one["sum"]["dataPoints"]:
                sums[tuple(value for _, value in sorted(attributes(point).items()))] += int(point["asInt"])
    return dict(sums)


def test_airflow_sends_what_is_measured(tmp_path: Path, receiver: Receiver) -> None:
    """Every metric arrives, and what threads, async pulls and a forked child did is counted once; and there are
    spans below the span of the task, with nothing of the value.
    """
    run(tmp_path, receiver, on=True)
    ours = [one for one in receiver.metrics if ".secure_xcom." in one["name"]]
    assert {one["name"] for one in ours} == {f"airflow.{name}" for name in (*COUNTERS, *TIMERS)}
    for one in ours:
        if one["name"].removeprefix("airflow.") in COUNTERS:
            # As deltas, so that the numbers of many short processes can be added up.
            assert one["sum"]["isMonotonic"]
            assert one["sum"]["aggregationTemporality"] == "AGGREGATION_TEMPORALITY_DELTA"
            assert "unit" not in one
        else:
            assert one["unit"] == "ms"
            assert one["exponentialHistogram"]["dataPoints"]
    pulled = 1 + THREADED + ASYNC
    assert added_up(receiver, OPERATIONS) == {
        ("pull", "default", "ok"): pulled,
        # By action, compartment, error and outcome.
        ("pull", "default", "ContextRefused", "refused"): 1,
        # One of them in the child.
        ("push", "default", "ok"): 2,
    }
    assert added_up(receiver, XCOMS) == {("pull", "default"): pulled, ("push", "default"): 2}
    assert added_up(receiver, DATA_KEYS) == {("default", "cache"): pulled}
    assert added_up(receiver, KEY_CALLS) == {("wrap", "ok", "local"): 2}
    spans = {span["spanId"]: span for span in receiver.spans}
    tree = Counter(
        (span["name"], spans[span["parentSpanId"]]["name"]) for span in spans.values() if "parentSpanId" in span
    )
    assert tree == {
        ("secure_xcom.key_service.wrap", "secure_xcom.push"): 1,
        ("secure_xcom.push", "worker.extract"): 1,
        ("secure_xcom.pull", "worker.extract"): pulled + 1,
    }
    assert b"correct-horse" not in receiver.raw
    assert [span["name"] for span in spans.values() if "events" in span] == []


def test_nothing_is_sent_where_airflow_sends_nothing(tmp_path: Path, receiver: Receiver) -> None:
    """With Airflow's switches off, values pass and nothing arrives."""
    run(tmp_path, receiver, on=False)
    assert receiver.raw == b""
