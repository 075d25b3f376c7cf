"""The dashboard and the alert rules of deploy/observability ask for what is really emitted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from secure_xcom import errors
from secure_xcom.telemetry.measuring import (
    COUNTERS,
    DATA_KEYS,
    KEY_CALL_TIME,
    KEY_CALLS,
    OPERATION_TIME,
    OPERATIONS,
    SEALED_BYTES,
    TIMERS,
    XCOMS,
)

FOLDER = Path(__file__).parents[2] / "deploy" / "observability"
PAGE = Path(__file__).parents[2] / "docs" / "observability.md"

# What tests/unit/test_telemetry.py sees each metric carry.
LABELS = {
    OPERATIONS: {"action", "compartment", "outcome", "error"},
    OPERATION_TIME: {"action", "compartment", "outcome"},
    XCOMS: {"action", "compartment"},
    SEALED_BYTES: {"action", "compartment"},
    DATA_KEYS: {"source", "compartment"},
    KEY_CALLS: {"service", "call", "outcome", "error"},
    KEY_CALL_TIME: {"service", "call", "outcome"},
}


def prometheus_name(stat: str) -> str:
    """How Prometheus stores it: Airflow's prefix, underscores, and a suffix for the kind and the unit.

    https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
    """
    suffix = "total" if stat in COUNTERS else "milliseconds"
    return f"airflow_{stat.replace('.', '_')}_{suffix}"


NAMES = {prometheus_name(stat): stat for stat in (*COUNTERS, *TIMERS)}


def strict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without a name that stands twice."""
    found = dict(pairs)
    assert len(found) == len(pairs), pairs
    return found


DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(), object_pairs_hook=strict)
RULES = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]


def dashboard_expressions() -> Iterator[str]:
    """Every expression of the dashboard."""
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])


EXPRESSIONS = [*dashboard_expressions(), *(rule["expr"] for rule in RULES)]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_what_is_emitted(expression: str) -> None:
    """Metrics are ours, and so are the labels that each is selected and grouped by."""
    asked = set(re.findall(r"airflow_\w+", expression))
    assert asked
    assert asked <= set(NAMES)
    known = set.intersection(*(LABELS[NAMES[name]] for name in asked))
    selected = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", expression))
    grouped = {label.strip() for found in re.findall(r"by \(([^)]*)\)", expression) for label in found.split(",")}
    assert selected | grouped <= known


def test_everything_that_is_emitted_is_shown() -> None:
    """No metric is left out of the dashboard, and each stands in the page with its labels."""
    shown = {name for expression in dashboard_expressions() for name in re.findall(r"airflow_\w+", expression)}
    assert shown == set(NAMES)
    page = PAGE.read_text()
    for stat, labels in LABELS.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{stat}`")]
        assert set(re.findall(r"`(\w+)`", line.split("|")[3])) == labels


def test_outcomes_and_errors_that_are_selected_are_there() -> None:
    """An alert for an outcome, an action or an error that nothing ever has would be silent for ever."""
    classes = [name for name in vars(errors) if isinstance(getattr(errors, name), type)]
    for expression in EXPRESSIONS:
        for pattern in re.findall(r'error=~"([^"]*)"', expression):
            assert all(any(re.fullmatch(part, name) for name in classes) for part in pattern.split("|"))
        assert set(re.findall(r'outcome!?="(\w+)"', expression)) <= {"ok", "refused", "failed"}
        assert set(re.findall(r'action="(\w+)"', expression)) <= {"push", "pull", "purge", "claim"}


def test_legends_and_texts_name_labels_that_are_left() -> None:
    """What a legend or an annotation fills in is a label that the expression groups by."""
    texts = [
        (target["expr"], target["legendFormat"]) for panel in DASHBOARD["panels"] for target in panel["targets"]
    ]
    texts += [(rule["expr"], " ".join(rule["annotations"].values())) for rule in RULES]
    for expression, text in texts:
        grouped = {
            label.strip() for found in re.findall(r"by \(([^)]*)\)", expression) for label in found.split(",")
        }
        assert set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text)) <= grouped


def test_rules_say_what_to_do() -> None:
    """Every alert has a name of its own, a severity, a summary and a description."""
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_panels_do_not_lie_on_each_other() -> None:
    """Panels have numbers of their own, fit into Grafana's 24 columns, and none covers another."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells


def test_variables_of_the_dashboard_are_its_own() -> None:
    """Every variable that an expression or a data source names is declared."""
    declared = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)\}?", json.dumps(DASHBOARD["panels"]))) <= declared


def test_the_collector_adds_up_what_processes_send() -> None:
    """The example's pipeline holds together, takes one batch after another, and makes all processes one."""
    config = yaml.safe_load((FOLDER / "otel-collector.yaml").read_text())
    pipeline = config["service"]["pipelines"]["metrics"]
    for part in ("receivers", "processors", "exporters"):
        assert set(pipeline[part]) == set(config[part])
    assert pipeline["processors"] == ["batch", "transform", "deltatocumulative"]
    prometheus = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"] == [{"targets": [config["exporters"]["prometheus"]["endpoint"]]}]
    assert job["scrape_native_histograms"]
    assert [(FOLDER / name).exists() for name in prometheus["rule_files"]] == [True]
