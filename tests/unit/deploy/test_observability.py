"""The dashboard and the alert rules of deploy/observability ask for what is really emitted.

Names and labels are not written down here: pushes and pulls are told to OpenTelemetry as Airflow tells it, and
OpenTelemetry's exporter says what Prometheus makes of that. Queries are read by a parser of Prometheus's language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY

from secure_xcom import errors
from secure_xcom.core.pipeline.push_and_pull import Push, Row
from secure_xcom.core.pipeline.telemetry.measuring import COUNTERS, TIMERS, Telemetry
from secure_xcom.core.service_errors import KeyServiceDenied
from tests.support.world import World, coordinate

FOLDER = Path(__file__).parents[3] / "deploy" / "observability"
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


def strict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without a name that stands twice."""
    found = dict(pairs)
    assert len(found) == len(pairs), pairs
    return found


DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(), object_pairs_hook=strict)
RULES = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPRESSIONS = [*(target["expr"] for target in TARGETS), *(rule["expr"] for rule in RULES)]
# Airflow's own count of tasks, which its task runner makes beside ours.
AIRFLOWS = {"airflow_ti_successes_total": {"dag_id", "task_id"}}


class AsAirflow:
    """Makes instruments as Airflow's client does, which tests/real/test_open_telemetry.py looks at."""

    def __init__(self, provider: MeterProvider) -> None:
        self._meter = provider.get_meter("airflow")
        self._made: dict[str, Any] = {}

    def incr(self, stat: str, count: int, *, tags: Mapping[str, str]) -> None:
        """See `secure_xcom.core.pipeline.telemetry.Meter`."""
        if stat not in self._made:
            self._made[stat] = self._meter.create_counter(f"airflow.{stat}")
        self._made[stat].add(count, dict(tags))

    def timing(self, stat: str, milliseconds: float, *, tags: Mapping[str, str]) -> None:
        """See `secure_xcom.core.pipeline.telemetry.Meter`."""
        if stat not in self._made:
            self._made[stat] = self._meter.create_histogram(f"airflow.{stat}", unit="ms")
        self._made[stat].record(milliseconds, dict(tags))


@pytest.fixture(scope="module")
def emitted() -> dict[str, set[str]]:
    """What Prometheus sees of a push, two pulls and a refusal: names of metrics, and the labels of each."""
    provider = MeterProvider(metric_readers=[PrometheusMetricReader(disable_target_info=True)])
    world = World()
    telemetry = Telemetry(AsAirflow(provider))
    reference = world.process(telemetry=telemetry).push([Push(coordinate(), 1)])[0]
    reader = world.process(telemetry=telemetry)
    reader.pull([Row(reference)])
    reader.pull([Row(reference)])
    world.service("memory-key://one").denied = True
    with pytest.raises(KeyServiceDenied):
        world.process(telemetry=telemetry).pull([Row(reference)])
    seen: dict[str, set[str]] = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            if family.name.startswith("airflow_"):
                # A native histogram is one series under the family's own name, without le.
                name = family.name if family.type == "histogram" else sample.name
                labels = {label for label in sample.labels if not label.startswith("otel_scope_")}
                seen.setdefault(name, set()).update(labels - {"le"})
    provider.shutdown()
    return seen


def parsed(expression: str) -> Any:
    """The tree of a query, with Grafana's variables filled in."""
    return promql_parser.parse(expression.replace("$window", "15m"))


def nodes(tree: Any) -> Iterator[Any]:
    """A query and all that it is made of."""
    yield tree
    for name in ("lhs", "rhs", "expr", "args", "vector_selector"):
        below = getattr(tree, name, None)
        for one in below if isinstance(below, list) else [below]:
            if one is not None:
                yield from nodes(one)


def selectors(tree: Any) -> list[Any]:
    """The series that a query reads."""
    return [node for node in nodes(tree) if isinstance(node, promql_parser.VectorSelector)]


def matchers(expression: str) -> list[tuple[str, str]]:
    """Labels that a query selects by, and their values."""
    return [(one.name, one.value) for node in selectors(parsed(expression)) for one in node.matchers.matchers]


def left(tree: Any) -> set[str]:
    """The labels that the answer to a query has."""
    if isinstance(tree, promql_parser.AggregateExpr):
        return set(tree.modifier.labels) if tree.modifier else set()
    if isinstance(tree, promql_parser.BinaryExpr):
        sides = [side for side in (tree.lhs, tree.rhs) if not isinstance(side, promql_parser.NumberLiteral)]
        return set.intersection(*(left(side) for side in sides))
    if isinstance(tree, promql_parser.ParenExpr):
        return left(tree.expr)
    if isinstance(tree, promql_parser.Call):
        return left(tree.args[-1])
    raise AssertionError(f"the test cannot tell the labels of {tree}")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_what_is_emitted(expression: str, emitted: dict[str, set[str]]) -> None:
    """Metrics have the names that Prometheus gives ours, and labels to select or group by are theirs."""
    tree, known = parsed(expression), emitted | AIRFLOWS
    assert {series.name for series in selectors(tree)} & set(emitted)
    for series in selectors(tree):
        assert {matcher.name for matcher in series.matchers.matchers} <= known[series.name]
    for node in nodes(tree):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            assert all(set(node.modifier.labels) <= known[series.name] for series in selectors(node))


def test_everything_that_is_emitted_is_shown(emitted: dict[str, set[str]]) -> None:
    """No metric is left out of the dashboard, and each stands in the page with its labels."""
    assert {series.name for target in TARGETS for series in selectors(parsed(target["expr"]))} == set(emitted)
    page = PAGE.read_text()
    for stat in (*COUNTERS, *TIMERS):
        (name,) = [name for name in emitted if name.rpartition("_")[0] == f"airflow_{stat}".replace(".", "_")]
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{stat}`")]
        assert set(re.findall(r"`(\w+)`", line.split("|")[3])) == emitted[name]
    assert set(re.findall(r"`(airflow_\w+)`", page)) <= set(emitted)


def test_outcomes_and_errors_that_are_selected_are_there() -> None:
    """An alert for an outcome, an action or an error that nothing ever has would be silent for ever."""
    classes = [name for name in vars(errors) if isinstance(getattr(errors, name), type)]
    values = {"outcome": {"ok", "refused", "failed"}, "action": {"push", "pull", "purge", "claim"}}
    values["source"] = {"cache", "key_service"}
    for expression in EXPRESSIONS:
        for label, value in matchers(expression):
            if label == "error":
                assert all(any(re.fullmatch(part, name) for name in classes) for part in value.split("|"))
            elif value != "$compartment":
                assert value in values[label]


def test_legends_and_texts_name_labels_that_are_left() -> None:
    """What a legend or an annotation fills in is a label that the answer has."""
    texts = [(target["expr"], target["legendFormat"]) for target in TARGETS]
    texts += [(rule["expr"], " ".join(rule["annotations"].values())) for rule in RULES]
    for expression, text in texts:
        assert set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text)) <= left(parsed(expression))


def test_rules_say_what_to_do() -> None:
    """Every alert has a name of its own, a severity, a summary and a description."""
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_every_rule_has_a_test_that_feeds_it_what_is_emitted(emitted: dict[str, set[str]]) -> None:
    """The test for promtool names each alert, once where it fires, and its series are ours."""
    tests = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in RULES}
    for test in tests:
        for fed in test["input_series"]:
            (series,) = selectors(parsed(fed["series"]))
            assert {matcher.name for matcher in series.matchers.matchers} <= (emitted | AIRFLOWS)[series.name]


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


def test_variables_of_the_dashboard_are_its_own(emitted: dict[str, set[str]]) -> None:
    """Every variable that an expression or a data source names is declared; what one is filled from is emitted."""
    declared = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)\}?", json.dumps(DASHBOARD["panels"]))) <= set(declared)
    asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", declared["compartment"]["query"]["query"])
    assert asked
    assert asked[2] in emitted[asked[1]]


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
